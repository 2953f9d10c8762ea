# SPDX-License-Identifier: Apache-2.0
"""Clients that leave, and a queue that is full."""

import re
import signal
import threading
import time

import openai
import pytest

from hadal_process import PATIENCE, fill, filled
from http_client import ASK, LONG, SHORTER, client_of, post, read_until, send_raw
from redis_process import wait_for


def test_leaving_a_stream_frees_everything(server, client):
    for _ in range(4):
        stream = client.chat.completions.create(model="hadal-demo", stream=True,
                                                **{k: v for k, v in LONG.items() if k != "ignore_eos"},
                                                extra_body={"ignore_eos": True})
        for number, _ in enumerate(stream):
            if number == 3:
                break
        stream.close()
    server.wait_idle()


def test_leaving_a_whole_answer_frees_everything(server):
    sock = send_raw(server, "/v1/chat/completions", LONG)
    server.wait_metric("hadal_requests_running", 1)
    sock.close()
    server.wait_idle()


@pytest.fixture
def full_server(start_server):
    """A server whose batch has one slot, taken for long, and whose queue has two."""
    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=2",
                          "--wait-limits=none")
    # Three choices one after the other; their lease leaves memory for two more requests.
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "stream": True, "n": 3})
    read_until(sock, b"data: ")
    server.holder = sock
    yield server
    sock.close()
    server.wait_idle()


def test_leaving_the_queue_frees_the_place(full_server):
    for stream in (False, True):
        sock = send_raw(full_server, "/v1/chat/completions", {**SHORTER, "stream": stream})
        full_server.wait_metric("hadal_requests_waiting", 1)
        sock.close()
        full_server.wait_metric("hadal_requests_waiting", 0)


def test_a_full_queue_answers_503_with_hints(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)
    with pytest.raises(openai.InternalServerError) as caught:
        client_of(full_server).chat.completions.create(model="hadal-demo", messages=ASK)
    assert full_server.metric("hadal_requests_waiting") == 2, "it has not waited for a place"
    error = caught.value
    assert error.status_code == 503 and error.code == "CONNECTION_QUEUE_FULL" and error.type == "overloaded_error"
    assert "服务器繁忙" in error.message
    headers = error.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 1000 <= int(headers["retry-after-ms"]) <= 30000
    assert headers["x-should-retry"] == "true" and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
    assert headers["x-hadal-promise"] in ("held", "none")
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert full_server.get(path)[0] == 200
    for sock in waiting:
        sock.close()


def test_the_log_line_of_a_refusal_is_the_one_that_operators_grep_for(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)
    assert post(full_server, "/v1/chat/completions", {"messages": ASK})[0] == 503
    full_server.wait_text("CONNECTION_QUEUE_FULL")
    lines = [line for line in full_server.text().splitlines() if "CONNECTION_QUEUE_FULL" in line and "[admission]" in line]
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    fields = r"reason=CONNECTION_QUEUE_FULL request_id=req-[-\w]+ class=normal retry_after_ms=\d+"
    wanted = stamp + r" WARN \[admission\] CONNECTION_QUEUE_FULL: 2/2 pending connections " + fields
    assert len(lines) == 1 and re.fullmatch(wanted, lines[0]), lines
    for sock in waiting:
        sock.close()


def test_a_client_and_its_gateway_are_told_different_times(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)

    def refused(**headers):
        with pytest.raises(openai.InternalServerError) as caught:
            client_of(full_server).chat.completions.create(model="hadal-demo", messages=ASK, extra_headers=headers)
        return caught.value.response.headers

    # One place, taken for about 15 s, is more than what can be promised: the client is surplus, and should come once more.
    # Until the first steps have been measured nothing is foreseen, and everybody is told two seconds.
    deadline = time.monotonic() + PATIENCE
    client = refused(**{"x-stainless-retry-count": "0"})
    while int(client["retry-after"]) < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
        client = refused(**{"x-stainless-retry-count": "0"})
    assert int(client["retry-after"]) >= 20 and client["x-should-retry"] == "true" and client["x-hadal-promise"] == "none"
    again = refused(**{"x-stainless-retry-count": "1"})
    assert int(again["retry-after"]) >= 20 and again["x-should-retry"] == "false"
    gateway = refused(**{"x-hadal-client": "gateway"})
    assert 1 <= int(gateway["retry-after"]) <= 3 and gateway["x-should-retry"] == "true"
    assert int(gateway["retry-after-ms"]) <= 3000
    for sock in waiting:
        sock.close()


def test_behind_a_gateway_every_client_is_told_the_next_free_moment(start_server):
    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=1",
                          "--wait-limits=none", "--behind-gateway")
    with filled(server):
        def refused(attempts):
            status, headers, _ = post(server, "/v1/chat/completions", {"messages": ASK}, {"x-stainless-retry-count": attempts})
            assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
            return headers

        # Until the first steps have been measured nothing is foreseen, and everybody is told two seconds.
        deadline = time.monotonic() + PATIENCE
        while "x-hadal-estimated-wait-ms" not in (headers := refused("0")):
            assert time.monotonic() < deadline, headers
            time.sleep(0.05)
        # No client says that it is a gateway. What takes about 20 s is 3 s for one, whatever was told to others before it.
        for attempts in ("0", "1", "2"):
            headers = refused(attempts)
            assert int(headers["x-hadal-estimated-wait-ms"]) > 5000
            assert headers["retry-after-ms"] == "3000" and headers["retry-after"] == "3"
            assert headers["x-should-retry"] == "true" and headers["x-hadal-promise"] == "none"


def test_replicas_that_started_alike_tell_different_times(start_server):
    # No step ends while the test looks: every hint is two seconds and the jitter.
    told = []
    for _ in range(2):
        server = start_server("--load-format=null:10m", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none", expect_exit=-9)
        connections = fill(server)
        told.append([int(post(server, "/v1/chat/completions", {"messages": ASK})[1]["retry-after-ms"]) for _ in range(5)])
        for connection in connections:
            connection.close()
        server.signal(signal.SIGKILL)  # it would end with its step
    assert all(2000 <= ms <= 2200 for replica in told for ms in replica), told
    assert told[0] != told[1], "clients of both would come back together"


def test_the_clients_own_retries_succeed_once_there_is_room(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)

    def let_go():
        """Everything that is in the way goes once the client was refused; it comes back when it was told to."""
        wait_for(lambda: full_server.metric("hadal_admission_rejections_total") > 0)
        for sock in [full_server.holder, *waiting]:
            sock.close()

    threading.Thread(target=let_go).start()
    # A gateway's, which is told the next free moment; an end client would be told its turn, half a minute from now.
    client = client_of(full_server).with_options(max_retries=2, default_headers={"x-hadal-client": "gateway"})
    before = time.monotonic()
    answer = client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=5)
    assert time.monotonic() - before >= 1  # the least hint
    assert answer.choices[0].finish_reason == "length"


def test_queued_streams_get_their_answer(start_server):
    server = start_server("--load-format=null:5ms", "--max-model-len=32768", "--max-batch-size=1", "--wait-limits=none")
    first = send_raw(server, "/v1/chat/completions", {**LONG, "max_tokens": 30000, "stream": True})
    read_until(first, b"data: ")
    second = send_raw(server, "/v1/chat/completions", {"messages": ASK, "temperature": 0, "stream": True, "max_tokens": 5})
    server.wait_metric("hadal_requests_waiting", 1)
    first.close()
    assert read_until(second, b"[DONE]").startswith(b"HTTP/1.1 200")
