# SPDX-License-Identifier: Apache-2.0
"""What the Python clients do when a server is full, gone or slow, and what the openai package does with their transport."""

import asyncio
import http.client
import signal
import threading
import time
from concurrent import futures

import grpc
import openai
import pytest

import hadal_client
from client_kinds import KINDS, ONE_AT_A_TIME, targets
from hadal_process import fill
from hadal_client._httpx import httpx


def fill_running(server, count):
    """Streams that run until they are closed."""
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(count)]
    for connection in connections:
        connection.request("POST", "/v1/completions", '{"prompt": "x", "max_tokens": 2000, "ignore_eos": true}', {"Content-Type": "application/json"})
    server.wait_metric("hadal_requests_running", count)
    return connections


# ---- A full server ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags", [(), ("--overload-http-status=429", "--overload-grpc-code=RESOURCE_EXHAUSTED")], ids=["503", "429"])
def test_waits_as_told_and_is_served_when_there_is_room(start_server, connect, flags):
    server = start_server(*ONE_AT_A_TIME, *flags)
    client = connect(server)
    holders = fill(server)
    threading.Timer(0.5, lambda: [holder.close() for holder in holders]).start()
    answer = client.chat("x", max_tokens=3, ignore_eos=True)
    assert answer.usage.completion_tokens == 3
    server.wait_idle()
    assert server.metric("hadal_admission_rejections_total") >= 1


def test_gives_up_with_the_reason_and_the_time(start_server, connect):
    server = start_server(*ONE_AT_A_TIME)
    client = connect(server, retry=hadal_client.RetryOptions(max_attempts=1))
    holders = fill(server)
    with pytest.raises(hadal_client.ServerBusy) as caught:
        client.chat("x")
    assert caught.value.reason == "CONNECTION_QUEUE_FULL" and caught.value.status == 503 and caught.value.attempts == 1
    assert caught.value.retry_after > 0 and "服务器繁忙" in str(caught.value)
    for holder in holders:
        holder.close()


@pytest.mark.parametrize("deadline", [0, -1])
def test_a_deadline_that_has_passed_is_no_attempt(server, connect, deadline):
    client = connect(server)
    before = server.metric("hadal_requests_total")
    for ask in (client.chat, client.complete, lambda prompt, deadline: next(iter(client.stream(prompt, deadline=deadline)))):
        with pytest.raises(hadal_client.DeadlineExceeded, match="before the first attempt"):
            ask("x", deadline=deadline)
    assert server.metric("hadal_requests_total") == before


def test_an_attempt_waits_for_what_the_earlier_ones_left():
    waits = []

    class Full(httpx.BaseTransport):
        def handle_request(self, request):
            waits.append(dict(request.extensions["timeout"]))
            return httpx.Response(503, headers={"retry-after-ms": "50"}, json={"error": {"message": "full"}})

    with hadal_client.Client("http://127.0.0.1:1", transport=Full(), timeout=20, retry=hadal_client.RetryOptions(max_attempts=3)) as client:
        with pytest.raises(hadal_client.ServerBusy):
            client.chat("x", deadline=10)
    reads = [wait["read"] for wait in waits]
    assert 10 >= reads[0] and reads[0] - 0.05 >= reads[1] and reads[1] - 0.05 >= reads[2]
    assert all(wait["connect"] <= wait["read"] for wait in waits)


def test_the_deadline_is_of_all_attempts_together(start_server, connect):
    server = start_server(*ONE_AT_A_TIME)
    client = connect(server)
    holders = fill(server)
    started = time.monotonic()
    with pytest.raises((hadal_client.ServerBusy, hadal_client.DeadlineExceeded)):
        client.chat("x", deadline=3.0, max_tokens=2)
    assert time.monotonic() - started < 8
    for holder in holders:
        holder.close()


# What a server says with its first two refusals; the third attempt is served.
SCRIPT = [{"retry-after-ms": "20", "x-hadal-ticket": "first", "x-hadal-promise": "held"}, {"retry-after-ms": "30", "x-hadal-ticket": "second"}]


def test_each_ticket_goes_back_once_at_its_time():
    seen, at = [], []

    def answer(request):
        seen.append((request.headers.get("x-hadal-ticket"), request.headers["x-stainless-retry-count"], request.headers["host"], request.read()))
        at.append(time.monotonic())
        if len(seen) <= len(SCRIPT):
            return httpx.Response(503, headers=SCRIPT[len(seen) - 1], json={"error": {"message": "busy"}})
        return httpx.Response(200, json={"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]})

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer)) as client:
        assert client.chat("x").text == "42"
    assert [one[:3] for one in seen] == [(None, "0", "a:1"), ("first", "1", "a:1"), ("second", "2", "a:1")]
    assert len({one[3] for one in seen}) == 1, "the body is sent again"
    assert at[1] - at[0] >= 0.02 and at[2] - at[1] >= 0.03


def test_each_ticket_goes_back_once_over_grpc():
    seen = []

    def chat(request, context):
        metadata = dict(context.invocation_metadata())
        seen.append((metadata.get("x-hadal-ticket"), metadata["x-stainless-retry-count"]))
        if len(seen) <= len(SCRIPT):
            said = SCRIPT[len(seen) - 1]
            context.set_trailing_metadata((("x-request-id", "r"), ("grpc-retry-pushback-ms", said["retry-after-ms"]), ("x-hadal-ticket", said["x-hadal-ticket"])))
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        yield b"\x12\x0242"

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hadal.v1.Inference", {"Chat": grpc.unary_stream_rpc_method_handler(chat)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with hadal_client.GrpcClient(f"127.0.0.1:{port}") as client:
        assert client.chat("x").text == "42"
    server.stop(None)
    assert seen == [(None, "0"), ("first", "1"), ("second", "2")]


def test_an_answer_that_has_begun_is_final():
    calls = []

    def cut():
        yield b'data: {"choices":[{"delta":{"content":"4"}}]}\n\n'
        raise httpx.ReadError("gone")

    def answer(request):
        calls.append(request)
        return httpx.Response(200, stream=Pieces(cut()))

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer)) as client:
        got = []
        with pytest.raises(hadal_client.ServerUnreachable, match="gone"):
            for piece in client.stream("x"):
                got.append(piece.text)
    assert got == ["4"] and len(calls) == 1


class Pieces(httpx.SyncByteStream):
    def __init__(self, pieces):
        self._pieces = pieces

    def __iter__(self):
        yield from self._pieces


def refused_in_a_storm(start_server, kind, share):
    server = start_server("--load-format=null:5ms", "--max-batch-size=2", "--wait-limits=normal=300ms")

    async def storm(client):
        async def ask(number):
            await asyncio.sleep(number / 60)  # it does 25 in a second at most
            return await client.chat("x", max_tokens=16, ignore_eos=True)

        return await asyncio.gather(*(ask(number) for number in range(120)))

    client = KINDS[kind]([server], retry=hadal_client.RetryOptions(share_promises=share))
    assert all(answer.usage.completion_tokens == 16 for answer in client.run(storm))
    client.close()
    return server.metric("hadal_admission_rejections_total")


@pytest.mark.parametrize("kind", ["http-async", "grpc-async"])
def test_calls_that_share_promises_are_hardly_refused(start_server, kind):
    """Mostly a tenth of the others; more where the machine is busy itself, so that calls come slower and learn later."""
    tries = []
    for _ in range(5):
        each, shared = (refused_in_a_storm(start_server, kind, share) for share in (False, True))
        tries.append((each, shared))
        if each >= 10 and shared < 0.5 * each:
            return
    if max(each for each, _ in tries) < 10:
        pytest.skip(f"the machine is too busy to ask faster than the server serves; refused without and with sharing: {tries}")
    assert False, f"refused without and with sharing: {tries}"


# ---- Several servers -------------------------------------------------------------------------------------------------

def test_a_server_that_dies_costs_no_call(start_server, connect):
    servers = [start_server(), start_server()]
    client = connect(*servers, retry=hadal_client.RetryOptions(initial_backoff=0.05))
    for _ in range(4):
        client.chat("1 + 1", max_tokens=5)
    servers[0].signal(signal.SIGKILL)
    servers[0].process.wait(60)
    for _ in range(12):
        assert client.chat("1 + 1", max_tokens=5).finish_reason
    assert servers[1].metric("hadal_requests_total") >= 12


def test_the_next_server_is_asked_at_once(start_server, connect):
    full, free = start_server(*ONE_AT_A_TIME), start_server()
    client = connect(full, free)
    holders = fill(full)
    for _ in range(4):
        assert client.chat("x", max_tokens=2, deadline=120).finish_reason
    for holder in holders:
        holder.close()


def test_the_server_that_has_less_of_others_is_chosen(start_server, connect):
    busy, free = (start_server("--load-format=null:50ms", "--max-batch-size=8") for _ in range(2))
    holders = fill_running(busy, 3)
    client = connect(busy, free)
    deadline = time.monotonic() + 60
    while targets(client)[0].load < 3 and time.monotonic() < deadline:  # it has said so
        client.chat("x", max_tokens=1)
    before = free.metric("hadal_requests_total")
    for _ in range(6):
        client.chat("x", max_tokens=1)
    free.wait_idle()
    assert free.metric("hadal_requests_total") == before + 6
    for holder in holders:
        holder.close()


# ---- In other clients ------------------------------------------------------------------------------------------------

def test_the_openai_package_waits_as_told(start_server):
    server = start_server(*ONE_AT_A_TIME)
    with httpx.Client(transport=hadal_client.Transport(server.url)) as http:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, http_client=http)
        holders = fill(server)
        threading.Timer(0.5, lambda: [holder.close() for holder in holders]).start()
        answer = client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "x"}], max_tokens=3,
                                                extra_body={"ignore_eos": True})
        assert answer.usage.completion_tokens == 3
        stream = client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "x"}], max_tokens=3, stream=True)
        assert list(stream)[-1].choices[0].finish_reason


def test_the_asyncio_client_of_the_openai_package_waits_as_told(start_server):
    server = start_server(*ONE_AT_A_TIME)

    async def ask():
        async with httpx.AsyncClient(transport=hadal_client.AsyncTransport(server.url)) as http:
            client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, http_client=http)
            return await client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "x"}], max_tokens=3)

    holders = fill(server)
    threading.Timer(0.5, lambda: [holder.close() for holder in holders]).start()
    assert asyncio.run(ask()).usage.completion_tokens >= 1
