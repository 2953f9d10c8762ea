# SPDX-License-Identifier: Apache-2.0
"""What a full server passes on to another one, with two real servers and real clients: answers, failures at every moment, recovery.
Those over gRPC and in Ollama's form: test_upstream_translated.py."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import threading
import time

import anthropic
import httpx2
import openai
import pytest

from hadal_process import HadalProcess, descriptors, filled
from http_client import ASK, LONG, client_of, post, read_until, send_raw
from ports import free_port
from test_metrics import documented, parse
from test_tickets import briefly_full
from tls_files import Authority

CHAT = "/v1/chat/completions"
# Places for one request that runs and one that waits.
SMALL = ("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
# Answers of other servers are slow where a machine is busy: no test may take one for a server that hangs.
PATIENT = ("--fallback-connect-timeout=20s", "--fallback-first-byte-timeout=30s")
GREEDY = {"messages": ASK, "temperature": 0, "max_tokens": 200}


def outcomes(server, target):
    """{outcome: count} of the attempts at a target, those that there were."""
    prefix = f'hadal_upstream_requests_total{{target="{target}",outcome="'
    lines = [line for line in server.get("/metrics")[1].splitlines() if line.startswith(prefix)]
    counts = {line[len(prefix):].split('"')[0]: int(line.rsplit(" ", 1)[1]) for line in lines}
    return {outcome: count for outcome, count in counts.items() if count}


def read_to_end(sock):
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def wait_until(condition, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def far():
    """The server that has room."""
    with HadalProcess() as process:
        yield process


@pytest.fixture(scope="module")
def near(far):
    """The server that is full in most of the tests."""
    with HadalProcess(*SMALL, *PATIENT, f"--fallback-upstream={far.url},name=far") as process:
        yield process


@pytest.fixture
def full(near):
    with filled(near):
        yield near


class Scripted:
    """An upstream that does on each connection what a test says."""

    def __init__(self, script):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests = []
        self._script = script
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            head, body = data.split(b"\r\n\r\n", 1)
            length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")).split(b":")[1])
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head.decode() + "\n\n" + body.decode())
            self._script(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def answer(status, body=b"{}", fields=""):
    return lambda connection: connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)


def without_names(value):
    """An answer without what differs from one to the next: ids, times, and what the prefix cache had."""
    if isinstance(value, list):
        return [without_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: without_names(item) for key, item in value.items() if key not in ("id", "created") and "cache" not in key}


def test_openai_streams_from_the_other_server(full, far):
    expected = client_of(far).chat.completions.create(model="hadal-demo", **GREEDY).choices[0].message.content
    raw = client_of(full).chat.completions.with_raw_response.create(model="hadal-demo", stream=True, **GREEDY)
    assert raw.headers["x-hadal-served-by"] == "far" and raw.headers["x-hadal-degraded"] == "upstream"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
    assert text == expected and text


@pytest.mark.parametrize("path, body", [
    (CHAT, GREEDY), (CHAT, {**GREEDY, "stream": True}),
    ("/v1/completions", {"prompt": "count", "temperature": 0, "max_tokens": 20}),
    ("/v1/completions", {"prompt": "count", "temperature": 0, "max_tokens": 20, "stream": True}),
    ("/v1/responses", {"input": "17 + 25", "temperature": 0, "stream": True}),
    ("/v1/messages", {"messages": ASK, "temperature": 0, "max_tokens": 20, "stream": True}),
])
def test_every_generating_route_is_passed_on(full, far, path, body):
    status, headers, passed = post(full, path, body)
    assert status == 200 and headers["x-hadal-served-by"] == "far", passed
    _, direct_headers, direct = post(far, path, body)
    assert headers["content-type"] == direct_headers["content-type"]
    if body.get("stream"):
        assert passed.endswith(b"\n\n") and passed.count(b"\n\n") >= 3
    else:
        assert without_names(json.loads(passed)) == without_names(json.loads(direct))


def test_anthropic_streams_from_the_other_server(full):
    client = anthropic.Anthropic(base_url=full.url, api_key="none", max_retries=0, timeout=60)
    with client.messages.stream(model="hadal-demo", max_tokens=40, messages=ASK) as stream:
        assert stream.get_final_message().usage.output_tokens > 0
        assert stream.response.headers["x-hadal-served-by"] == "far"


def test_the_place_that_a_refusal_promised_is_given_back(start_server, far):
    server = start_server("--load-format=null:10ms", *SMALL[1:], *PATIENT, f"--fallback-upstream={far.url},name=far")
    assert post(server, CHAT, {"messages": ASK, "max_tokens": 1})[0] == 200  # the forecast needs steps to look at
    count = 'hadal_retry_tickets_total{outcome="%s"}'
    deadline = time.monotonic() + 120
    while server.metric(count % "issued") == 0:  # fresh arrivals must have become few
        with briefly_full(server):
            for _ in range(8):
                status, headers, _ = post(server, CHAT, {"messages": ASK, "max_tokens": 1})
                assert (status, headers.get("x-hadal-ticket")) == (200, None) and time.monotonic() < deadline
                time.sleep(0.5)
    assert server.metric(count % "withdrawn") == server.metric(count % "issued")


def test_who_forbids_it_is_refused(full):
    for headers in ({"x-hadal-allow-fallback": "0"}, {"x-hadal-allow-degraded": "0"}, {"x-hadal-hop": "1"}):
        for path in (CHAT, "/api/chat"):
            status, answered, _ = post(full, path, GREEDY if path == CHAT else {"messages": ASK}, headers)
            assert status == 503 and answered["x-hadal-reason"] == "CONNECTION_QUEUE_FULL" and "retry-after" in answered


def test_its_metrics_are_those_that_are_documented(full):
    assert post(full, CHAT, GREEDY)[0] == 200
    exposed = {name: (kind, labels) for name, (kind, labels, _) in parse(full.get("/metrics")[1]).items()}
    assert exposed == documented(upstreams=True)
    text = full.get("/metrics")[1]
    assert 'hadal_upstream_circuit_state{target="far",state="closed"} 1' in text
    assert full.metric("hadal_upstream_first_byte_seconds_count") >= 1
    assert full.metric('hadal_degraded_total{rung="upstream"}') >= 1


def test_a_loop_ends_after_one_hop(start_server):
    """Each names the other as its way out, and both are full."""
    port = free_port()
    one = start_server(*SMALL, *PATIENT, f"--fallback-upstream=http://127.0.0.1:{port},name=two")
    two = start_server(*SMALL, *PATIENT, f"--port={port}", f"--fallback-upstream={one.url},name=one")
    with filled(one):
        assert post(one, CHAT, {**GREEDY, "max_tokens": 5})[1].get("x-hadal-served-by") == "two"
        with filled(two):
            status, headers, _ = post(one, CHAT, GREEDY)
            assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
            assert outcomes(one, "two") == {"ok": 1, "busy": 1} and outcomes(two, "one") == {}


def test_killed_in_the_middle_of_a_stream_and_back_again(start_server):
    port = free_port()
    near = start_server(*SMALL, *PATIENT, f"--fallback-upstream=http://127.0.0.1:{port},name=far")
    before = None
    with filled(near):
        for _ in range(2):
            far = start_server("--load-format=null:20ms", f"--port={port}", expect_exit=None)
            wait_until(lambda: post(near, CHAT, GREEDY)[0] == 200, timeout=60)
            stream = client_of(near).chat.completions.create(model="hadal-demo", messages=ASK, stream=True, max_tokens=1500, extra_body={"ignore_eos": True})
            next(iter(stream))
            far.signal(signal.SIGKILL)
            far.process.wait()
            # By an event, or by the form of the stream where the last one is incomplete.
            with pytest.raises((openai.APIError, httpx2.RemoteProtocolError)):
                list(stream)
            for _ in range(8):
                status, headers, _ = post(near, CHAT, GREEDY)
                assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
            assert near.metric('hadal_upstream_circuit_state{target="far",state="open"}') == 1
            near.wait_metric("hadal_upstream_requests_in_flight", 0)
            before = before or descriptors(near)
        assert descriptors(near) <= before + 2


def test_stopped_before_the_first_byte_and_in_the_middle(start_server):
    far = start_server("--load-format=null:20ms")
    near = start_server(*SMALL, "--fallback-connect-timeout=20s", "--fallback-first-byte-timeout=8s", "--fallback-stall-timeout=8s",
                        f"--fallback-upstream={far.url},name=far")
    with filled(near):
        sock = send_raw(near, CHAT, {**LONG, "stream": True})
        read_until(sock, b"data: ")
        far.signal(signal.SIGSTOP)
        try:
            # In the middle: the stream ends, and says so by its form or by an event.
            assert b"[DONE]" not in read_to_end(sock)
            # Before the first byte: this server's own refusal.
            status, headers, _ = post(near, CHAT, GREEDY)
            assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
            assert outcomes(near, "far") == {"timeout": 2}
        finally:
            far.signal(signal.SIGCONT)
        wait_until(lambda: post(near, CHAT, {**GREEDY, "max_tokens": 2})[0] == 200, timeout=120)
    far.wait_idle()


def test_the_next_one_answers_where_one_is_full_broken_or_speaks_no_http(start_server, far):
    with Scripted(answer(429, fields="Retry-After: 600\r\n")) as busy, Scripted(answer(500)) as broken, \
            Scripted(lambda connection: connection.sendall(b"\x00\xff no HTTP \r\n\r\n")) as garbage:
        near = start_server(*SMALL, *PATIENT, f"--fallback-upstream={busy.url},name=busy", f"--fallback-upstream={broken.url},name=broken",
                            f"--fallback-upstream={garbage.url},name=garbage", f"--fallback-upstream={far.url},name=far")
        with filled(near):
            for _ in range(8):
                status, headers, _ = post(near, CHAT, GREEDY)
                assert status == 200 and headers["x-hadal-served-by"] == "far"
        assert outcomes(near, "busy") == {"busy": 1}, "it asked to be left alone"
        # Then their circuits opened; a probe may have tried them again.
        assert 5 <= outcomes(near, "broken")["error"] < 8 and 5 <= outcomes(near, "garbage")["malformed"] < 8
        assert outcomes(near, "far") == {"ok": 8}


def test_an_answer_that_never_ends_is_ended_by_the_deadline(start_server):
    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            connection.sendall(b": slow\n\n")
            time.sleep(0.02)

    with Scripted(drip) as endless:
        near = start_server(*SMALL, *PATIENT, f"--fallback-upstream={endless.url},name=endless")
        with filled(near):
            status, _, body = post(near, CHAT, {**GREEDY, "stream": True}, {"x-hadal-deadline-ms": "3000"})
            assert status == 200 and body.startswith(b": slow") and b"DEADLINE_EXPIRED" in body
            left = next(line for line in endless.requests[0].splitlines() if line.startswith("x-hadal-deadline-ms"))
            assert 0 < int(left.split(": ")[1]) <= 3000
            near.wait_metric("hadal_upstream_requests_in_flight", 0)


def test_keys_of_clients_stay_here_and_that_of_the_upstream_comes_from_its_file(start_server, tmp_path):
    key, keys = tmp_path / "key", tmp_path / "keys"
    key.write_text("sk-first\n")
    keys.write_text("client-key tenant\n")
    with Scripted(answer(200, b'{"ok": true}')) as other:
        near = start_server(*SMALL, *PATIENT, f"--api-key-file={keys}", "--log-level=debug",
                            f"--fallback-upstream={other.url},name=other,key-file={key},model=their-model")
        mine = {"Authorization": "Bearer client-key", "Cookie": "session=1"}
        with filled(near, mine):
            status, _, body = post(near, CHAT, {"model": "hadal-demo", **GREEDY}, mine)
            assert status == 200 and body == b'{"ok": true}'
            assert "Authorization: Bearer sk-first" in other.requests[0] and '"model": "their-model"' in other.requests[0]
            assert "client-key" not in other.requests[0] and "session=1" not in other.requests[0]
            key.write_text("sk-second\n")
            near.signal(signal.SIGHUP)
            near.wait_text("the upstreams' keys were read again")
            assert post(near, CHAT, GREEDY, mine)[0] == 200
            assert "Bearer sk-second" in other.requests[1]
            key.write_text("\n")
            near.signal(signal.SIGHUP)
            near.wait_text("the upstreams' keys stay as they were")
            assert post(near, CHAT, GREEDY, mine)[0] == 200 and "Bearer sk-second" in other.requests[2]
        shown = near.text() + near.get("/metrics")[1]
        assert "sk-first" not in shown and "sk-second" not in shown


def test_tls_with_an_authority_of_its_own(start_server, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("far")
    far = start_server(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context())
    flag = f"--fallback-upstream=https://localhost:{far.port},name="
    near = start_server(*SMALL, *PATIENT, f"{flag}distrusted", f"{flag}far,ca-file={authority.certificate}")
    with filled(near):
        status, headers, _ = post(near, CHAT, GREEDY)
        assert status == 200 and headers["x-hadal-served-by"] == "far"
    assert outcomes(near, "distrusted") == {"unreachable": 1}


def test_a_client_that_leaves_takes_the_request_with_it(full, far):
    sock = send_raw(full, CHAT, {**LONG, "stream": True})
    read_until(sock, b"data: ")
    sock.close()
    full.wait_metric("hadal_upstream_requests_in_flight", 0)
    far.wait_idle()


def test_a_drain_waits_for_what_was_passed_on(start_server):
    far = start_server("--load-format=null:5ms")
    near = start_server(*SMALL, *PATIENT, f"--fallback-upstream={far.url},name=far")
    occupant = send_raw(near, "/v1/completions", {"prompt": "x", "max_tokens": 2000, "ignore_eos": True})
    near.wait_metric("hadal_requests_running", 1)
    waiting = send_raw(near, CHAT, {**GREEDY, "max_tokens": 5})
    near.wait_metric("hadal_requests_waiting", 1)
    passed = send_raw(near, CHAT, {**LONG, "max_tokens": 600, "stream": True})
    read_until(passed, b"x-hadal-served-by: far")
    near.signal()
    assert read_to_end(passed).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    # What had been waiting is owed an answer, too.
    answered = read_to_end(waiting)
    assert answered.startswith(b"HTTP/1.1 200") and b"x-hadal-served-by: far" in answered
    occupant.close()


def test_a_second_signal_shortens_the_drain_of_what_was_passed_on(start_server):
    far = start_server("--load-format=null:50ms")
    near = start_server(*SMALL, *PATIENT, f"--fallback-upstream={far.url},name=far", "--drain-timeout=10m")
    with filled(near):
        passed = send_raw(near, CHAT, {**LONG, "stream": True})  # 75 s
        read_until(passed, b"x-hadal-served-by: far")
    near.signal()
    wait_until(lambda: near.get("/health/ready")[0] == 503)
    near.signal()
    assert near.process.wait(40) == 0
    assert b"[DONE]" not in read_to_end(passed)


def test_nothing_is_lost_when_many_come_at_once(near, far):
    before = descriptors(near)
    with filled(near), concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: post(near, CHAT, {**GREEDY, "stream": i % 2 == 0}), range(64)))
    assert [status for status, _, _ in answers] == [200] * 64
    near.wait_metric("hadal_upstream_requests_in_flight", 0)
    # Kept connections to the other server, one for each request that was there at a time.
    wait_until(lambda: descriptors(near) <= before + 20)


def test_flags_are_checked(tmp_path):
    for flag, text in (("ftp://x", "--fallback-upstream"), ("http://x,weight=0", "weight=0"), ("http://user:secret@x", "key-file=PATH"),
                       (f"http://x,key-file={tmp_path}/none", "none")):
        with pytest.raises(RuntimeError) as error:
            HadalProcess(f"--fallback-upstream={flag}")
        assert text in str(error.value).split("\n", 1)[1]
