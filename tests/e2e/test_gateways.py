# SPDX-License-Identifier: Apache-2.0
"""The gateway configurations of gateways/ with the real gateways, in front of two servers. HADAL_GATEWAY_TESTS=1 runs them: on a
machine that compiles beside them a server that was filled is not always full when it is asked."""

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
GATEWAYS = pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "gateways"
# One request runs and one waits: full with two.
SMALL = ("--load-format=null:5ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def haproxy(folder, port, backends):
    binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if binary is None:
        pytest.skip("haproxy is not installed")
    environment = {f"REPLICA_{i}": f"127.0.0.1:{backend}" for i, backend in enumerate(backends, 1)}
    return subprocess.Popen([binary, "-db", "-f", GATEWAYS / "haproxy.cfg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env={**os.environ, **environment, "LISTEN": f"127.0.0.1:{port}"})


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


@pytest.fixture(params=[haproxy, nginx], ids=lambda gateway: gateway.__name__)
def fleet(request, tmp_path):
    """(gateway's port, the two servers)."""
    with HadalProcess(*SMALL) as one, HadalProcess(*SMALL) as two:
        port = free_port()
        process = request.param(tmp_path, port, [one.port, two.port])
        try:
            deadline = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if ask(port, 1)[0] == 200:
                        break
                assert process.poll() is None and time.monotonic() < deadline, "the gateway does not answer"
                time.sleep(0.05)
            yield port, (one, two)
        finally:
            process.terminate()
            process.wait(10)


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
