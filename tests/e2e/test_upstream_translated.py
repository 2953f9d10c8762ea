# SPDX-License-Identifier: Apache-2.0
"""Calls over gRPC and in Ollama's form that a full server passes on in OpenAI's form, and the answers that it translates back."""

import grpc
import ollama
import pytest

from hadal_process import filled
from http_client import ASK, post
from test_upstream import PATIENT, SMALL, far, full, near  # noqa: F401


def grpc_answer(server, stubs, method, request, metadata=()):
    """(messages, trailers) of a call without the library's own retries."""
    with grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)]) as channel:
        call = getattr(stubs.services.InferenceStub(channel), method)(request, timeout=60, metadata=metadata)
        messages = list(call)
        return messages, dict(call.trailing_metadata())


def test_grpc_calls_are_answered_by_the_other_server(full, far, stubs):
    pb = stubs.pb
    greedy = {"sampling": pb.SamplingParams(temperature=0), "stopping": pb.StopConditions(max_tokens=40)}
    tool = pb.ToolDefinition(name="get_weather", description="of a place", parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}}')
    for method, request in (("Chat", pb.ChatRequest(messages=[pb.ChatMessage(**ASK[0])], **greedy)),
                            ("Chat", pb.ChatRequest(messages=[pb.ChatMessage(**ASK[0])], tools=[tool], tool_choice=pb.TOOL_CHOICE_REQUIRED, thinking=False, **greedy)),
                            ("Chat", pb.ChatRequest(messages=[pb.ChatMessage(**ASK[0])], n=2, **greedy)),
                            ("Generate", pb.GenerateRequest(text="count", **greedy)),
                            ("Generate", pb.GenerateRequest(token_ids=pb.TokenIds(ids=[5, 6, 7]), **greedy))):
        passed, trailers = grpc_answer(full, stubs, method, request, [("x-request-id", "r7")])
        assert trailers["x-hadal-served-by"] == "far" and trailers["x-hadal-degraded"] == "upstream" and trailers["x-request-id"] == "r7"
        direct, without = grpc_answer(far, stubs, method, request)
        assert "x-hadal-served-by" not in without

        def joined(messages, choice):
            own = [message for message in messages if message.index == choice]
            calls = [call for message in own for call in message.tool_calls]
            return ("".join(message.text for message in own), "".join(message.reasoning for message in own),
                    [call.name for call in calls if call.name], "".join(call.arguments for call in calls), [message.finish_reason for message in own if message.finish_reason])

        for choice in range(max(request.n, 1)):
            assert joined(passed, choice) == joined(direct, choice)
        assert passed[0].request_id.startswith("r7") and passed[0].model == direct[0].model
        ours, theirs = passed[-1].usage, direct[-1].usage
        assert (ours.prompt_tokens, ours.completion_tokens, ours.reasoning_tokens) == (theirs.prompt_tokens, theirs.completion_tokens, theirs.reasoning_tokens)


def test_grpc_calls_are_refused_where_the_answer_could_not_be_told(full, stubs):
    before = full.metric('hadal_upstream_requests_total{target="far",outcome="ok"}')
    ask = {"text": "count", "stopping": stubs.pb.StopConditions(max_tokens=4)}
    for request, metadata in ((stubs.pb.GenerateRequest(logprobs=1, **ask), ()), (stubs.pb.GenerateRequest(return_token_ids=True, **ask), ()),
                              (stubs.pb.GenerateRequest(**ask), [("x-hadal-allow-fallback", "0")]), (stubs.pb.GenerateRequest(**ask), [("x-hadal-hop", "1")])):
        with pytest.raises(grpc.RpcError) as error:
            grpc_answer(full, stubs, "Generate", request, metadata)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "grpc-retry-pushback-ms" in dict(error.value.trailing_metadata())
    assert full.metric('hadal_upstream_requests_total{target="far",outcome="ok"}') == before


def test_ollama_is_answered_by_the_other_server(full, far):
    greedy = {"temperature": 0, "num_predict": 60}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    near, there = (ollama.Client(host=server.url, timeout=60) for server in (full, far))
    for ask in ({"messages": ASK}, {"messages": ASK, "think": False}, {"messages": ASK, "tools": tools}, {"messages": ASK, "format": "json"}):
        passed, direct = (client.chat("hadal-demo:latest", options=greedy, **ask) for client in (near, there))
        assert passed.message == direct.message or passed.message.tool_calls, passed
        assert (passed.message.content, passed.message.thinking, passed.done_reason, passed.model) == (
            direct.message.content, direct.message.thinking, direct.done_reason, direct.model)
        assert (passed.eval_count, passed.prompt_eval_count) == (direct.eval_count, direct.prompt_eval_count) and passed.total_duration > 0
        parts = list(near.chat("hadal-demo", options=greedy, stream=True, **ask))
        assert "".join(part.message.content or "" for part in parts) == direct.message.content
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    for raw in (False, True):
        passed, direct = (client.generate("hadal-demo", "17 + 25", raw=raw, options=greedy) for client in (near, there))
        assert (passed.response, passed.thinking, passed.done_reason, passed.eval_count) == (direct.response, direct.thinking, direct.done_reason, direct.eval_count)
    # More than any context leaves: no limit, there as here.
    passed, direct = (client.generate("hadal-demo", "17 + 25", options=greedy | {"num_predict": 1 << 30}) for client in (near, there))
    assert (passed.response, passed.done_reason) == (direct.response, direct.done_reason)
    status, headers, _ = post(full, "/api/chat", {"model": "hadal-demo", "messages": ASK})
    assert status == 200 and headers["x-hadal-served-by"] == "far" and headers["content-type"] == "application/x-ndjson"


def test_a_drain_waits_for_a_grpc_call_that_was_passed_on(start_server, stubs):
    far = start_server("--load-format=null:5ms")
    near = start_server(*SMALL, *PATIENT, f"--fallback-upstream={far.url},name=far")
    with grpc.insecure_channel(near.target, options=[("grpc.enable_retries", 0)]) as channel:
        request = stubs.pb.GenerateRequest(text="count", stopping=stubs.pb.StopConditions(max_tokens=800, ignore_eos=True))
        with filled(near):
            call = stubs.services.InferenceStub(channel).Generate(request, timeout=120)
            next(call)
        near.signal()
        usage = list(call)[-1].usage
        assert usage.completion_tokens == 800 and dict(call.trailing_metadata())["x-hadal-served-by"] == "far"
