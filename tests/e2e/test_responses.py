# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses API with its own client (create, stream, parse, async), and the requests that Codex sends, against a real server."""

import asyncio
import json

import openai
import pydantic
import pytest

from http_client import ASK, post

MODEL = "hadal-demo"
ADD = {"type": "function", "name": "add", "description": "Adds two numbers.", "strict": True,
       "parameters": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99},
                                                        "b": {"type": "integer", "minimum": 0, "maximum": 99}},
                      "required": ["a", "b"], "additionalProperties": False}}


class Sum(pydantic.BaseModel):
    result: int


def ask(client, **fields):
    return client.responses.create(**{"model": MODEL, "input": "17 + 25", "temperature": 0, **fields})


def test_a_response_has_reasoning_text_and_usage(client):
    response = ask(client)
    assert response.object == "response" and response.status == "completed" and response.model == MODEL and response.error is None
    reasoning, message = response.output
    assert reasoning.type == "reasoning" and reasoning.content[0].text
    assert message.type == "message" and response.output_text == message.content[0].text and response.output_text.strip().endswith("42")
    same = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    assert same.choices[0].message.content == response.output_text
    assert same.choices[0].message.reasoning_content == reasoning.content[0].text
    usage = response.usage
    assert usage.input_tokens == same.usage.prompt_tokens and usage.output_tokens == same.usage.completion_tokens
    assert usage.output_tokens_details.reasoning_tokens == same.usage.completion_tokens_details.reasoning_tokens
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_the_stream_helper_builds_the_same_response(client):
    whole = ask(client)
    with client.responses.stream(model=MODEL, input="17 + 25", temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == whole.output_text and final.status == "completed"
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 2
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert "".join(e.delta for e in events if e.type == "response.reasoning_text.delta") == whole.output[0].content[0].text
    raw = list(ask(client, stream=True))
    assert [event.sequence_number for event in raw] == list(range(len(raw)))


def test_parse_gives_the_model(client):
    parsed = client.responses.parse(model=MODEL, input="17 + 25", temperature=0, text_format=Sum)
    assert isinstance(parsed.output_parsed, Sum)
    with client.responses.stream(model=MODEL, input="17 + 25", temperature=0, text_format=Sum) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed
    form = {"format": {"type": "json_object"}}
    assert ask(client, text=form, max_output_tokens=60, extra_body={"max_thinking_tokens": 2}).output_text.startswith("{")


def test_the_async_client(server):
    async def run():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            whole = await client.responses.create(model=MODEL, input="17 + 25", temperature=0)
            stream = await client.responses.create(model=MODEL, input="17 + 25", temperature=0, stream=True)
            return whole, "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    whole, text = asyncio.run(run())
    assert whole.output_text == text


def test_a_round_of_tools(client):
    first = ask(client, tools=[ADD], tool_choice="required", parallel_tool_calls=False)
    call = first.output[-1]
    assert call.type == "function_call" and call.name == "add" and set(json.loads(call.arguments)) == {"a", "b"}
    with client.responses.stream(model=MODEL, input="17 + 25", temperature=0, tools=[ADD],
                                 tool_choice={"type": "function", "name": "add"}) as stream:
        kinds = [event.type for event in stream]
        named = stream.get_final_response().output[-1]
    assert "response.function_call_arguments.delta" in kinds and set(json.loads(named.arguments)) == {"a", "b"}
    # The client sends back what it got.
    items = [*ASK, *first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "42"}]
    second = ask(client, tools=[ADD], input=items, max_output_tokens=20)
    assert second.status in ("completed", "incomplete") and second.usage.input_tokens > first.usage.input_tokens
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, input=[*ASK, {"type": "function_call_output", "call_id": "c9", "output": "42"}])
    assert caught.value.param == "input[1].call_id"


def test_input_tokens_are_those_of_the_response(client):
    asked = dict(model=MODEL, input="17 + 25", instructions="Be brief.", tools=[ADD])
    counted = client.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == client.responses.create(**asked, max_output_tokens=1).usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.input_tokens.count(model=MODEL, input="x", previous_response_id="resp_1")


def test_limits(client):
    cut = ask(client, max_output_tokens=3)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    limited = ask(client, extra_body={"max_thinking_tokens": 2})
    assert limited.usage.output_tokens_details.reasoning_tokens == 3 and limited.output_text
    scored = ask(client, include=["message.output_text.logprobs"], top_logprobs=2)
    assert all(len(token.top_logprobs) == 2 for token in scored.output[-1].content[0].logprobs)


def test_what_needs_a_memory_is_refused_by_name(client):
    for field, value in [("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True)]:
        with pytest.raises(openai.BadRequestError, match=f"`{field}` is not offered") as caught:
            ask(client, **{field: value})
        assert caught.value.param == field
    assert ask(client, store=True, max_output_tokens=1).model_extra["store"] is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")


def test_a_request_of_codex(server):
    """As codex-cli sends it: instructions, a developer's message, its own kinds of tools, nothing stored, reasoning carried along."""
    turn = [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>read-only</permissions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context><cwd>/src</cwd></environment_context>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "17 + 25"}]}]
    shell = {"type": "function", "name": "shell_command", "description": "Runs a command.", "strict": False,
             "parameters": {"type": "object", "properties": {"command": {"type": "string"}, "workdir": {"type": "string"}},
                            "required": ["command"], "additionalProperties": False}}
    body = {"model": MODEL, "instructions": "You are a coding agent.", "input": turn, "tool_choice": "auto", "parallel_tool_calls": True,
            "tools": [shell, {"type": "custom", "name": "apply_patch", "description": "x", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
                      {"type": "web_search", "external_web_access": False}],
            "reasoning": {"effort": "medium", "summary": "auto"}, "store": False, "stream": True, "temperature": 0, "max_output_tokens": 200,
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0199", "text": {"verbosity": "low"},
            "client_metadata": {"x-codex-installation-id": "1"}}
    headers = {"originator": "codex_exec", "session_id": "0199", "OpenAI-Beta": "responses=experimental", "Accept": "text/event-stream"}

    def run(body):
        status, got, text = post(server, "/v1/responses", body, headers)
        assert status == 200 and got["content-type"].startswith("text/event-stream"), text
        events = [json.loads(line.removeprefix("data: ")) for line in text.decode().splitlines() if line.startswith("data: ")]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] in ("response.completed", "response.incomplete")
        return [event["item"] for event in events if event["type"] == "response.output_item.done"], events[-1]["response"]

    items, first = run(body)
    for kind in ("custom", "web_search"):  # only functions are offered: the operator reads what was not
        server.wait_text(f"a tool of /v1/responses is left out: only functions are offered type={kind}")
    assert items == first["output"] and items[0]["encrypted_content"]
    # Of reasoning it keeps the carried form alone, and of messages what they say.
    kept = [{key: value for key, value in item.items() if key not in ("content", "status") or item["type"] == "message"} for item in items]
    again = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and 1"}]}
    _, second = run({**body, "input": [*turn, *kept, again]})
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
