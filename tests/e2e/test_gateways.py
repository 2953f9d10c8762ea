# SPDX-License-Identifier: Apache-2.0
"""The gateway configurations of gateways/ and of the edges in k8s/overlays with the real gateways, in front of two servers."""

import contextlib
import http.client
import json
import signal
import threading
import time

import httpx2
import openai
import pytest

from dns_server import DnsServer
from gateway_process import GatewayProcess, binary, free_port
from hadal_process import HadalProcess, filled

# One request runs and one waits: full with two.
SMALL = ("--load-format=null:5ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


@pytest.fixture(params=["haproxy", "nginx", "edge", "edge-nginx"])
def gateway(request):
    if binary(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@contextlib.contextmanager
def start_fleet(gateway, folder, *flags):
    """(gateway's port, the two servers)."""
    with HadalProcess(*flags) as one, HadalProcess(*flags) as two, GatewayProcess(gateway, folder, [one.port, two.port]) as process:
        yield process.port, (one, two)


@pytest.fixture
def fleet(gateway, tmp_path):
    with start_fleet(gateway, tmp_path, *SMALL) as found:
        yield found


def ask(port, tokens, timeout=60):
    """(status, headers, body) of a completion."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


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
    port, _ = fleet
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": 400, "ignore_eos": True, "stream": True})
    start = time.monotonic()
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.readline()
    first = time.monotonic() - start
    assert b"[DONE]" in response.read()
    assert first < (time.monotonic() - start) / 2
    connection.close()


def kill(server):
    server.expect_exit = -signal.SIGKILL
    server.process.kill()
    server.process.wait(10)


def test_a_killed_replica_is_survived(fleet):
    port, (one, _) = fleet
    kill(one)
    assert [ask(port, 1)[0] for _ in range(8)] == [200] * 8


def test_a_killed_replica_loses_its_own_streams_and_their_clients_hear_of_it(gateway, tmp_path):
    with start_fleet(gateway, tmp_path, "--load-format=null:10ms") as (port, (one, two)):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=60)
        streams = []
        while not (one.metric("hadal_requests_running") and two.metric("hadal_requests_running")):
            streams.append(client.completions.create(model="hadal-demo", prompt="x", max_tokens=300, stream=True, extra_body={"ignore_eos": True}))
            next(iter(streams[-1]))
        lost = one.metric("hadal_requests_running")
        kill(one)
        broken = 0
        for stream in streams:
            try:
                assert list(stream)[-1].choices[0].finish_reason == "length"
            except (openai.APIError, httpx2.TransportError):
                broken += 1
        assert broken == lost < len(streams)


def test_a_replica_that_ends_under_load_loses_no_request(gateway, tmp_path):
    answers, stop = [], threading.Event()
    with start_fleet(gateway, tmp_path, "--load-format=null:5ms") as (port, (one, _)):

        def client():
            while not stop.is_set():
                status, _, body = ask(port, 20)
                answers.append((status, "" if status == 200 else body.decode()))

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            seen = len(answers)
            while len(answers) < seen + 20:
                time.sleep(0.01)
            if one.process.poll() is None:
                one.signal()
                one.process.wait(40)
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {(200, "")}


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
        deadline = time.monotonic() + 60
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


def test_the_edge_follows_the_names_of_the_pods(tmp_path):
    """A headless Service's name has the addresses of the pods that are ready; all have the same port."""
    if binary("edge") is None:
        pytest.skip("haproxy is not installed")

    def served(server):
        return server.metric("hadal_admission_attempts_total")

    def wait_served(server):
        before, deadline = served(server), time.monotonic() + 60
        while served(server) == before:
            assert ask(edge.port, 1)[0] == 200 and time.monotonic() < deadline
            time.sleep(0.05)

    port = free_port()
    with contextlib.ExitStack() as running:
        first, second, backup = (running.enter_context(HadalProcess("--load-format=null", f"--host={address}", f"--port={port}"))
                                 for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"))
        dns = running.enter_context(DnsServer({"pods.test": [first.host], "backup.test": [backup.host]}))
        edge = running.enter_context(GatewayProcess("edge", tmp_path, f"pods.test:{port}", f"backup.test:{port}", dns_port=dns.port))
        wait_served(first)
        assert served(second) == served(backup) == 0
        dns.records["pods.test"] = [first.host, second.host]  # a new pod
        wait_served(second)
        dns.records["pods.test"] = [second.host]  # the first is told to end: it gets no more, while it is still there
        deadline = time.monotonic() + 60
        while True:
            before = served(first)
            assert [ask(edge.port, 1)[0] for _ in range(10)] == [200] * 10
            if served(first) == before:
                break
            assert time.monotonic() < deadline
        assert served(backup) == 0
        del dns.records["pods.test"]  # none is ready
        wait_served(backup)
