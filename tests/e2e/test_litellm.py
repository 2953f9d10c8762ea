# SPDX-License-Identifier: Apache-2.0
"""LiteLLM's proxy, with the configuration of gateways/, in front of two servers: over OpenAI's API and over Ollama's."""

import json

import openai
import pytest

from gateway_process import GatewayProcess
from hadal_process import HadalProcess, filled
from http_client import ASK, client_of

ADD = {"type": "function", "function": {"name": "add", "strict": True, "parameters": {
    "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["a", "b"], "additionalProperties": False}}}
SUM = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["sum"], "additionalProperties": False}


@pytest.fixture(scope="module")
def small():
    """A server that one request runs on and one waits for."""
    with HadalProcess("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none") as process:
        yield process


@pytest.fixture(scope="module")
def proxy(server, small, tmp_path_factory):
    """hadal-1 is the server with the demo model, hadal-2 the small one, hadal both; `ollama` is the first over Ollama's API."""
    ollama = {"model_name": "ollama", "litellm_params": {"model": "ollama_chat/hadal-demo", "api_base": server.url}}
    with GatewayProcess("litellm", tmp_path_factory.mktemp("litellm"), [server.port, small.port], models=[ollama]) as process:
        yield process


@pytest.fixture(scope="module")
def caller(proxy):
    return openai.OpenAI(base_url=proxy.url + "/v1", api_key="none", max_retries=0, timeout=60)


@pytest.mark.parametrize("model", ["hadal-1", "ollama"])
def test_answers_and_streams_are_the_servers_own(server, caller, model):
    own = client_of(server).chat.completions.create(model="hadal-demo", messages=ASK, temperature=0)
    answer = caller.chat.completions.create(model=model, messages=ASK, temperature=0)
    message = own.choices[0].message
    assert answer.choices[0].message.content == message.content
    assert answer.choices[0].message.reasoning_content == message.reasoning_content
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (own.usage.prompt_tokens, own.usage.completion_tokens)
    chunks = list(caller.chat.completions.create(model=model, messages=ASK, temperature=0, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == message.content
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == message.reasoning_content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_tools_and_schemas_reach_the_server(caller):
    answer = caller.chat.completions.create(model="hadal-1", messages=ASK, temperature=0, tools=[ADD], tool_choice="required",
                                            parallel_tool_calls=False)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "add" and set(json.loads(call.function.arguments)) == {"a", "b"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "42"}
    turns = [*ASK, answer.choices[0].message.model_dump(exclude_none=True), result]
    for model in ("hadal-1", "ollama"):
        behind = caller.chat.completions.create(model=model, messages=turns, temperature=0, tools=[ADD], max_tokens=30)
        assert behind.choices[0].finish_reason in ("stop", "length", "tool_calls")
        formed = caller.chat.completions.create(model=model, messages=ASK, temperature=0, response_format={
            "type": "json_schema", "json_schema": {"name": "sum", "schema": SUM}})
        assert set(json.loads(formed.choices[0].message.content)) == {"sum"}


def test_a_refusal_goes_to_the_other_server_or_comes_back_whole(small, caller):
    with filled(small):
        assert [caller.chat.completions.create(model="hadal", messages=ASK, max_tokens=1).choices[0].finish_reason for _ in range(4)] == ["length"] * 4
        with pytest.raises(openai.InternalServerError) as refused:
            caller.chat.completions.create(model="hadal-2", messages=ASK, max_tokens=1)
    assert refused.value.status_code == 503 and "服务器繁忙" in str(refused.value)
    # Under a name of its own, which the openai package does not know: its own back-off is what is left.
    assert int(refused.value.response.headers["llm_provider-retry-after"]) >= 1
