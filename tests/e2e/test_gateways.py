# SPDX-License-Identifier: Apache-2.0
"""The gateway configurations of gateways/ and of the edges in k8s/overlays with the real gateways, in front of two servers."""

import contextlib
import http.client
import json
import threading
import time

import grpc
import pytest

from dns_server import DnsServer
from gateway_fleet import SMALL, answer, ask, end_one_under_load, kill, start_fleet, stub_of
from gateway_process import RESOLVE, GatewayProcess, binary, free_port, nginx_version
from hadal_process import PATIENCE, HadalProcess, filled


@pytest.fixture
def fleet(gateway, tmp_path):
    with start_fleet(gateway, tmp_path, *SMALL) as (process, servers):
        yield process.port, servers


def test_a_refusal_goes_to_the_other_replica(fleet):
    port, (one, _) = fleet
    with filled(one):
        assert ask(one.port, 1)[0] == 503
        assert [ask(port, 1)[0] for _ in range(12)] == [200] * 12


def test_the_last_refusal_reaches_the_client_whole(fleet):
    port, (one, two) = fleet
    with filled(one), filled(two):
        status, headers, body = ask(port, 1)
    assert status == 503
    assert headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
    assert int(headers["retry-after"]) >= 1 and int(headers["retry-after-ms"]) >= 1000
    assert "服务器繁忙" in json.loads(body)["error"]["message"]


def test_a_replica_that_refused_is_not_parked(fleet):
    port, (one, two) = fleet
    with filled(one), filled(two):
        for _ in range(20):
            assert ask(port, 1)[0] == 503
    # At once, not after a quarantine: both have room, so two at a time are served.
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(port, 100)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 2


def test_tokens_come_as_they_are_made(fleet):
    port, servers = fleet
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask_for(tokens):
        body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        return connection.getresponse()

    assert b"[DONE]" in ask_for(20).read()
    response = ask_for(30000)
    assert response.readline().startswith(b"data: ")
    assert sum(server.metric("hadal_requests_running") for server in servers) == 1, "the others are still to come"
    response.close()
    connection.close()
    for server in servers:
        server.wait_idle()


def test_a_killed_replica_is_survived(fleet):
    port, (one, _) = fleet
    kill(one)
    assert [ask(port, 1)[0] for _ in range(8)] == [200] * 8


def test_a_replica_that_ends_under_load_loses_no_request(gateway, tmp_path):
    with start_fleet(gateway, tmp_path, "--load-format=null:5ms") as (process, (one, _)):

        def client(is_over, tell):
            while not is_over():
                status, _, body = ask(process.port, 20)
                tell((status, "" if status == 200 else body.decode()))

        assert set(end_one_under_load(one, client, threads=4, between=20)) == {(200, "")}


@pytest.mark.parametrize("name", ["edge", "edge-nginx"])
def test_the_edge_turns_to_the_backup_and_then_to_its_page(name, tmp_path):
    if binary(name) is None:
        pytest.skip(f"{name} is not installed")
    with HadalProcess(*SMALL) as backup, HadalProcess(*SMALL) as one, HadalProcess(*SMALL) as two, \
            GatewayProcess(name, tmp_path, [one.port, two.port], backup.port) as edge:
        port = edge.port
        served = backup.metric("hadal_admission_attempts_total")
        assert ask(port, 1)[0] == 200 and backup.metric("hadal_admission_attempts_total") == served
        for replica in (one, two):
            kill(replica)
        deadline = time.monotonic() + PATIENCE
        while backup.metric("hadal_admission_attempts_total") == served:
            assert ask(port, 1)[0] in (200, 503) and time.monotonic() < deadline
        assert [ask(port, 1)[0] for _ in range(5)] == [200] * 5
        backup.stop()
        while True:
            status, headers, body = ask(port, 1)
            if json.loads(body)["error"]["code"] == "no_server":
                break
            assert time.monotonic() < deadline
        assert status == 503 and headers["retry-after"] == "10" and headers["x-should-retry"] == "true"
        assert "服务器繁忙" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", ["edge", "edge-nginx"])
def test_the_edge_follows_the_names_of_the_pods(name, protocol, tmp_path, stubs):
    """A headless Service's name has the addresses of the pods that are ready; all have the same port."""
    if binary(name) is None:
        pytest.skip(f"{name} is not installed")
    if name == "edge-nginx" and nginx_version() < RESOLVE:
        pytest.skip(f"nginx {'.'.join(map(str, nginx_version()))} cannot do it: HADAL_NGINX names one from {'.'.join(map(str, RESOLVE))} on")

    check_follows(name, protocol, tmp_path, stubs, grpc_backup=True)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_nginx_without_names_in_upstreams_follows_them_too(protocol, tmp_path, stubs):
    if binary("nginx-dns") is None:
        pytest.skip("nginx is not installed")
    check_follows("nginx-dns", protocol, tmp_path, stubs, grpc_backup=False)


def wait_unavailable(stub, stubs):
    """Until the gateway has nobody, and says when to come again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer(stub, stubs)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE and dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
            return
        assert time.monotonic() < deadline


def test_an_nginx_without_names_in_upstreams_sends_a_refusal_on_and_has_a_page(tmp_path):
    if binary("nginx-dns") is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    with HadalProcess(*SMALL, "--host=127.0.0.2", f"--port={port}") as one, HadalProcess(*SMALL, "--host=127.0.0.3", f"--port={port}") as two, \
            DnsServer({"pods.test": [one.host, two.host]}) as dns, \
            GatewayProcess("nginx-dns", tmp_path, f"pods.test:{port}", f"backup.test:{port}", dns_port=dns.port) as gateway:
        with filled(one):
            assert ask(port, 1, host=one.host)[0] == 503
            assert [ask(gateway.port, 1)[0] for _ in range(12)] == [200] * 12
            with filled(two):
                status, headers, _ = ask(gateway.port, 1)
                assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL" and int(headers["retry-after"]) >= 1
        del dns.records["pods.test"]
        deadline = time.monotonic() + PATIENCE
        while (found := ask(gateway.port, 1))[0] == 200:
            assert time.monotonic() < deadline
        status, headers, body = found
        assert status == 503 and headers["retry-after"] == "10" and json.loads(body)["error"]["code"] == "no_server"


def check_follows(name, protocol, tmp_path, stubs, grpc_backup):
    """A headless Service's name has the addresses of the pods that are ready; all have the same port."""

    def answered():
        if protocol == "http":
            return ask(edge.port, 1)[0] == 200
        with contextlib.suppress(grpc.RpcError), stub_of(edge.grpc_port, stubs) as stub:
            return answer(stub, stubs) == 1
        return False

    def served(server):
        return server.metric("hadal_admission_attempts_total")

    def wait_served(server):
        before, deadline = served(server), time.monotonic() + 60
        while served(server) == before:
            assert answered() and time.monotonic() < deadline
            time.sleep(0.05)

    port = free_port()
    with contextlib.ExitStack() as running:
        first, second, backup = (running.enter_context(HadalProcess("--load-format=null", f"--host={address}", f"--port={port}"))
                                 for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"))
        dns = running.enter_context(DnsServer({"pods.test": [first.host], "backup.test": [backup.host]}))
        edge = running.enter_context(GatewayProcess(name, tmp_path, f"pods.test:{port}", f"backup.test:{port}", dns_port=dns.port))
        wait_served(first)
        assert served(second) == served(backup) == 0
        dns.records["pods.test"] = [first.host, second.host]  # a new pod
        wait_served(second)
        dns.records["pods.test"] = [second.host]  # the first is told to end: it gets no more, while it is still there
        deadline = time.monotonic() + PATIENCE
        while True:
            before = served(first)
            assert all(answered() for _ in range(10))
            if served(first) == before:
                break
            assert time.monotonic() < deadline
        assert served(backup) == 0
        del dns.records["pods.test"]  # none is ready
        if protocol == "http" or grpc_backup:
            wait_served(backup)
        else:
            with stub_of(edge.grpc_port, stubs) as stub:
                wait_unavailable(stub, stubs)
        dns.records["pods.test"] = [first.host]  # and there is one again
        wait_served(first)
        assert edge.process.poll() is None, "without a restart"
