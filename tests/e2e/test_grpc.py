# SPDX-License-Identifier: Apache-2.0
"""The gRPC front with real grpcio stubs against a real server."""

import json
import signal
import threading
import time

import grpc
import pytest

from hadal_process import PATIENCE, fill, filled
from redis_process import wait_for

RETRY = json.dumps({"methodConfig": [{
    "name": [{"service": "hadal.v1.Inference"}],
    "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "30s", "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"]}}]})


TWICE = RETRY.replace('"maxAttempts": 5', '"maxAttempts": 2')


def connect(server, stubs, retry=None):
    """`retry`: the service config, if gRPC is to retry."""
    options = [("grpc.service_config", retry)] if retry else [("grpc.enable_retries", 0)]
    channel = grpc.insecure_channel(server.target, options=options)
    return channel, stubs.services.InferenceStub(channel)


def chat(stubs, text, **fields):
    request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content=text)], **fields)
    request.sampling.temperature = 0
    return request


def long_request(stubs, tokens=100000, text="count"):
    """A generation that runs until it is cancelled or its context is full."""
    request = stubs.pb.GenerateRequest(text=text)
    request.stopping.ignore_eos = True
    request.stopping.max_tokens = tokens
    return request


def details_of(error, stubs):
    """ErrorInfo and RetryInfo of a failed call."""
    metadata = {key: value for key, value in error.trailing_metadata()}
    status = stubs.status.Status.FromString(metadata["grpc-status-details-bin"])
    found = {}
    for packed in status.details:
        for kind in (stubs.error_details.ErrorInfo, stubs.error_details.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                found[kind.__name__] = message
    return metadata, found


def test_chat_streams_reasoning_answer_and_usage(server, stubs):
    _, stub = connect(server, stubs)
    responses = list(stub.Chat(chat(stubs, "17 + 25"), timeout=PATIENCE))
    assert "".join(r.text for r in responses).strip().endswith("42")
    assert "".join(r.reasoning for r in responses)
    # the reason comes with the choice's last piece, the usage with the call's last message: one or two messages
    assert [r.finish_reason for r in responses if r.finish_reason] == [stubs.pb.FINISH_REASON_STOP]
    last = responses[-1]
    assert last.usage.prompt_tokens > 0 and last.usage.completion_tokens > 0
    assert responses[0].request_id and responses[0].model == "hadal-demo"


def test_token_ids_in_and_out_equal_text(server, stubs):
    _, stub = connect(server, stubs)
    ids = stub.Tokenize(stubs.pb.TokenizeRequest(text="17 + 25"), timeout=PATIENCE).token_ids
    assert stub.Detokenize(stubs.pb.DetokenizeRequest(token_ids=ids, skip_special_tokens=True), timeout=PATIENCE).text == "17 + 25"

    def run(**prompt):
        request = stubs.pb.GenerateRequest(return_token_ids=True, **prompt)
        request.sampling.temperature = 0
        request.stopping.max_tokens = 12
        request.stopping.ignore_eos = True  # the demo model may have nothing to add to a bare sum
        responses = list(stub.Generate(request, timeout=PATIENCE))
        return list(responses[0].prompt_token_ids), [i for r in responses for i in r.token_ids]

    by_text = run(text="17 + 25")
    by_ids = run(token_ids=stubs.pb.TokenIds(ids=ids))
    assert by_text == by_ids and list(ids) == by_text[0] and len(by_text[1]) == 12


def test_logprobs_of_prompt_and_output(server, stubs):
    _, stub = connect(server, stubs)
    request = stubs.pb.GenerateRequest(text="17 + 25", logprobs=3, echo_logprobs=True)
    request.sampling.temperature = 0
    request.stopping.max_tokens = 4
    request.stopping.ignore_eos = True
    responses = list(stub.Generate(request, timeout=PATIENCE))
    prompt = [p for r in responses for p in r.prompt_logprobs]
    output = [p for r in responses for p in r.logprobs]
    assert len(prompt) == responses[-1].usage.prompt_tokens - 1
    assert output and all(len(p.top) == 3 and p.chosen.logprob <= 0 for p in prompt + output)
    assert all(p.chosen.token_id == p.top[0].token_id for p in output)  # greedy takes the best


def test_n_choices_each_end(server, stubs):
    _, stub = connect(server, stubs)
    request = chat(stubs, "3 + 4", n=3)
    request.sampling.temperature = 0.5
    request.sampling.seed = 7
    ends = [r.index for r in stub.Chat(request, timeout=PATIENCE) if r.finish_reason]
    assert sorted(ends) == [0, 1, 2]


def test_stop_string_cuts_the_content_before_the_match(server, stubs):
    _, stub = connect(server, stubs)

    def run(request):
        responses = list(stub.Chat(request, timeout=PATIENCE))
        assert [r.finish_reason for r in responses if r.finish_reason] == [stubs.pb.FINISH_REASON_STOP]
        assert responses[-1].usage.completion_tokens > 0
        return "".join(r.reasoning for r in responses), "".join(r.text for r in responses)

    reasoning, whole = run(chat(stubs, "17 + 25"))
    assert "=" in reasoning and "=" in whole
    request = chat(stubs, "17 + 25")
    request.stopping.stop.append("=")
    assert run(request) == (reasoning, whole.split("=")[0])


@pytest.mark.parametrize("change, code, reason", [
    (lambda r: setattr(r, "model", "nobody"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
    (lambda r: setattr(r.sampling, "temperature", 9), grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE"),
    (lambda r: setattr(r.stopping, "max_tokens", 1 << 28), grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED"),
    (lambda r: r.ClearField("messages"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (lambda r: setattr(r.messages[0], "role", "wizard"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (lambda r: setattr(r, "n", 1000), grpc.StatusCode.INVALID_ARGUMENT, None),
    (lambda r: setattr(r, "priority", 99), grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE"),
    (lambda r: setattr(r, "tool_choice", 9), grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE"),
])
def test_errors_carry_code_and_reason(server, stubs, change, code, reason):
    _, stub = connect(server, stubs)
    request = chat(stubs, "hi")
    change(request)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(request, timeout=PATIENCE))
    assert caught.value.code() == code, caught.value.details()
    metadata, found = details_of(caught.value, stubs)
    assert found["ErrorInfo"].domain == "hadal"
    assert reason is None or found["ErrorInfo"].reason == reason
    assert metadata["grpc-retry-pushback-ms"] == "-1"
    assert "RetryInfo" not in found


def test_garbage_message_is_invalid_argument(server, stubs):
    channel, _ = connect(server, stubs)
    call = channel.unary_stream("/hadal.v1.Inference/Chat", request_serializer=lambda b: b, response_deserializer=lambda b: b)
    for garbage, what in ((b"\xff\xff\xff\xff", "not a valid hadal.v1.ChatRequest"), (b"\x0a\x01\xff", "a text in it is not UTF-8")):
        with pytest.raises(grpc.RpcError, match=what) as caught:
            list(call(garbage, timeout=PATIENCE))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_cancel_in_mid_stream_frees_everything(server, stubs):
    _, stub = connect(server, stubs)
    calls = [stub.Generate(long_request(stubs, 500)) for _ in range(4)]
    for call in calls:
        next(iter(call))
    for call in calls:
        call.cancel()
    server.wait_idle()


def test_deadline_ends_a_call(start_server, stubs):
    server = start_server("--load-format=null:20ms", "--max-model-len=32768")
    _, stub = connect(server, stubs)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Generate(long_request(stubs, 30000), timeout=1))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    server.wait_idle()


def test_health_reflection_models_and_load(server, stubs):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    channel, stub = connect(server, stubs)
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "hadal.v1.Inference"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "hadal.v1.Inference" in ProtoReflectionDescriptorDatabase(channel).get_services()
    models = stub.ListModels(stubs.pb.ListModelsRequest(), timeout=PATIENCE).models
    assert [m.id for m in models] == ["hadal-demo"] and models[0].family == "deepseek_v3"
    load = stub.GetLoad(stubs.pb.GetLoadRequest(), timeout=PATIENCE)
    assert load.ready and load.queue_limit_requests == 512 and load.memory_budget_bytes > load.memory_committed_bytes > 0


class Occupied:
    """Fills a server started with --max-batch-size=1 and a queue of `slots`."""

    def __init__(self, server, stubs, slots):
        self.channel, stub = connect(server, stubs)
        self.calls = [stub.Generate(long_request(stubs, 1500))]
        next(iter(self.calls[0]))  # runs
        for waiting in range(1, slots + 1):
            self.calls.append(stub.Generate(long_request(stubs, 1500)))
            server.wait_metric("hadal_requests_waiting", waiting)

    def free(self):
        for call in self.calls:
            call.cancel()


def once_refused(server, before, act):
    """Acts in another thread as soon as there were more refusals."""

    def run():
        wait_for(lambda: server.metric("hadal_admission_rejections_total") > before)
        act()

    threading.Thread(target=run).start()


@pytest.fixture
def slow_server(start_server):
    # A step of 20 ms and one sequence at a time: a long request holds its slot for half a minute.
    return start_server("--load-format=null:20ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=2", "--wait-limits=none")


def test_full_queue_is_refused_with_reason_hint_and_pushback(slow_server, stubs):
    occupied = Occupied(slow_server, stubs, 2)
    _, stub = connect(slow_server, stubs)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(chat(stubs, "1 + 1"), timeout=PATIENCE))
    assert slow_server.metric("hadal_requests_waiting") == 2, "it has not waited for a place"
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "服务器繁忙" in caught.value.details() and "2/2" in caught.value.details()
    metadata, found = details_of(caught.value, stubs)
    assert found["ErrorInfo"].reason == "CONNECTION_QUEUE_FULL"
    hint = found["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
    assert 1 <= hint <= 30 and abs(int(metadata["grpc-retry-pushback-ms"]) - hint * 1000) <= 1
    slow_server.wait_text("CONNECTION_QUEUE_FULL: 2/2 pending connections")
    occupied.free()
    slow_server.wait_idle()


def test_grpc_retries_a_refusal_by_itself(slow_server, stubs):
    occupied = Occupied(slow_server, stubs, 2)
    _, stub = connect(slow_server, stubs, retry=RETRY)
    once_refused(slow_server, 0, occupied.free)
    request = chat(stubs, "2 + 2")
    request.stopping.max_tokens = 3
    # As a gateway it is told the next free moment, at most 3 s from now.
    responses = list(stub.Chat(request, timeout=PATIENCE, metadata=[("x-hadal-client", "gateway")]))
    assert responses[-1].usage.completion_tokens > 0
    assert slow_server.metric('hadal_admission_rejections_total') >= 1


def test_the_code_of_capacity_refusals_is_the_operators_choice(start_server, stubs):
    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=1",
                          "--wait-limits=none", "--overload-grpc-code=RESOURCE_EXHAUSTED")
    # A client that retries other codes only must be left with the refusal.
    _, stub = connect(server, stubs, retry=RETRY)
    with filled(server):
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Chat(chat(stubs, "1 + 1"), timeout=PATIENCE, metadata=[("x-hadal-client", "gateway")]))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.metric("hadal_admission_rejections_total") == 1
        metadata, found = details_of(caught.value, stubs)
        assert found["ErrorInfo"].reason == "CONNECTION_QUEUE_FULL" and found["ErrorInfo"].domain == "hadal"
        hint = found["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
        assert 0.1 <= hint <= 3 and abs(int(metadata["grpc-retry-pushback-ms"]) - hint * 1000) <= 1
        assert server.get("/health/ready")[0] == 200
    series = 'hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="8",outcome="shed",reason="CONNECTION_QUEUE_FULL"}'
    assert server.metric(series) == 1
    # One that names the code comes back when it was told to.
    with filled(server) as occupied:
        once_refused(server, 1, lambda: [connection.close() for connection in occupied])
        _, stub = connect(server, stubs, retry=RETRY.replace('"UNAVAILABLE"', '"RESOURCE_EXHAUSTED"'))
        request = chat(stubs, "2 + 2")
        request.stopping.max_tokens = 3
        responses = list(stub.Chat(request, timeout=PATIENCE, metadata=[("x-hadal-client", "gateway")]))
        assert responses[-1].usage.completion_tokens > 0
    assert server.metric(series) >= 2
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(chat(stubs, "hi", model="nobody"), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_attempts_that_grpc_counts_make_the_hint_longer(start_server, stubs):
    # No step ends while the test looks, so that nothing is foreseen: two seconds, and half as much again for each attempt.
    server = start_server("--load-format=null:10m", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    connections = fill(server)

    def refused(retry):
        _, stub = connect(server, stubs, retry)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Chat(chat(stubs, "2 + 2"), timeout=PATIENCE))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        return int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"])

    assert 2000 <= refused(retry=None) <= 2200
    before = time.monotonic()
    told = refused(retry=TWICE)
    assert time.monotonic() - before >= 2, "the library came back when it was told to"
    assert 3000 <= told <= 3300, "and has said that it was its second attempt"
    assert server.metric("hadal_admission_rejections_total") == 3
    for connection in connections:
        connection.close()
    server.signal(signal.SIGKILL)  # it would end with its step


def test_drain_finishes_running_and_refuses_new(start_server, stubs):
    server = start_server("--drain-timeout=120s")
    channel, stub = connect(server, stubs)
    running = stub.Generate(long_request(stubs, 200))
    first = next(running)
    server.signal()
    texts = [first.text] + [r.text for r in running]
    assert running.code() == grpc.StatusCode.OK and "".join(texts)
    assert server.stop() == 0


def test_message_over_the_limit_is_refused(start_server, stubs):
    server = start_server("--max-body=64KiB")
    _, stub = connect(server, stubs)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Generate(stubs.pb.GenerateRequest(text="x" * 100000), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(caught.value, stubs)[1]["ErrorInfo"].reason == "BODY_TOO_LARGE"
    assert server.metric('hadal_requests_total{route="Generate",class="normal",http_code="",grpc_code="8",'
                         'outcome="invalid",reason="BODY_TOO_LARGE"}') == 1


def test_api_keys_and_class_caps(start_server, stubs, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-a tenant-a\nsecret-b tenant-b low\n")
    server = start_server(f"--api-key-file={keys}")
    _, stub = connect(server, stubs)

    def code(**metadata):
        try:
            list(stub.Chat(chat(stubs, "1 + 1"), metadata=[(k.replace("_", "-"), v) for k, v in metadata.items()], timeout=PATIENCE))
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    assert code() == grpc.StatusCode.UNAUTHENTICATED
    assert code(authorization="Bearer wrong") == grpc.StatusCode.UNAUTHENTICATED
    assert code(authorization="Bearer secret-a") == grpc.StatusCode.OK
    assert code(authorization="Bearer secret-b") == grpc.StatusCode.OK
    assert code(authorization="Bearer secret-b", x_hadal_priority="high") == grpc.StatusCode.PERMISSION_DENIED
    assert "secret" not in server.text()
