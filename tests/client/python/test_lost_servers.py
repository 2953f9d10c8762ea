# SPDX-License-Identifier: Apache-2.0
"""What becomes of an answer whose server dies in the middle: of a stream that is final, and says what had come; a whole answer is asked for elsewhere."""

import asyncio
import json
import signal
import threading
import time
from concurrent import futures

import grpc
import pytest

import hadal_client
from client_kinds import targets
from hadal_client import _inference_pb2 as pb
from hadal_client._batches import answers_in
from hadal_client._httpx import httpx

SLOW = "--load-format=null:5ms"
ASK = {"max_tokens": 1500, "ignore_eos": True}


def serving(client, servers):
    """The server that has the call, and the other one."""
    busy = next(number for number, target in enumerate(targets(client)) if target.in_flight)
    return servers[busy], servers[1 - busy]


def kill(server):
    server.signal(signal.SIGKILL)
    server.process.wait(60)


# ---- Real servers that die -------------------------------------------------------------------------------------------

def test_a_stream_is_not_asked_for_again(start_server, connect):
    servers = [start_server(SLOW, expect_exit=-signal.SIGKILL) for _ in range(2)]
    client = connect(*servers)
    stream = client.stream("x", **ASK)
    pieces = [next(stream), next(stream)]
    dead, other = serving(client, servers)
    kill(dead)
    with pytest.raises(hadal_client.AnswerInterrupted) as caught:
        pieces += stream
    came = caught.value.answer
    assert came.text == "".join(piece.text for piece in pieces) and came.reasoning == "".join(piece.reasoning for piece in pieces)
    assert came.request_id == stream.request_id and (came.text or came.reasoning)
    assert f"broke off after {len(pieces)} pieces with {len(came.text)} characters of text and {len(came.reasoning)} of reasoning" in str(caught.value)
    assert "not asked for again" in str(caught.value)
    assert other.metric("hadal_admission_attempts_total") == 0 and all(target.in_flight == 0 for target in targets(client))
    with pytest.raises(StopIteration):
        next(stream)
    assert client.chat("x", max_tokens=2).finish_reason, "the next call goes to the other one"
    kill(other)


def test_a_shutdown_in_the_middle_is_no_end(start_server, connect):
    server = start_server(SLOW, "--drain-timeout=100ms")
    stream = connect(server).stream("x", **ASK)
    pieces = [next(stream), next(stream)]
    server.signal()
    with pytest.raises(hadal_client.AnswerInterrupted, match="given the answer up to shut down; the answer broke off after") as caught:
        pieces += stream
    came = caught.value.answer
    assert came.finish_reason == "insufficient_system_resource" and came == stream.answer
    assert came.text + came.reasoning and len(caught.value.continued("x")) == 2


def test_a_stream_says_how_it_ended(server, connect):
    stream = connect(server).stream("17 + 25", temperature=0, max_tokens=200)
    assert stream.answer == hadal_client.Answer(), "nothing has come"
    text = "".join(piece.text for piece in stream)
    assert stream.answer.text == text and stream.answer.finish_reason == "stop"
    whole = connect(server).chat("17 + 25", temperature=0, max_tokens=200)
    assert stream.answer.reasoning == whole.reasoning
    assert (stream.answer.usage.prompt_tokens, stream.answer.usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)


ODD = "a\u2028b\u2029c\u0085d\x0be\x1cf"  # at each of these str.splitlines ends a line, and JSON may have the first three as they are


@pytest.mark.parametrize("cuts", [1, 7, 4096])
def test_letters_that_look_like_ends_of_lines_are_letters(cuts):
    events = [json.dumps({"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False) for text in (ODD, ODD[::-1])]
    body = "".join(f"data: {event}\r\n\r\n" for event in [*events, "[DONE]"]).rstrip().encode()

    class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self):
            yield from (body[at:at + cuts] for at in range(0, len(body), cuts))

        async def __aiter__(self):
            for piece in self:
                yield piece

    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Cut()))
    with hadal_client.Client("http://a:1", transport=transport) as client:
        assert [piece.text for piece in client.stream("x")] == [ODD, ODD[::-1]]

    async def ask():
        async with hadal_client.AsyncClient("http://a:1", transport=transport) as client:
            return [piece.text async for piece in client.stream("x")]

    assert asyncio.run(ask()) == [ODD, ODD[::-1]]


def test_so_they_are_in_the_answers_of_a_batch():
    line = json.dumps({"custom_id": "one", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": ODD}}]}}}, ensure_ascii=False)
    assert {name: answer.text for name, answer in answers_in(f"{line}\n{line.replace('one', 'two')}\n")} == {"one": ODD, "two": ODD}


def test_a_whole_answer_comes_from_another_server(start_server, connect):
    servers = [start_server(SLOW, expect_exit=-signal.SIGKILL) for _ in range(2)]
    client = connect(*servers, retry=hadal_client.RetryOptions(initial_backoff=0.05))
    dead = []

    def end_it():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not any(server.metric("hadal_requests_running") for server in servers):
            time.sleep(0.005)
        time.sleep(0.1)  # it writes
        dead.append(serving(client, servers)[0])
        kill(dead[0])

    killer = threading.Thread(target=end_it)
    killer.start()
    answer = client.chat("x", max_tokens=200, ignore_eos=True)
    killer.join()
    assert answer.usage.completion_tokens == 200 and answer.finish_reason == "length", "and nothing of the first one"
    alive = next(server for server in servers if server is not dead[0])
    alive.wait_idle()
    assert alive.metric("hadal_admission_attempts_total") == 1
    kill(alive)


def test_the_caller_may_go_on_behind_what_came(server, connect):
    client, question = connect(server), "17 + 25"
    pieces = list(client.stream(question, temperature=0))
    text, reasoning = "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)
    # Cut before the end of a line, and behind the first piece of the text.
    for came_text, came_reasoning in (("", reasoning.split("\n")[0]), (next(piece.text for piece in pieces if piece.text), reasoning)):
        broken = hadal_client.AnswerInterrupted("gone", hadal_client.Answer(came_text, came_reasoning))
        rest = client.chat(broken.continued(question), temperature=0)
        assert came_text + rest.text == text and came_reasoning + rest.reasoning == reasoning
    nothing = hadal_client.AnswerInterrupted("gone", hadal_client.Answer()).continued(question)
    assert nothing == [{"role": "user", "content": question}]


# ---- Servers of a script ---------------------------------------------------------------------------------------------

class Dies:
    """Over gRPC: says a word and goes as often as it is told, and then answers. Its errors are hadal's own when it is said by whom they are."""

    def __init__(self, times, code=grpc.StatusCode.UNAVAILABLE, own=False):
        self.calls, self._times, self._code, self._own = 0, times, code, own

    def __enter__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_stream_rpc_method_handler(self._chat, response_serializer=pb.GenerateResponse.SerializeToString)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hadal.v1.Inference", {"Chat": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None)

    def _chat(self, request, context):
        self.calls += 1
        yield pb.GenerateResponse(request_id=f"r{self.calls}", text="4", reasoning="hm")
        if self.calls <= self._times:
            if self._own:
                context.set_trailing_metadata((("x-request-id", f"r{self.calls}"),))
            context.abort(self._code, "gone")
        yield pb.GenerateResponse(text="2", finish_reason=pb.FINISH_REASON_STOP)


QUICK = hadal_client.RetryOptions(initial_backoff=0.001, max_attempts=3)


@pytest.mark.parametrize("connect", ["grpc", "grpc-async"], indirect=True)
def test_over_grpc_a_whole_answer_begins_anew(connect):
    with Dies(2) as server:
        answer = connect(server, retry=QUICK).chat("x")
        assert (answer.text, answer.reasoning, answer.request_id) == ("42", "hm", "r3") and server.calls == 3
    with Dies(9) as server:
        with pytest.raises(hadal_client.ServerUnreachable, match="gone") as caught:
            connect(server, retry=QUICK).chat("x")
        assert server.calls == 3 and not isinstance(caught.value, hadal_client.AnswerInterrupted)


@pytest.mark.parametrize("connect", ["grpc", "grpc-async"], indirect=True)
@pytest.mark.parametrize("code, own, kind", [
    ("UNAVAILABLE", False, hadal_client.AnswerInterrupted), ("UNAVAILABLE", True, hadal_client.AnswerInterrupted),
    ("DEADLINE_EXCEEDED", False, hadal_client.DeadlineExceeded), ("INTERNAL", True, hadal_client.RequestError),
    # What gRPC makes of a stream that a gateway cuts off when its server is lost.
    ("INTERNAL", False, hadal_client.AnswerInterrupted), ("UNKNOWN", False, hadal_client.AnswerInterrupted)])
def test_over_grpc_a_stream_is_final(connect, code, own, kind):
    with Dies(9, grpc.StatusCode[code], own) as server:
        got = []
        with pytest.raises(kind, match="gone; the answer broke off after 1 piece with 1 characters of text and 2 of reasoning"):
            for piece in connect(server, retry=QUICK).stream("x"):
                got.append(piece.text)
        assert got == ["4"] and server.calls == 1


WORD = b'data: {"choices":[{"delta":{"content":"4"}}]}\n\n'


def event(kind, code):
    return b'data: {"error": {"message": "gone", "type": "%s", "code": "%s"}}\n\n' % (kind, code)


@pytest.mark.parametrize("end, kind, wanted", [
    (b"", hadal_client.AnswerInterrupted, "the connection ended before the stream"),
    (b'data: {"choices":[{"del', hadal_client.AnswerInterrupted, "not JSON"),
    (event(b"overloaded_error", b"DEVICE_FAULT"), hadal_client.AnswerInterrupted, "gone"),
    (event(b"server_error", b"UPSTREAM_FAILED"), hadal_client.AnswerInterrupted, "gone"),
    (event(b"timeout_error", b"DEADLINE_EXPIRED"), hadal_client.DeadlineExceeded, "gone"),
    (event(b"server_error", b"INTERNAL"), hadal_client.RequestError, "gone")])
def test_over_http_a_stream_that_does_not_say_that_it_ends_is_an_error(end, kind, wanted):
    calls = []

    def answer(request):
        calls.append(request)
        return httpx.Response(200, content=WORD + end)

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer)) as client:
        got = []
        with pytest.raises(kind, match=f"{wanted}.*after 1 piece with 1 characters of text") as caught:
            for piece in client.stream("x"):
                got.append(piece.text)
    assert got == ["4"] and len(calls) == 1 and type(caught.value) is kind
