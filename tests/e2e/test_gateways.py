# SPDX-License-Identifier: Apache-2.0
"""The gateway configurations of gateways/ and k8s/overlays/edge with the real gateways, in front of two servers.
HADAL_GATEWAY_TESTS=1 runs them: on a machine that compiles beside them a server that was filled is not always full when it is asked."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from hadal_process import HadalProcess

pytestmark = pytest.mark.skipif(os.environ.get("HADAL_GATEWAY_TESTS") != "1", reason="HADAL_GATEWAY_TESTS=1 runs the gateways")
ROOT = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
GATEWAYS, EDGE = ROOT / "gateways", ROOT / "k8s/overlays/edge"
# One request runs and one waits: full with two.
SMALL = ("--load-format=null:5ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_haproxy(config, **environment):
    binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if binary is None:
        pytest.skip("haproxy is not installed")
    return subprocess.Popen([binary, "-db", "-f", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env={**os.environ, **environment})


def haproxy(folder, port, backends):
    replicas = {f"REPLICA_{i}": f"127.0.0.1:{backend}" for i, backend in enumerate(backends, 1)}
    return start_haproxy(GATEWAYS / "haproxy.cfg", LISTEN=f"127.0.0.1:{port}", **replicas)


def edge(folder, port, backends, backup=None):
    """The edge of k8s/ with addresses in place of the names that the cluster's DNS knows."""
    text = (EDGE / "haproxy.cfg").read_text()
    names = re.findall(r"^ +server.* resolvers cluster init-addr none.*\n", text, re.MULTILINE)
    assert len(names) == 2
    replicas = "".join(f"    server replica{i} 127.0.0.1:{backend}\n" for i, backend in enumerate(backends, 1))
    elsewhere = f"    server elsewhere 127.0.0.1:{backup or free_port()} backup\n"
    config = folder / "edge.cfg"
    config.write_text(text.replace(names[0], replicas).replace(names[1], elsewhere))
    return start_haproxy(config, HADAL_LISTEN=f"127.0.0.1:{port}", HADAL_EDGE=str(EDGE))


def nginx(folder, port, backends):
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        pytest.skip("nginx is not installed")
    text = (GATEWAYS / "nginx.conf").read_text()
    for example, backend in zip(("127.0.0.1:8001", "127.0.0.1:8002"), backends):
        assert text.count(example) == 1
        text = text.replace(example, f"127.0.0.1:{backend}")
    text, ports = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", text)
    assert ports == 1
    config = folder / "nginx.conf"
    config.write_text(f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n" + text)
    return subprocess.Popen([binary, "-p", folder, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def running(process, port):
    """A gateway that answers, until the block ends."""
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(port, 1)[0] == 200:
                    break
            assert process.poll() is None and time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=[haproxy, nginx, edge], ids=lambda gateway: gateway.__name__)
def gateway(request):
    return request.param


@contextlib.contextmanager
def start_fleet(gateway, folder, *flags):
    """(gateway's port, the two servers)."""
    port = free_port()
    with HadalProcess(*flags) as one, HadalProcess(*flags) as two, running(gateway(folder, port, [one.port, two.port]), port):
        yield port, (one, two)


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


@contextlib.contextmanager
def filled(server):
    """One request runs and one waits, until the block ends."""
    connections = []
    for level in ("hadal_requests_running", "hadal_requests_waiting"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": 2000, "ignore_eos": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        connections.append(connection)
        server.wait_metric(level, 1)
    yield
    for connection in connections:
        connection.close()
    server.wait_idle()


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


def test_a_killed_replica_is_survived(fleet):
    port, (one, _) = fleet
    one.expect_exit = -signal.SIGKILL
    one.process.kill()
    one.process.wait(10)
    assert [ask(port, 1)[0] for _ in range(8)] == [200] * 8


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


def test_the_edge_turns_to_the_backup_and_then_to_its_page(tmp_path):
    port = free_port()
    with HadalProcess(*SMALL) as backup:
        with HadalProcess(*SMALL) as only:
            process = edge(tmp_path, port, [only.port], backup.port)
            with running(process, port):
                served = backup.metric("hadal_admission_attempts_total")
                only.expect_exit = -signal.SIGKILL
                only.process.kill()
                only.process.wait(10)
                deadline = time.monotonic() + 20
                while backup.metric("hadal_admission_attempts_total") == served:
                    assert ask(port, 1)[0] in (200, 503) and time.monotonic() < deadline
                assert [ask(port, 1)[0] for _ in range(5)] == [200] * 5
                backup.stop()
                while True:
                    status, headers, body = ask(port, 1)
                    if json.loads(body)["error"]["code"] == "no_server":
                        break
                    assert time.monotonic() < deadline + 20
                assert status == 503 and headers["retry-after"] == "10" and headers["x-should-retry"] == "true"
                assert "服务器繁忙" in json.loads(body)["error"]["message"]
