# SPDX-License-Identifier: Apache-2.0
"""Classes and tenants at the door of a full server, through the public interface: who is let in, who goes first, who gives way."""

import concurrent.futures
import threading
import time

import pytest

from http_client import post, send_raw
from redis_process import wait_for

KEYS = """\
sk-urgent ops high
sk-noisy noisy normal
sk-quiet quiet normal
sk-bulk bulk batch
"""


@pytest.fixture
def server(start_server, tmp_path):
    """Two run, eight wait. A request of 20 tokens takes 0.1 s."""
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    server = start_server("--load-format=null:5ms", "--max-model-len=32768", "--max-batch-size=2", "--max-queue-requests=8", "--class-floors=high=0.25,normal=0.25,low=0.125",
                          "--wait-limits=none", f"--api-key-file={keys}")
    yield server
    server.wait_idle()


def ask(server, key, tokens=20):
    """(status, reason or None, seconds)."""
    begin = time.monotonic()
    status, headers, _ = post(server, "/v1/completions", {"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True},
                              {"Authorization": f"Bearer {key}"})
    return status, headers.get("x-hadal-reason"), time.monotonic() - begin


class Flood:
    """Callers of one key that ask again at once, whatever they are told, until the block ends."""

    def __init__(self, server, key, callers):
        self.server, self.key, self.answers = server, key, []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(callers)]

    def run(self):
        while not self.done.is_set():
            self.answers.append(ask(self.server, self.key))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.server.wait_metric("hadal_requests_running", 2)
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def statuses(self):
        return {status for status, _, _ in self.answers}


def test_the_high_class_is_served_while_batch_floods(server):
    with Flood(server, "sk-bulk", 16) as flood:
        urgent = [ask(server, "sk-urgent") for _ in range(12)]
    assert [status for status, _, _ in urgent] == [200] * 12
    assert flood.statuses() == {200, 503}, "the flood must fill the queue, and must not starve"
    bulk = [seconds for status, _, seconds in flood.answers if status == 200]
    assert sorted(seconds for _, _, seconds in urgent)[6] < sorted(bulk)[len(bulk) // 2]


def test_a_quiet_tenant_is_served_beside_a_noisy_one(server):
    with Flood(server, "sk-noisy", 16) as flood:
        quiet = [ask(server, "sk-quiet") for _ in range(12)]
    assert [status for status, _, _ in quiet] == [200] * 12
    assert flood.statuses() == {200, 503}
    noisy = [seconds for status, _, seconds in flood.answers if status == 200]
    # It has had fewer tokens, so it goes next and never waits for the other's whole queue.
    assert sorted(seconds for _, _, seconds in quiet)[6] < sorted(noisy)[len(noisy) // 2]


def test_what_was_borrowed_is_given_back(server):
    """Batch has no floor: it fills the queue on credit, and its newest goes when the class that owns the slot comes."""
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        # They run until the test lets go of them, and are not of a class that makes room: nothing leaves the queue before.
        body = {"model": "hadal-demo", "prompt": "x", "max_tokens": 30000, "ignore_eos": True}
        running = [send_raw(server, "/v1/completions", body, {"Authorization": "Bearer sk-urgent"}) for _ in range(2)]
        server.wait_metric("hadal_requests_running", 2)
        bulk = [pool.submit(ask, server, "sk-bulk") for _ in range(8)]
        server.wait_metric("hadal_requests_waiting", 8)
        urgent = [pool.submit(ask, server, "sk-urgent") for _ in range(2)]
        wait_for(lambda: sum(call.done() for call in bulk) == 2)
        assert [call.result()[:2] for call in bulk if call.done()] == [(503, "PREEMPTED_IN_QUEUE")] * 2
        assert server.metric("hadal_requests_waiting") == 8
        for connection in running:
            connection.close()
        assert [call.result()[0] for call in urgent] == [200, 200]
        assert [call.result()[0] for call in bulk].count(200) == 6
