# SPDX-License-Identifier: Apache-2.0
"""Tool calls of which a grammar makes sure, through the openai package. The weights are random, as in test_constrained.py."""

import json

import jsonschema
import openai
import pytest

from json_schemas import BOOLEAN, NULL, SMALL, STRING, obj
from test_constrained import ASK, ask, bias, client, dummy, response_format  # noqa: F401

TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": obj(a=SMALL, b=SMALL)}},
    {"type": "function", "function": {"name": "paint", "parameters": obj(color={"enum": ["red", "blue"]}, name=STRING)}},
    {"type": "function", "function": {"name": "now"}},
]


def check_calls(calls, names):
    for call in calls:
        assert call.function.name in names
        tool = next(t["function"] for t in TOOLS if t["function"]["name"] == call.function.name)
        jsonschema.validate(json.loads(call.function.arguments), tool.get("parameters", obj()))


def test_required_and_named_tools_are_called(client, bias):
    seen = set()
    for seed in range(8):
        answer = ask(client, bias, seed, tools=TOOLS, tool_choice="required", parallel_tool_calls=False).choices[0]
        if answer.finish_reason == "length":
            continue
        assert answer.finish_reason == "tool_calls" and not answer.message.content
        assert len(answer.message.tool_calls) == 1
        check_calls(answer.message.tool_calls, {"add", "paint", "now"})
        seen.add(answer.message.tool_calls[0].function.name)
    assert len(seen) > 1
    named = {"type": "function", "function": {"name": "add"}}
    answer = ask(client, bias, 1, tools=TOOLS, tool_choice=named).choices[0]
    assert len(answer.message.tool_calls) == 1
    check_calls(answer.message.tool_calls, {"add"})


def test_only_allowed_tools_are_called(client, bias):
    for seed in range(3):
        for name in ("add", "now"):
            allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": name}}]}
            answer = ask(client, bias, seed, tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed}).choices[0]
            assert {call.function.name for call in answer.message.tool_calls or []} <= {name} and not answer.message.content
            assert answer.finish_reason == "length" or answer.message.tool_calls
    flat = [{"type": "function", **tool["function"]} for tool in TOOLS]
    answer = client.responses.create(model="hadal-demo", input="17 + 25", tools=flat, temperature=1, extra_body={"seed": 1, "logit_bias": bias},
                                     tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]})
    assert {item.name for item in answer.output if item.type == "function_call"} == {"now"}, answer.output


def test_required_tools_may_be_several(client, bias):
    counts = set()
    for seed in range(12):
        # <｜tool▁calls▁end｜> ends the block; without a bias it is as likely as a further call.
        answer = ask(client, bias, seed, tools=TOOLS, tool_choice="required").choices[0]
        if answer.finish_reason == "tool_calls":
            check_calls(answer.message.tool_calls, {"add", "paint", "now"})
            counts.add(len(answer.message.tool_calls))
    assert max(counts) > 1


def test_streamed_tool_calls(client, bias):
    name, arguments, finish = "", "", None
    for chunk in ask(client, bias, 2, stream=True, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "add"}}):
        choice = chunk.choices[0]
        for call in choice.delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        finish = choice.finish_reason or finish
    assert (name, finish) == ("add", "tool_calls")
    jsonschema.validate(json.loads(arguments), TOOLS[0]["function"]["parameters"])


def test_strict_tools_constrain_the_calls_that_the_model_opens(client, bias):
    strict = [{"type": "function", "function": t["function"] | {"strict": True}} for t in TOOLS[:2]]
    # 1015 is <｜tool▁calls▁begin｜>: the model opens a block as soon as its reasoning has ended.
    calls = 0
    for seed in range(6):
        answer = ask(client, bias | {"1015": 90}, seed, tools=strict).choices[0]
        if answer.finish_reason == "tool_calls":
            check_calls(answer.message.tool_calls, {"add", "paint"})
            calls += 1
    assert calls > 2
    answer = ask(client, bias | {"1": 90}, tools=strict).choices[0]  # 1 ends the answer: nothing forces a call
    assert answer.finish_reason == "stop" and not answer.message.tool_calls


def test_a_response_format_beside_tools_leaves_the_choice(client, bias):
    schema = obj(answer={"type": "string", "maxLength": 20})
    strict = [{"type": "function", "function": t["function"] | {"strict": True}} for t in TOOLS[:2]]
    for tools in (TOOLS[:2], strict):
        calls = answers = 0
        for seed in range(4):
            answer = ask(client, bias | {"1015": 90}, seed, tools=tools, response_format=response_format(schema)).choices[0]
            if answer.finish_reason == "tool_calls":
                if tools is strict:
                    check_calls(answer.message.tool_calls, {"add", "paint"})
                assert answer.message.tool_calls[0].function.name in ("add", "paint") and not answer.message.content
                calls += 1
            answer = ask(client, bias | {"1015": -100}, seed, tools=tools, response_format=response_format(schema)).choices[0]
            if answer.finish_reason == "stop":
                jsonschema.validate(json.loads(answer.message.content), schema)
                assert not answer.message.tool_calls
                answers += 1
        assert calls > 1 and answers > 2
    forced = ask(client, bias, 1, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "add"}}, response_format=response_format(schema))
    check_calls(forced.choices[0].message.tool_calls, {"add"})
    answer = ask(client, bias, 1, tools=TOOLS, tool_choice="none", response_format=response_format(schema)).choices[0]
    jsonschema.validate(json.loads(answer.message.content), schema)


@pytest.mark.parametrize("style, parser", [("deepseek-v3.1", "auto"), ("deepseek-v3.2", "auto"), ("deepseek-v4", "auto"),
                                           ("deepseek-v3.1", "hermes"), ("deepseek-v3.1", "qwen3-coder"), ("deepseek-v3.1", "llama-3"),
                                           ("deepseek-v3.1", "mistral"), ("deepseek-v3.1", "mistral-args")])
def test_required_tools_in_the_syntax_of_each_generation(start_server, style, parser):
    server = start_server("--load-format=dummy", f"--chat-template={style}", f"--tool-parser={parser}")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    tools = [{"type": "function", "function": {"name": "f", "parameters": obj(
        n={"type": "integer", "minimum": 0, "maximum": 9}, c={"enum": ["a", "b"]}, d={"type": "string", "pattern": "^[0-9]{3}$"}, b=BOOLEAN,
        l={"type": "array", "items": BOOLEAN, "maxItems": 2}, o=obj(x=NULL))}}]
    for seed in range(4):
        ask = dict(model="hadal-demo", messages=ASK, max_tokens=700, seed=seed, temperature=1, tools=tools, tool_choice="required",
                   parallel_tool_calls=False, logit_bias={"1008": 100}, extra_body={"thinking": {"type": "enabled"}})
        answer = client.chat.completions.create(**ask).choices[0]
        assert answer.finish_reason == "tool_calls", answer
        deltas = [call.function for chunk in client.chat.completions.create(stream=True, **ask) for call in chunk.choices[0].delta.tool_calls or []]
        assert [d.name for d in deltas if d.name] == ["f"]
        jsonschema.validate(json.loads("".join(d.arguments or "" for d in deltas)), tools[0]["function"]["parameters"])
        assert answer.message.tool_calls[0].function.name == "f"
        jsonschema.validate(json.loads(answer.message.tool_calls[0].function.arguments), tools[0]["function"]["parameters"])


FOLLOWED = obj(color={"enum": ["red", "blue"]}, size={"type": "integer", "minimum": 0, "maximum": 99})
LOOSE = FOLLOWED | {"properties": FOLLOWED["properties"] | {"size": FOLLOWED["properties"]["size"] | {"not": {"const": 3}}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_tool_takes_any_schema_and_says_what_is_left_open(client, bias, stream):
    def call(parameters):
        tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
        raw = client.chat.completions.with_raw_response.create(
            model="hadal-demo", messages=ASK, tools=tools, tool_choice="required", parallel_tool_calls=False, seed=3, logit_bias=bias,
            max_tokens=400, stream=stream)
        if not stream:
            return raw.headers, raw.parse().choices[0].message.tool_calls[0].function.arguments
        deltas = [call for chunk in raw.parse() if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
        return raw.headers, "".join(call.function.arguments for call in deltas)

    headers, arguments = call(LOOSE)
    assert headers["x-hadal-grammar"] == "partial"
    jsonschema.validate(json.loads(arguments), FOLLOWED)
    headers, arguments = call(FOLLOWED)
    assert "x-hadal-grammar" not in headers
    for hard in ({"type": "object", "allOf": [obj(a=STRING), obj(b=STRING)]}, {"anyOf": [{"required": ["a"]}]}, {"if": {}, "then": {}}):
        assert call(hard)[0]["x-hadal-grammar"] == "partial"
