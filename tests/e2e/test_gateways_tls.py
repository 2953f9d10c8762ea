# SPDX-License-Identifier: Apache-2.0
"""TLS from clients to the gateways and from there to the servers, with the real gateways: those of gateways/ as its README says, the edges
as k8s/overlays/edge-tls and edge-nginx-tls have them."""
import contextlib
import http.client
import itertools
import json
import re
import socket
import ssl

import grpc
import openai
import pytest

from gateway_process import GatewayProcess, GatewayTls
from hadal_process import PATIENCE, HadalProcess
from redis_process import wait_for
from test_grpc import long_request
from tls_files import Authority

NAME = "hadal.hadal.svc"  # the Service, which k8s/overlays have the edges ask for


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def edge(gateway):
    if not gateway.startswith("edge"):
        pytest.skip("what the overlays say")
    return gateway


@contextlib.contextmanager
def start_server(authority, name=NAME):
    certificate, key = authority.sign(f"server-{name}", names=[name])
    with HadalProcess(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context()) as server:
        yield server


def gateway_tls(authority):
    return GatewayTls(*authority.sign("gateway"), authority.certificate, authority.context())


@pytest.fixture
def fleet(gateway, authority, tmp_path):
    """(the gateway, the servers)."""
    with start_server(authority) as one, start_server(authority) as two, \
            GatewayProcess(gateway, tmp_path, [one.port, two.port], tls=gateway_tls(authority)) as process:
        yield process, (one, two)


@contextlib.contextmanager
def stub_of(process, authority, stubs):
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"localhost:{process.port}", credentials, options=options) as channel:
        yield stubs.services.InferenceStub(channel)


def completion(client, tokens):
    return client.completions.create(model="hadal-demo", prompt="x", max_tokens=tokens, stream=True,
                                     extra_body={"ignore_eos": True}, stream_options={"include_usage": True})


def test_http_and_grpc_share_the_port_from_end_to_end(fleet, authority, stubs):
    process, (one, two) = fleet
    client = openai.OpenAI(base_url=process.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE,
                           http_client=openai.DefaultHttpx2Client(verify=authority.context()))
    for _ in range(4):
        assert list(completion(client, 100))[-1].usage.completion_tokens == 100
        with stub_of(process, authority, stubs) as stub:
            assert list(stub.Generate(long_request(stubs, 50), timeout=PATIENCE))[-1].usage.completion_tokens == 50
    for server in (one, two):
        assert server.metric("hadal_admission_attempts_total") > 0
        assert server.metric('hadal_tls_mismatches_total{found="plain"}') == 0, "nothing came to it in the clear"
    # One that ends takes no request with it.
    chunks = completion(client, 500)
    next(chunks)
    busy = one if one.metric("hadal_requests_running") else two
    busy.signal()
    assert list(chunks)[-1].usage.completion_tokens == 500
    for _ in range(8):
        assert client.models.list().data


@pytest.mark.parametrize("gateway", ["haproxy", "edge"], indirect=True)
def test_replicas_stay_in_while_they_are_checked(fleet, authority, stubs):
    """At its start a gateway takes them for sound; they must be so after a few health checks of each kind, too."""
    process, servers = fleet
    for server in servers:
        looks = itertools.count(1)
        before = server.metric("hadal_tls_handshakes_total")
        # Each look is a handshake of its own.
        wait_for(lambda: server.metric("hadal_tls_handshakes_total") - before - next(looks) >= 10)  # noqa: B023
    for _ in range(8):
        with stub_of(process, authority, stubs) as stub:
            assert list(stub.Generate(long_request(stubs, 5), timeout=PATIENCE))[-1].usage.completion_tokens == 5
    log = process.log_text()
    assert re.search(r"Server \w+/replica\d is DOWN", log) is None, log


def handshake(process, authority, version=ssl.TLSVersion.MAXIMUM_SUPPORTED, protocols=()):
    """(version, agreed protocol) with a client that speaks at most this version."""
    context = authority.context()
    if version != ssl.TLSVersion.MAXIMUM_SUPPORTED:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE) as raw, context.wrap_socket(raw, server_hostname="localhost") as secure:
        return secure.version(), secure.selected_alpn_protocol()


def test_the_edge_takes_new_versions_and_both_protocols(edge, authority, tmp_path):
    with start_server(authority) as server, GatewayProcess(edge, tmp_path, [server.port] * 2, tls=gateway_tls(authority)) as process:
        assert handshake(process, authority, protocols=["h2", "http/1.1"]) == ("TLSv1.3", "h2")
        assert handshake(process, authority, ssl.TLSVersion.TLSv1_2, ["http/1.1"]) == ("TLSv1.2", "http/1.1")
        with pytest.raises(ssl.SSLError):
            handshake(process, authority, ssl.TLSVersion.TLSv1_1)
        # The probe of the pod, which checks no certificate.
        anybody = http.client.HTTPSConnection("127.0.0.1", process.port, timeout=PATIENCE, context=ssl._create_unverified_context())
        anybody.request("GET", "/edge/live")
        assert anybody.getresponse().status == 200
        anybody.close()


@pytest.mark.parametrize("what", ["name", "authority", "plain"])
def test_the_edge_speaks_to_none_but_the_replicas(edge, authority, tmp_path, stubs, what):
    """Requests have keys and prompts in them."""
    with contextlib.ExitStack() as running:
        if what == "plain":
            stranger = running.enter_context(HadalProcess())
        else:
            signer = Authority(tmp_path, "stranger") if what == "authority" else authority
            stranger = running.enter_context(start_server(signer, NAME if what == "authority" else "other.hadal.svc"))
        process = running.enter_context(GatewayProcess(edge, tmp_path, [stranger.port] * 2, stranger.port, tls=gateway_tls(authority), answers=503))
        connection = http.client.HTTPSConnection("127.0.0.1", process.port, timeout=PATIENCE, context=authority.context())
        connection.request("POST", "/v1/completions", json.dumps({"model": "hadal-demo", "prompt": "x"}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 503 and json.loads(response.read())["error"]["code"] == "no_server"
        connection.close()
        with stub_of(process, authority, stubs) as stub, pytest.raises(grpc.RpcError) as caught:
            list(stub.Generate(long_request(stubs, 1), timeout=PATIENCE))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert stranger.metric("hadal_admission_attempts_total") == 0
