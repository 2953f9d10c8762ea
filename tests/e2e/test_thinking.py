# SPDX-License-Identifier: Apache-2.0
"""Reasoning that is ended, after so many tokens or while it runs, over every API: nothing before or around it changes."""

import json
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import anthropic
import grpc
import openai
import pytest

from hadal_process import HadalProcess
from http_client import ASK, post

MODEL = "hadal-demo"


def chat(server, **fields):
    status, _, body = post(server, "/v1/chat/completions", {"messages": ASK, "temperature": 0, "return_token_ids": True, **fields})
    assert status == 200, body
    return json.loads(body)


def reasoning_of(answer):
    return answer["usage"]["completion_tokens_details"]["reasoning_tokens"]


@pytest.fixture(scope="module")
def free(server):
    return chat(server)


@pytest.fixture(scope="module")
def think_end(server):
    status, _, body = post(server, "/tokenize", {"prompt": "</think>", "add_special_tokens": False})
    (token,) = json.loads(body)["tokens"]
    return token


def test_the_tokens_before_the_limit_are_the_models_own(server, free, think_end):
    own, thinking = free["choices"][0]["token_ids"], reasoning_of(free)
    assert own[thinking - 1] == think_end and thinking > 4
    cuts = server.metric("hadal_thinking_cuts_total")
    for limit in (0, 1, 3, thinking - 2):
        answer = chat(server, max_thinking_tokens=limit)
        choice = answer["choices"][0]
        assert choice["token_ids"][:limit + 1] == [*own[:limit], think_end]
        assert reasoning_of(answer) == limit + 1, "the marker counts, too"
        assert choice["message"]["content"] and choice["finish_reason"] == "stop"
    assert server.metric("hadal_thinking_cuts_total") == cuts + 4
    # A limit that is not reached, or comes behind max_tokens, changes nothing.
    assert chat(server, max_thinking_tokens=thinking + 50)["choices"] == free["choices"]
    short = chat(server, max_thinking_tokens=5, max_tokens=3)
    assert short["choices"][0]["token_ids"] == own[:3] and short["choices"][0]["finish_reason"] == "length"
    assert server.metric("hadal_thinking_cuts_total") == cuts + 4


def test_choices_seeds_and_log_probabilities(server, think_end):
    fields = dict(n=3, seed=7, temperature=1, logprobs=True, top_logprobs=1)
    own, limited = chat(server, **fields), chat(server, **fields, max_thinking_tokens=2)
    for a, b in zip(own["choices"], limited["choices"]):
        ids, scores = b["token_ids"], b["logprobs"]["reasoning_content"]
        if a["token_ids"].index(think_end) <= 2:
            assert a == b
            continue
        assert ids[:3] == [*a["token_ids"][:2], think_end] and len(scores) == 3
        assert scores[:2] == a["logprobs"]["reasoning_content"][:2]
        # Of the model's distribution, in which the marker is not the likeliest here.
        assert scores[2]["token"] == "</think>" and scores[2]["logprob"] < 0
    assert chat(server, **fields, max_thinking_tokens=2)["choices"] == limited["choices"]


def test_a_schema_holds_behind_the_limit(server):
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["sum"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    answer = chat(server, max_thinking_tokens=2, response_format=form)
    assert reasoning_of(answer) == 3 and set(json.loads(answer["choices"][0]["message"]["content"])) == {"sum"}


def test_company_changes_nothing(server):
    asks = [dict(max_thinking_tokens=i % 4, messages=[{"role": "user", "content": f"{i} + {i * 7 % 50}"}]) for i in range(12)]
    alone = [chat(server, **ask)["choices"] for ask in asks]
    with ThreadPoolExecutor(12) as clients:
        assert list(clients.map(lambda ask: chat(server, **ask)["choices"], asks)) == alone


def test_every_api_takes_the_limit(server, stubs, client):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2}}
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, extra_body=thinking)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    claude = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    message = claude.messages.create(model=MODEL, max_tokens=200, messages=ASK, extra_body={"temperature": 0}, **thinking)
    assert message.usage.output_tokens_details.thinking_tokens == 3
    assert message.content[-1].text == answer.choices[0].message.content
    pb = stubs.pb
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    request = pb.ChatRequest(messages=[pb.ChatMessage(role="user", content=ASK[0]["content"])], max_thinking_tokens=2)
    request.sampling.temperature = 0
    replies = list(stub.Chat(request, timeout=60))
    assert replies[-1].usage.reasoning_tokens == 3
    assert "".join(reply.text for reply in replies) == answer.choices[0].message.content


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A server whose model thinks on and on, a token in 20 ms, for two tenants."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("one acme\ntwo rival\n")
    with HadalProcess("--load-format=null:20ms", f"--api-key-file={keys}") as process:
        yield process


def control(server, request_id, key="one"):
    status, _, body = post(server, f"/v1/chat/completions/{request_id}/control", {"action": "reasoning_end"},
                           headers={"Authorization": f"Bearer {key}"})
    return status, json.loads(body)


def test_thinking_ends_while_it_runs(slow):
    cuts = slow.metric("hadal_thinking_cuts_total")
    client = openai.OpenAI(base_url=slow.url + "/v1", api_key="one", max_retries=0, timeout=60)
    stream = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=1500, stream=True, temperature=0,
                                            extra_body={"reasoning_control": True, "ignore_eos": True})
    texts, told = [], None
    for chunk in stream:
        delta = chunk.choices[0].delta if chunk.choices else None
        if delta is None or len(texts) > 5:
            continue
        if delta.content:
            if not texts:
                assert control(slow, chunk.id) == (409, ANY) and control(slow, chunk.id, "two")[0] == 404
            texts.append(delta.content)
        elif getattr(delta, "reasoning_content", None) and told is None:
            assert control(slow, chunk.id, "two")[1]["error"]["code"] == "REQUEST_NOT_FOUND"
            told = control(slow, chunk.id)
            assert told == (200, {"id": chunk.id, "object": "chat.completion.control", "action": "reasoning_end", "success": True})
        if len(texts) > 5:
            stream.close()
            break
    assert told and len(texts) > 5
    slow.wait_idle()
    assert slow.metric("hadal_thinking_cuts_total") == cuts + 1


def test_thinking_ends_over_grpc(slow, stubs):
    pb = stubs.pb
    stub = stubs.services.InferenceStub(grpc.insecure_channel(slow.target))
    key = (("authorization", "Bearer one"),)
    request = pb.ChatRequest(messages=[pb.ChatMessage(role="user", content="x")], reasoning_control=True)
    request.stopping.max_tokens = 1500
    request.stopping.ignore_eos = True
    call = stub.Chat(request, timeout=60, metadata=key)
    first = next(call)
    assert first.reasoning and first.request_id
    stub.EndThinking(pb.EndThinkingRequest(request_id=first.request_id), metadata=key)
    assert next(reply.text for reply in call if reply.text)
    with pytest.raises(grpc.RpcError) as late:
        stub.EndThinking(pb.EndThinkingRequest(request_id=first.request_id), metadata=key)
    assert late.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    call.cancel()


def test_a_bad_limit_is_named(server, stubs):
    for path, fields, name in [("/v1/chat/completions", {"max_thinking_tokens": -1}, "max_thinking_tokens"),
                               ("/v1/messages", {"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": -1}},
                                "thinking.budget_tokens")]:
        status, _, body = post(server, path, {"messages": ASK, **fields})
        assert status in (400, 422) and f"`{name}` is -1; it must be 0 or more" in json.loads(body)["error"]["message"]
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    with pytest.raises(grpc.RpcError, match="max_thinking_tokens"):
        list(stub.Chat(stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="x")], max_thinking_tokens=-1)))
