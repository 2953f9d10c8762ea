# SPDX-License-Identifier: Apache-2.0
"""Clients on a host that is half a second away, give or take 100 ms, over a link that loses one packet in a hundred: the kernel's own TCP
with its retransmissions. Answers are whole, deadlines are kept, the client library gets through a refusal, and a host that vanishes without a
word leaves nothing behind."""

import json
import os
import sys
import time

import pytest

import delayed_link
from hadal_process import PATIENCE, HadalProcess, descriptors, filled

DELAY, JITTER, LOSS = 0.5, 0.1, 0.01
CALLS = 8  # of each front
PUBLIC = ("--host=0.0.0.0", "--insecure-public")


@pytest.fixture
def far_host():
    reason = delayed_link.why_not()
    if reason:
        pytest.skip(reason)
    with delayed_link.FarHost(DELAY, JITTER, LOSS) as host:
        yield host


@pytest.fixture
def call(far_host, stubs):
    """call(server, kind, calls, tokens): a process of the far host that makes the calls."""
    source, running = os.environ["HADAL_SOURCE_DIR"], []
    generated = os.path.dirname(os.path.dirname(os.path.dirname(stubs.pb.__file__)))
    path = os.pathsep.join([os.path.join(source, "client/python/src"), generated])

    def start(server, kind, calls, tokens):
        script = os.path.join(os.path.dirname(__file__), "far_client.py")
        running.append(far_host.start(sys.executable, script, kind, f"{far_host.address}:{server.port}", calls, tokens,
                                      env={**os.environ, "PYTHONPATH": path}))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def results(process, timeout=180):
    output, _ = process.communicate(timeout=timeout)
    return [json.loads(line) for line in output.splitlines()]


def threads(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def wait_for(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def test_answers_over_both_fronts_are_whole_and_health_does_not_notice(far_host, call):
    with HadalProcess("--load-format=null:20ms", *PUBLIC) as server:
        processes = [call(server, kind, CALLS, 50) for kind in ("http", "grpc")]
        seconds = []
        while any(process.poll() is None for process in processes):
            begin = time.monotonic()
            assert server.get("/health/live")[0] == server.get("/health/ready")[0] == 200
            seconds.append(time.monotonic() - begin)
            time.sleep(0.1)
        # Two answers that come within milliseconds. Not the slowest ones: that may be the machine's.
        assert sorted(seconds)[len(seconds) // 2] < 1
        for process in processes:
            ended = results(process)
            assert len(ended) == CALLS
            for result in ended:
                assert result["status"] in (200, "OK") and result["done"] and result["tokens"] == 50, result
                # There and back for the connection, there and back for the answer, and what it takes to make it.
                assert result["seconds"] > 2 * 2 * (DELAY - JITTER) + 49 * 0.02
        server.wait_idle()
        packets = far_host.packets()
        assert packets["lost"] > 0 and packets["passed"] > 20 * packets["lost"]


def test_deadlines_are_kept(call):
    with HadalProcess("--load-format=null:20ms", *PUBLIC) as server:
        processes = {kind: call(server, kind, 1, 2000) for kind in ("http-deadline", "grpc-deadline")}
        (over_http,), (over_grpc,) = (results(process) for process in processes.values())
        # Told the server: it counts from the arrival, and the answer comes back.
        assert (over_http["status"], over_http["reason"]) == (504, "DEADLINE_EXPIRED")
        assert over_http["seconds"] > 1 + 2 * (DELAY - JITTER)
        # The client's own clock, which the server is told.
        assert over_grpc["status"] == "DEADLINE_EXCEEDED" and 5 <= over_grpc["seconds"] < PATIENCE
        server.wait_idle()


def test_the_client_library_comes_back_after_a_refusal(call):
    with HadalProcess("--load-format=null:5ms", "--max-model-len=32768", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none", *PUBLIC) as server:
        with filled(server):
            process = call(server, "library", 1, 20)
            wait_for(lambda: server.metric("hadal_admission_rejections_total") > 0, PATIENCE, server.text)
        (result,) = results(process)
        assert result["status"] == "OK" and result["tokens"] == 20, result


def test_hosts_that_vanish_leave_nothing_behind(far_host, call):
    # A client that takes nothing is given up after two seconds; gRPC closes a connection that acknowledges nothing after twenty.
    with HadalProcess("--load-format=null:2ms", "--max-model-len=32768", "--slow-reader-timeout=2s", *PUBLIC) as server:
        for kind in ("http", "grpc"):  # what the libraries open once and keep
            assert len(results(call(server, kind, CALLS, 5))) == CALLS
        server.wait_metric("hadal_grpc_connections", 0)
        server.wait_metric("hadal_open_connections", 1)  # the scrape's own
        before, threads_before = descriptors(server), threads(server)
        for kind in ("http", "grpc"):
            call(server, kind, CALLS, 30000)
        server.wait_metric("hadal_requests_running", 2 * CALLS)
        far_host.vanish()
        server.wait_metric("hadal_requests_running", 0)
        server.wait_idle()
        server.wait_metric("hadal_open_connections", 1)
        server.wait_metric("hadal_grpc_connections", 0)
        wait_for(lambda: descriptors(server) <= before, PATIENCE, lambda: f"{descriptors(server)} descriptors, {before} before")
        # The gRPC library has more or fewer as it likes, but none for a call or a connection.
        assert threads(server) < threads_before + CALLS
        assert server.metric("hadal_cancellations_total") == 2 * CALLS
        assert server.get("/health/live")[0] == 200
