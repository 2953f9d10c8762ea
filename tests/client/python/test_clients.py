# SPDX-License-Identifier: Apache-2.0
"""The Python clients against real servers: every call, and what becomes of mistakes."""

import asyncio
import json
import time
import types
from concurrent import futures

import grpc
import pytest

import hadal_client
from client_kinds import ONE_AT_A_TIME, KINDS, grpc_target, targets
from hadal_process import HadalProcess, fill
from hadal_client import _batches_pb2 as batches_pb
from hadal_client._httpx import httpx


# ---- Calls -----------------------------------------------------------------------------------------------------------

def test_a_chat_and_its_pieces_are_the_same(server, connect):
    client = connect(server)
    whole = client.chat("17 + 25", temperature=0, max_tokens=200)
    assert "42" in whole.text and whole.reasoning and whole.finish_reason == "stop" and whole.model == "hadal-demo" and whole.request_id
    assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0
    pieces = list(client.stream([{"role": "user", "content": "17 + 25"}], temperature=0, max_tokens=200))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert "".join(piece.reasoning for piece in pieces) == whole.reasoning
    assert len(pieces) > 1 and all(target.in_flight == 0 for target in targets(client))


def test_a_completion(server, connect):
    answer = connect(server).complete("1, 2, 3,", max_tokens=5, temperature=0, ignore_eos=True)
    assert answer.text and answer.finish_reason == "length" and answer.usage.completion_tokens == 5


def test_tokens_and_models(server, connect):
    client = connect(server)
    client.warm_up()
    tokens = client.tokenize("17 + 25")
    assert "17 + 25" in client.detokenize(tokens)
    assert [model.id for model in client.models()] == ["hadal-demo"] and client.models()[0].max_model_len > 0


def test_leaving_a_stream_cancels_the_call(server, connect):
    client = connect(server)
    stream = client.stream("count", max_tokens=2000, ignore_eos=True)
    next(stream)
    stream.close()
    server.wait_idle()
    assert all(target.in_flight == 0 for target in targets(client))


@pytest.mark.parametrize("piece", [0, 1])
def test_a_call_whose_caller_is_cancelled_leaves_nothing(start_server, piece):
    server = start_server(*ONE_AT_A_TIME)
    holders = fill(server) if piece == 0 else []

    async def leave(client):
        got = asyncio.Event()

        async def read():
            async for _ in client.stream("count", max_tokens=2000, ignore_eos=True):
                got.set()

        reader = asyncio.ensure_future(read())
        if piece:
            await got.wait()
        else:
            await asyncio.sleep(0.3)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        left = [target.in_flight for target in targets(client)]
        await client.aclose()
        return left

    async def leave_all():
        return [await leave(hadal_client.AsyncClient(server.url)), await leave(hadal_client.AsyncGrpcClient(grpc_target(server)))]

    assert asyncio.run(leave_all()) == [[0], [0]]
    for holder in holders:
        holder.close()
    server.wait_idle()


@pytest.mark.parametrize("kind", ["AsyncClient", "AsyncGrpcClient"])
def test_a_hundred_and_twenty_answers_run_at_once(start_server, kind):
    server = start_server("--load-format=null:20ms", "--max-batch-size=128")

    async def run():
        client = getattr(hadal_client, kind)(server.url if kind == "AsyncClient" else grpc_target(server))
        begun, all_begun = [], asyncio.Event()

        async def read():
            async with client.stream("count", max_tokens=2000, ignore_eos=True) as pieces:
                async for _ in pieces:
                    begun.append(1)
                    if len(begun) == 120:
                        all_begun.set()
                    await all_begun.wait()
                    return

        await asyncio.wait_for(asyncio.gather(*(read() for _ in range(120))), 90)
        await client.aclose()

    asyncio.run(run())
    server.wait_idle()


# ---- Thinking --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def thinking():
    """Two servers whose model thinks on and on, a token in 5 ms."""
    with HadalProcess("--load-format=null:5ms") as one, HadalProcess("--load-format=null:5ms") as other:
        yield one, other


def test_thinking_ends_when_told_where_it_runs(thinking, connect):
    client = connect(*thinking)
    cuts = sum(server.metric("hadal_thinking_cuts_total") for server in thinking)
    for _ in range(4):  # the least loaded is drawn by lot
        stream = client.stream("x", max_tokens=1500, ignore_eos=True, reasoning_control=True)
        with pytest.raises(RuntimeError, match="has not begun"):
            stream.end_thinking()
        assert next(stream).reasoning and stream.request_id
        stream.end_thinking()
        assert next(piece for piece in stream if piece.text)
        with pytest.raises(hadal_client.RequestError) as late:
            stream.end_thinking()
        assert late.value.status == 409, "it is answering"
        stream.close()
    for server in thinking:
        server.wait_idle()
    assert sum(server.metric("hadal_thinking_cuts_total") for server in thinking) == cuts + 4


def test_thinking_that_nobody_controls_is_named(thinking, connect):
    client = connect(thinking[0])
    stream = client.stream("x", max_tokens=1500, ignore_eos=True)
    next(stream)
    with pytest.raises(hadal_client.RequestError) as caught:
        stream.end_thinking()
    assert caught.value.status == 404 and caught.value.reason == "REQUEST_NOT_FOUND"
    stream.close()


# ---- Asking once -----------------------------------------------------------------------------------------------------

def requests_of(server):
    server.wait_idle()
    return server.metric("hadal_requests_total")


def test_a_determined_answer_is_kept_for_its_caller(server, connect, tmp_path):
    before = requests_of(server)
    client = connect(server, cache=hadal_client.Cache(folder=tmp_path))
    first = client.chat("17 + 25", temperature=0, max_tokens=200)
    again = client.chat("17 + 25", temperature=0, max_tokens=200)
    assert again.from_cache and not first.from_cache
    again.from_cache = False
    assert again == first and requests_of(server) == before + 1
    assert not client.chat("17 + 25", temperature=0, max_tokens=201).from_cache
    assert not client.complete("17 + 25", temperature=0, max_tokens=3).from_cache
    assert client.complete("17 + 25", temperature=0, max_tokens=3).from_cache
    for _ in range(2):
        assert not client.chat("17 + 25", temperature=1, max_tokens=3).from_cache
    # Another run, and another caller.
    assert connect(server, cache=hadal_client.Cache(folder=tmp_path)).chat("17 + 25", temperature=0, max_tokens=200).from_cache
    assert not connect(server, cache=hadal_client.Cache(folder=tmp_path), api_key="other").chat("17 + 25", temperature=0, max_tokens=200).from_cache
    assert not connect(server).chat("17 + 25", temperature=0, max_tokens=200).from_cache


def test_equal_calls_at_once_are_one(start_server):
    server = start_server("--load-format=null:5ms")
    ask = dict(temperature=0, max_tokens=100, ignore_eos=True)

    async def at_once(client):
        answers = await asyncio.gather(*(client.chat("x", **ask) for _ in range(8)), client.chat("y", **ask))
        await client.aclose()
        return answers

    async def both():
        return [await at_once(kind(address, coalesce=True))
                for kind, address in ((hadal_client.AsyncClient, server.url), (hadal_client.AsyncGrpcClient, grpc_target(server)))]

    for answers in asyncio.run(both()):
        assert len({answer.request_id for answer in answers[:8]}) == 1 and answers[8].request_id != answers[0].request_id
    assert requests_of(server) == 4
    for kind, address in ((hadal_client.Client, server.url), (hadal_client.GrpcClient, grpc_target(server))):
        with kind(address, coalesce=True) as client, futures.ThreadPoolExecutor(8) as threads:
            assert len({answer.reasoning for answer in threads.map(lambda _: client.chat("x", **ask), range(8))}) == 1
    assert requests_of(server) < 4 + 16


def test_many_prompts_are_one_call_or_a_few_at_once(server, connect):
    client = connect(server)
    tokens = client.tokenize("1, 2, 3,")
    prompts = [tokens, tokens[:-1], tokens[:-2]] * 50
    answers = client.complete_all(prompts, max_tokens=2, temperature=0, ignore_eos=True)
    assert len(answers) == 150
    alone = {len(prompt): client.complete(prompt, max_tokens=2, temperature=0, ignore_eos=True).text for prompt in prompts[:3]}
    assert [answer.text for answer in answers] == [alone[len(prompt)] for prompt in prompts]
    assert sum(answer.usage.completion_tokens for answer in answers) == 300
    assert client.complete_all(["a", "b"], max_tokens=1)[1].finish_reason and client.complete_all([]) == []
    with pytest.raises(hadal_client.RequestError):
        client.complete_all(["a"], max_tokens=-1)
    with pytest.raises(ValueError, match="n is 2"):
        client.complete_all(["a"], n=2)
    if connect.kind.startswith("http"):
        with pytest.raises(ValueError, match="either all are texts"):
            client.complete_all(["a", [1]])


# ---- Batches ---------------------------------------------------------------------------------------------------------

def wait_for(client, batch):
    deadline = time.monotonic() + 120
    while not batch.ended:
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
        batch = client.batch(batch)
    return batch


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_answered_where_it_was_taken(start_server, tmp_path, kind):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    servers = [start_server(f"--batch-store={folder}") for folder in folders]
    client = KINDS[kind](servers)
    try:
        batches = [client.submit_batch({"sum": "17 + 25", "product": [{"role": "user", "content": "12 * 7"}]}, temperature=0, max_tokens=200) for _ in range(3)]
        for batch in batches:
            ended = wait_for(client, batch)
            assert (ended.status, ended.total, ended.completed, ended.errors) == ("completed", 2, 2, [])
            answers = client.batch_answers(ended)
            assert "42" in answers["sum"].text and "84" in answers["product"].text and answers["sum"].usage.completion_tokens
        with pytest.raises(ValueError, match="of several servers one has it"):
            client.batch(batches[0].id)
        with pytest.raises(ValueError, match="at least one question"):
            client.submit_batch({})
        alone = KINDS[kind]([server for server in servers if batches[0].server in (server.url, grpc_target(server))])
        assert alone.batch(batches[0].id).status == "completed"
        wrong = wait_for(alone, alone.submit_batch({"bad": "x"}, temperature=9))
        assert alone.batch_answers(wrong)["bad"].reason == "OUT_OF_RANGE" or wrong.errors
        alone.close()
    finally:
        client.close()
    cancelled = KINDS[kind]([servers[0]])
    batch = cancelled.cancel_batch(cancelled.submit_batch({str(n): "count" for n in range(50)}, max_tokens=500, ignore_eos=True))
    assert wait_for(cancelled, batch).status == "cancelled"
    cancelled.close()


def test_a_batch_whose_answer_was_lost_is_not_sent_again():
    sent = []

    def answer(request):
        sent.append(request.url.path)
        if request.url.path == "/v1/files":
            return httpx.Response(200, json={"id": "file-1"})
        raise httpx.ReadError("gone")

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(hadal_client.ServerUnreachable):
            client.submit_batch({"a": "x"})
    assert sent == ["/v1/files", "/v1/batches"]


@pytest.mark.parametrize("kind", ["grpc", "grpc-async"])
def test_a_batch_whose_answer_was_lost_over_grpc_is_not_sent_again(kind):
    sent = []

    def upload(messages, _):
        sent.append(b"".join(message.data for message in messages))
        return batches_pb.File(id="file-1")

    def create(request, context):
        sent.append(request.input_file_id)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")  # as the library says it of a connection that broke

    handlers = {"UploadFile": grpc.stream_unary_rpc_method_handler(upload, batches_pb.UploadFileRequest.FromString, batches_pb.File.SerializeToString),
                "CreateBatch": grpc.unary_unary_rpc_method_handler(create, batches_pb.CreateBatchRequest.FromString, batches_pb.Batch.SerializeToString)}
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[grpc.method_handlers_generic_handler("hadal.v1.Batches", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = KINDS[kind]([types.SimpleNamespace(port=port)])
    with pytest.raises(hadal_client.ServerUnreachable):
        client.submit_batch({"a": "x" * 600_000})
    client.close()
    server.stop(None)
    assert len(sent) == 2 and json.loads(sent[0])["custom_id"] == "a" and sent[1] == "file-1"


# ---- Errors ----------------------------------------------------------------------------------------------------------

def test_a_mistake_is_named_and_made_once(server, connect):
    client = connect(server)
    before = server.metric("hadal_requests_total")
    with pytest.raises(hadal_client.RequestError) as caught:
        client.chat("x", model="no-such-model")
    assert caught.value.status == 404 and "no-such-model" in str(caught.value) and caught.value.request_id
    assert not isinstance(caught.value, hadal_client.ServerBusy)
    server.wait_idle()
    assert server.metric("hadal_requests_total") <= before + 1


def test_what_is_too_large_is_refused_once(start_server, connect):
    server = start_server("--max-body=100KiB")
    client = connect(server)
    for prompt, status in (("x" * 200_000, 413), ("long " * 15_000, 400)):  # for the server's limit, and for the model's context
        started = time.monotonic()
        with pytest.raises(hadal_client.RequestError) as caught:
            client.chat(prompt, max_tokens=1)
        assert caught.value.status == status and not isinstance(caught.value, hadal_client.ServerBusy), caught.value
        assert time.monotonic() - started < 30, "no back-off"
    assert all(target.in_flight == 0 for target in targets(client))


def test_any_text_comes_back(server, connect):
    client = connect(server)
    text = "\U0001f419 服务器繁忙 e\u0301 \u202e \t\"\\"
    assert text in client.detokenize(client.tokenize(text))
    assert client.chat(text, max_tokens=1).usage.prompt_tokens > 10
    with pytest.raises(ValueError):
        client.chat("half a character: \ud83d", max_tokens=1)
    assert all(target.in_flight == 0 for target in targets(client))


def test_nobody_there(connect):
    class Nobody:
        url = "http://127.0.0.1:1"
        port = 1

    started = time.monotonic()
    with pytest.raises(hadal_client.ServerUnreachable):
        connect(Nobody, retry=hadal_client.RetryOptions(max_attempts=2, initial_backoff=0.05)).chat("x")
    assert time.monotonic() - started < 10


def test_grpc_sends_the_fields_of_the_api_and_names_others(server):
    with hadal_client.GrpcClient(grpc_target(server)) as client:
        with pytest.raises(ValueError, match="logit_biases: not a field"):
            client.chat("x", logit_biases={})
        answer = client.chat("x", max_tokens=40, max_thinking_tokens=1, stop=["zzz"], seed=3, user="somebody", ignore_eos=True)
        assert answer.usage.completion_tokens == 40 and answer.usage.reasoning_tokens <= 3


# ---- The package -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("servers, wanted", [("127.0.0.1:8000", "http://HOST:PORT"), ([], "at least one server")])
def test_addresses_are_checked(servers, wanted):
    with pytest.raises(ValueError, match=wanted):
        hadal_client.Client(servers)
