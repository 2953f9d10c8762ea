# SPDX-License-Identifier: Apache-2.0
"""TLS as clients see it: curl, the openai package, grpcio and Python's ssl against a real server."""
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import grpc
import openai
import pytest

from hadal_process import HadalProcess
from http_client import ASK
from tls_files import Authority, openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


def flags(certificate, key):
    return f"--tls-cert={certificate}", f"--tls-key={key}"


@pytest.fixture(scope="module")
def server(authority):
    with HadalProcess(*flags(*authority.sign("server")), tls=authority.context()) as process:
        yield process


def connect(server, context, protocols=None):
    """A TLS socket to the server."""
    if protocols:
        context.set_alpn_protocols(protocols)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    try:
        return context.wrap_socket(raw, server_hostname="localhost")
    except Exception:
        raw.close()
        raise


def anything():
    """Takes any certificate, and speaks whatever the server does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def openai_client(server, authority, client=None):
    http = openai.DefaultHttpx2Client(verify=authority.context(client))
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60, http_client=http)


def channel(server, authority, client=None):
    own = [path.read_bytes() for path in client] if client else [None, None]
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), own[1], own[0])
    return grpc.secure_channel(f"localhost:{server.port}", credentials, options=[("grpc.enable_retries", 0)])


def generation(stubs, tokens):
    request = stubs.pb.GenerateRequest(text="count")
    request.stopping.ignore_eos = True
    request.stopping.max_tokens = tokens
    return request


def test_curl_asks_by_http_1_and_checks_the_certificate(server, authority):
    curl = [shutil.which("curl"), "-sS", "-m", "30", f"https://localhost:{server.port}/health/ready"]
    answer = subprocess.run([*curl, "-w", "%{http_version} %{ssl_verify_result}", "--cacert", authority.certificate],
                            capture_output=True, text=True)
    assert answer.returncode == 0 and answer.stdout.endswith("1.1 0"), answer
    other = subprocess.run(curl, capture_output=True, text=True)
    assert other.returncode == 60, "the system's authorities have not signed it"


def test_openai_streams(server, authority):
    client = openai_client(server, authority)
    text = ""
    for chunk in client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, stream=True):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    assert "42" in text


def test_grpc_streams_on_the_same_port(server, authority, stubs):
    with channel(server, authority) as secure:
        stub = stubs.services.InferenceStub(secure)
        responses = list(stub.Generate(generation(stubs, 200), timeout=30))
        assert responses[-1].usage.completion_tokens == 200


def test_grpc_has_a_port_of_its_own_under_tls(start_server, authority, stubs):
    server = start_server(*flags(*authority.sign("server")), "--grpc-port=0", tls=authority.context())
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as secure:
        stub = stubs.services.InferenceStub(secure)
        assert list(stub.Generate(generation(stubs, 20), timeout=30))[-1].usage.completion_tokens == 20
    with grpc.insecure_channel(f"localhost:{server.grpc_port}") as plain:
        with pytest.raises(grpc.RpcError) as error:
            stubs.services.InferenceStub(plain).ListModels(stubs.pb.ListModelsRequest(), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("offered, agreed", [(["h2", "http/1.1"], "http/1.1"), (["h2"], "h2"), (["http/1.1"], "http/1.1")])
def test_alpn(server, authority, offered, agreed):
    with connect(server, authority.context(), offered) as secure:
        assert secure.selected_alpn_protocol() == agreed


def test_http_2_that_is_not_grpc_gets_415(server, authority):
    with connect(server, authority.context(), ["h2"]) as secure:
        headers = bytes.fromhex("838684418a089d5c0b8170dc780f03")  # POST / of a browser's kind
        secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4) +
                       len(headers).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + headers)
        answer = b""
        while b"UNSUPPORTED_MEDIA_TYPE\"}}" not in answer:
            more = secure.recv(65536)
            assert more, answer
            answer += more


def test_old_versions_are_refused(server):
    context = anything()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    before = server.metric('hadal_tls_handshake_failures_total{reason="version"}')
    with pytest.raises(ssl.SSLError):
        connect(server, context)
    server.wait_metric('hadal_tls_handshake_failures_total{reason="version"}', before + 1)
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = anything()
        context.minimum_version = context.maximum_version = version
        with connect(server, context) as secure:
            assert secure.version() == name


def test_plain_text_gets_a_clear_answer(server, stubs):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n")
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"this port speaks TLS" in answer
    with grpc.insecure_channel(server.target) as plain:
        with pytest.raises(grpc.RpcError) as error:
            stubs.services.InferenceStub(plain).ListModels(stubs.pb.ListModelsRequest(), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.metric('hadal_tls_mismatches_total{found="plain"}') >= 2
    server.wait_text("a client speaks plain text to a port with TLS")


def test_tls_to_a_plain_port_is_in_the_log(start_server):
    server = start_server()
    with pytest.raises(ssl.SSLError):
        connect(server, anything())
    server.wait_text("a client speaks TLS to a port without it")
    server.wait_metric('hadal_tls_mismatches_total{found="tls"}', 1)
    assert server.get("/health/live")[0] == 200


def test_stalled_handshakes_keep_nobody_away(start_server, authority):
    server = start_server(*flags(*authority.sign("server")), "--tls-max-handshakes=16", "--max-connections=64",
                          tls=authority.context())
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stalled = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            stalled.sendall(b"\x16\x03\x01\x02\x00")
        assert server.get("/health/live", timeout=60)[0] == 200
        assert server.metric('hadal_tls_handshake_failures_total{reason="evicted"}') > 0
    server.wait_metric("hadal_tls_connections", 1)  # the scrape's own


def wait_for(condition, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def name_of_server(server, authority):
    with connect(server, authority.context()) as secure:
        return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


def test_a_new_certificate_is_read_while_streams_go_on(start_server, authority, stubs, tmp_path):
    live = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.sign("first", *live)
    server = start_server(*flags(*live), "--load-format=null:20ms", tls=authority.context())
    assert name_of_server(server, authority) == "first"
    counts, failures = [], []
    stop = threading.Event()

    def ask_http():
        client = openai_client(server, authority)
        chunks = client.completions.create(model="hadal-demo", prompt="x", max_tokens=1000, stream=True,
                                           extra_body={"ignore_eos": True}, stream_options={"include_usage": True})
        counts.append(list(chunks)[-1].usage.completion_tokens)

    def ask_grpc():
        with channel(server, authority) as secure:
            responses = list(stubs.services.InferenceStub(secure).Generate(generation(stubs, 1000), timeout=120))
            counts.append(responses[-1].usage.completion_tokens)

    def connect_again_and_again():
        while not stop.is_set():
            try:
                assert server.get("/health/live", timeout=30)[0] == 200
            except OSError as error:
                failures.append(error)

    streams = [threading.Thread(target=ask) for ask in (ask_http, ask_grpc) * 4]
    others = threading.Thread(target=connect_again_and_again)
    for thread in (*streams, others):
        thread.start()
    wait_for(lambda: server.metric("hadal_requests_running") == len(streams))
    new = authority.sign("second", tmp_path / "new.pem", tmp_path / "new.key")
    for source, target in zip(new, live):
        os.replace(source, target)
    wait_for(lambda: name_of_server(server, authority) == "second")
    # A key that fits no certificate: both stay as they were.
    authority.sign("third", tmp_path / "unused.pem", live[1])
    server.wait_metric('hadal_tls_reloads_total{result="failed"}', 1)
    server.wait_text("is not the key of the certificate in")
    assert name_of_server(server, authority) == "second"
    for thread in streams:
        thread.join(120)
    stop.set()
    others.join(30)
    assert counts == [1000] * len(streams) and not failures
    assert server.metric('hadal_tls_reloads_total{result="ok"}') >= 1
    assert 19 * 86400 < server.metric("hadal_tls_certificate_expiry_timestamp_seconds") - time.time() < 21 * 86400


def hadal(server, *arguments, **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HADAL_")}
    return subprocess.run([server.command[0], *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**clean, **variables})


def test_our_own_commands_speak_tls(server, authority, tmp_path):
    health = ["health", "--port", server.port]
    plain = hadal(server, *health)
    assert plain.returncode == 1 and "this port speaks TLS" in plain.stdout
    assert hadal(server, *health, "--tls").returncode == 0
    assert hadal(server, *health, HADAL_TLS_CERT="/some/file").returncode == 0, "as in the image's health check"
    assert hadal(server, *health, "--tls-ca", authority.certificate).returncode == 0
    other = hadal(server, *health, "--tls-ca", Authority(tmp_path, "other").certificate)
    assert other.returncode == 1 and "unable to get local issuer certificate" in other.stderr
    chat = hadal(server, "chat", f"--server=localhost:{server.port}", f"--tls-ca={authority.certificate}", "--temperature=0", "17 + 25")
    assert chat.returncode == 0 and "42" in chat.stdout, chat
    by_url = hadal(server, "chat", f"--server=https://localhost:{server.port}", f"--tls-ca={authority.certificate}", "--temperature=0", "17 + 25")
    assert by_url.returncode == 0 and "42" in by_url.stdout, by_url
    missing = hadal(server, "chat", f"--tls-ca={tmp_path}/missing.pem", "17 + 25")
    assert missing.returncode == 2 and "missing.pem" in missing.stderr


def test_calls_need_a_client_certificate_and_probes_do_not(start_server, authority, stubs, tmp_path):
    clients = Authority(tmp_path, "clients")
    strangers = Authority(tmp_path, "strangers")
    ours, theirs = clients.sign("friend"), strangers.sign("stranger")
    server = start_server(*flags(*authority.sign("server")), f"--tls-client-ca={clients.certificate}", "--host=0.0.0.0",
                          tls=authority.context())
    assert openai_client(server, authority, ours).models.list().data[0].id == "hadal-demo"
    with channel(server, authority, ours) as secure:
        assert stubs.services.InferenceStub(secure).ListModels(stubs.pb.ListModelsRequest(), timeout=30).models
    # None.
    assert server.get("/health/live")[0] == 200 and server.get("/metrics")[0] == 200
    status, body = server.get("/v1/models")
    assert status == 401 and "no client certificate" in json.loads(body)["error"]["message"]
    with channel(server, authority) as secure:
        with pytest.raises(grpc.RpcError) as error:
            stubs.services.InferenceStub(secure).ListModels(stubs.pb.ListModelsRequest(), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    # Another authority's.
    with pytest.raises(openai.APIConnectionError):
        openai_client(server, authority, theirs).models.list()
    assert server.metric('hadal_tls_handshake_failures_total{reason="client_certificate"}') >= 1


def test_a_drain_ends_streams_under_tls_well(start_server, authority):
    server = start_server(*flags(*authority.sign("server")), tls=authority.context())
    client = openai_client(server, authority)
    chunks = client.completions.create(model="hadal-demo", prompt="x", max_tokens=500, stream=True,
                                       extra_body={"ignore_eos": True}, stream_options={"include_usage": True})
    next(chunks)
    server.signal()
    assert list(chunks)[-1].usage.completion_tokens == 500
    assert server.stop() == 0


def started_with(*arguments):
    with pytest.raises(RuntimeError) as error:
        HadalProcess(*arguments)
    return str(error.value)


def test_what_is_wrong_with_a_file_ends_the_start(authority, tmp_path):
    certificate, key = authority.sign("server")
    _, other = authority.sign("other")
    assert f"--tls-key: {other} is not the key of the certificate in {certificate}" in started_with(*flags(certificate, other))
    missing = tmp_path / "missing.pem"
    assert f"--tls-cert: {missing}" in started_with(*flags(missing, key))
    encrypted = tmp_path / "encrypted.pem"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", encrypted)
    assert f"--tls-key: {encrypted} is encrypted" in started_with(*flags(certificate, encrypted))
    assert "give --api-key-file or --tls-client-ca" in started_with(*flags(certificate, key), "--host=0.0.0.0")
    assert "--tls-cert needs --tls-key" in started_with(f"--tls-cert={certificate}")


def test_nothing_tells_the_key(authority, tmp_path, start_server):
    certificate, key = authority.sign("server")
    keys = tmp_path / "keys"
    keys.write_text("sk-very-secret acme\n")
    upstream_key = tmp_path / "upstream"
    upstream_key.write_text("sk-of-the-upstream\n")
    server = start_server(*flags(certificate, key), f"--api-key-file={keys}", "--log-level=debug", "--response-cache=memory,redis://me:sesame@127.0.0.1:1",
                          f"--fallback-upstream=http://127.0.0.1:1,key-file={upstream_key}", tls=authority.context())
    assert server.get("/v1/models")[0] == 401
    printed = subprocess.run([*server.command, "--print-config"], capture_output=True, text=True, timeout=30)
    assert printed.returncode == 0 and str(key) in printed.stdout and "redis://me:***@127.0.0.1:1" in printed.stdout
    everything = printed.stdout + printed.stderr + server.get("/metrics")[1] + server.text()
    for secret in ("sk-very-secret", "sk-of-the-upstream", "sesame", *key.read_text().splitlines()[1:-1]):
        assert secret not in everything
