# SPDX-License-Identifier: Apache-2.0
"""Half a second on every way, give or take 100 ms, and hosts that vanish: answers are whole, deadlines are kept, nothing leaks, and
health does not notice."""

import contextlib
import http.client
import json
import threading
import time

import pytest

from hadal_process import HadalProcess
from slow_network import SlowNetwork

CLIENTS = 40


@pytest.fixture(scope="module")
def server():
    with HadalProcess("--load-format=null:20ms") as process:
        yield process


@pytest.fixture
def network(server):
    network = SlowNetwork(server.port, 0.5, 0.1)
    yield network
    network.close()


def ask(port, tokens, stream=False, **headers):
    """(status, body); an OSError or HTTPException when the connection breaks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": stream,
            **({"stream_options": {"include_usage": True}} if stream else {})}
    with contextlib.closing(connection):
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()


def in_threads(count, call):
    """Threads that run `call`, and the growing list of what it returned or raised."""
    results = []

    def run():
        try:
            results.append(call())
        except (OSError, http.client.HTTPException) as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def test_streams_arrive_whole_and_nothing_is_left(server, network):
    threads, results = in_threads(CLIENTS, lambda: ask(network.port, 50, stream=True))
    looks = 0
    while any(thread.is_alive() for thread in threads):
        assert server.get("/health/live", timeout=60)[0] == server.get("/health/ready", timeout=60)[0] == 200
        looks += not results  # all streams are still under way
        time.sleep(0.05)
    assert looks >= 3  # they take seconds, and a look milliseconds; on a busy machine both take longer
    assert len(results) == CLIENTS
    for status, body in results:
        assert status == 200 and body.rstrip().endswith("data: [DONE]")
        assert '"completion_tokens":50' in body.replace(" ", "")
    server.wait_idle()


def test_hosts_that_vanish_leave_nothing_behind(server, network):
    cancelled = server.metric("hadal_cancellations_total")
    threads, results = in_threads(CLIENTS, lambda: ask(network.port, 2000, stream=True))
    server.wait_metric("hadal_requests_running", CLIENTS, timeout=30)
    assert network.cut(0.5) == CLIENTS // 2
    server.wait_metric("hadal_requests_running", CLIENTS // 2, timeout=30)
    assert network.cut(1) == CLIENTS // 2
    for thread in threads:
        thread.join()
    assert all(isinstance(result, Exception) for result in results) and len(results) == CLIENTS
    server.wait_idle(30)
    server.wait_metric("hadal_cancellations_total", cancelled + CLIENTS, timeout=30)
    server.wait_metric("hadal_open_connections", 1, timeout=30)  # the scrape's own
    assert ask(server.port, 1)[0] == 200


def test_a_deadline_counts_from_arrival(server, network):
    begin = time.monotonic()
    status, body = ask(network.port, 1500, **{"x-hadal-deadline-ms": "1000"})
    elapsed = time.monotonic() - begin
    assert status == 504 and "DEADLINE_EXPIRED" in body
    assert 1.0 + 2 * 0.4 <= elapsed < 25  # the answer would take half a minute
    server.wait_idle()
