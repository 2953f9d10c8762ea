# SPDX-License-Identifier: Apache-2.0
"""What is asked over HTTP may be asked over gRPC, and the answers are the same."""

import json

import jsonschema
import pytest

import hadal_client
from client_kinds import KINDS
from hadal_client import _inference_pb2 as pb
from hadal_client._grpc_fields import chat_messages, fill
from hadal_process import HadalProcess

SUM = {"type": "object", "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [3, 4]}}, "required": ["a", "b"], "additionalProperties": False}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds two numbers.", "parameters": SUM}}
# A tool is shown to the model as it came over HTTP; over gRPC always with its parameters.
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}
NAMED = {"type": "function", "function": {"name": "add"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "strict": True, "schema": SUM}}
# Random weights hardly ever end their reasoning; this is the token that does, of the demo's tokenizer.
ENDS_REASONING = {"1008": 100}
ASK = {"max_tokens": 400, "temperature": 1, "seed": 3, "logit_bias": ENDS_REASONING}


@pytest.fixture(scope="module")
def dummy():
    """Random weights: nothing but what was asked for makes an answer valid."""
    with HadalProcess("--load-format=dummy", "--batch-invariant") as process:
        yield process


def of_all_kinds(server, ask):
    """What `ask` got by each client; it is the same by all."""
    got = {}
    for kind, make in KINDS.items():
        client = make([server])
        try:
            got[kind] = ask(client)
        finally:
            client.close()
    first = got["http"]
    assert all(one == first for one in got.values()), got
    return first


def shown(answer):
    """Without what differs from call to call."""
    calls = [{**call, "id": bool(call["id"])} for call in answer.tool_calls]
    return answer.text, answer.reasoning, answer.finish_reason, calls, answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.model


# ---- Tools and formats, of a real server -----------------------------------------------------------------------------

@pytest.mark.parametrize("choice, name", [(NAMED, "add"), (ALLOWED, "now")], ids=["named", "allowed"])
def test_a_tool_that_must_be_called_is(dummy, choice, name):
    text, _, finish, calls, *_ = of_all_kinds(dummy, lambda client: shown(client.chat("17 + 25", tools=[ADD, NOW], tool_choice=choice, **ASK)))
    assert finish == "tool_calls" and not text and [call["function"]["name"] for call in calls] == [name]
    assert calls[0] == {"index": 0, "id": True, "type": "function", "function": {"name": name, "arguments": calls[0]["function"]["arguments"]}}
    arguments = json.loads(calls[0]["function"]["arguments"])
    if name == "add":
        jsonschema.validate(arguments, SUM)


def test_calls_of_several_tools(dummy):
    def ask(client, **fields):
        return shown(client.chat("x", tools=[ADD, NOW], tool_choice="required", **{**ASK, **fields}))

    assert len(of_all_kinds(dummy, lambda client: ask(client, parallel_tool_calls=False))[3]) == 1
    for seed in range(3):
        calls = of_all_kinds(dummy, lambda client: ask(client, seed=seed))[3]
        assert [call["index"] for call in calls] == list(range(len(calls)))


def test_the_pieces_of_a_call_are_the_same(dummy):
    def ask(client):
        pieces = [call for piece in client.stream("17 + 25", tools=[ADD], tool_choice=NAMED, **ASK) for call in piece.tool_calls]
        assert pieces[0].pop("id") and pieces[0].pop("type") == "function" and pieces[0]["function"].pop("name") == "add"
        assert all(sorted(piece) == ["function", "index"] and list(piece["function"]) == ["arguments"] for piece in pieces), pieces
        return "".join(piece["function"]["arguments"] for piece in pieces)

    jsonschema.validate(json.loads(of_all_kinds(dummy, ask)), SUM)


def test_no_tools_are_shown_where_none_may_be_called(dummy):
    def ask(client, **fields):
        return client.chat("x", max_tokens=1, **fields).usage.prompt_tokens

    assert of_all_kinds(dummy, lambda client: ask(client, tools=[ADD, NOW], tool_choice="none")) == of_all_kinds(dummy, ask)
    assert of_all_kinds(dummy, lambda client: ask(client, tools=[ADD, NOW], tool_choice="auto")) > of_all_kinds(dummy, ask)


def test_a_call_and_its_result_go_back_as_they_came(dummy):
    def ask(client):
        called = client.chat("17 + 25", tools=[ADD], tool_choice=NAMED, **ASK)
        messages = [{"role": "user", "content": [{"type": "text", "text": "17 "}, {"type": "text", "text": "+ 25"}]},
                    {"role": "assistant", "content": None, "tool_calls": called.tool_calls},
                    {"role": "tool", "tool_call_id": called.tool_calls[0]["id"], "content": "42"}]
        return client.chat(messages, tools=[ADD], max_tokens=3).usage.prompt_tokens

    assert of_all_kinds(dummy, ask) > 20


def test_an_answer_has_the_format_that_was_asked_for(dummy):
    text, _, finish, *_ = of_all_kinds(dummy, lambda client: shown(client.chat("17 + 25", response_format=FORMAT, **ASK)))
    assert finish == "stop"
    jsonschema.validate(json.loads(text), SUM)
    text, _, _, *_ = of_all_kinds(dummy, lambda client: shown(client.complete("x", response_format=FORMAT, max_tokens=400, seed=1)))
    jsonschema.validate(json.loads(text), SUM)
    ask = {**ASK, "max_tokens": 30}
    assert of_all_kinds(dummy, lambda client: shown(client.chat("x", response_format={"type": "json_object"}, **ask)))[0].lstrip().startswith("{")
    assert of_all_kinds(dummy, lambda client: shown(client.chat("x", response_format={"type": "text"}, **ask)) == shown(client.chat("x", **ask)))


def test_what_no_server_takes_is_named_by_it(dummy, connect):
    client = connect(dummy)
    for fields, named, status in (({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}}}, "schema", 400),
                                  ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "subtract"}}}, "subtract", 400),
                                  ({"logit_bias": {5: 1000}}, "logit_bias", 422)):
        with pytest.raises(hadal_client.RequestError, match=named) as caught:
            client.chat("x", max_tokens=1, **fields)
        assert caught.value.status == status


# ---- Other fields ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [
    {"thinking": False}, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled", "budget_tokens": 2}}, {"thinking": {"type": "adaptive"}},
    {"chat_template_kwargs": {"thinking": False}}, {"max_completion_tokens": 7}, {"top_k": -1}, {"top_k": 1}, {"logit_bias": {1008: 100}},
    {"reasoning_effort": "none"}, {"stop": ["e", "a"]}, {"stop": "e", "ignore_eos": True}, {"tools": None, "seed": 7}], ids=str)
def test_a_field_means_the_same(dummy, fields):
    of_all_kinds(dummy, lambda client: shown(client.chat("17 + 25", **{"seed": 3, **({} if "max_completion_tokens" in fields else {"max_tokens": 20}), **fields})))


def test_tokens_have_the_same_fields(server):
    def ask(client):
        bare = client.tokenize("17 + 25", add_special_tokens=False, model="hadal-demo")
        return bare, client.tokenize("17 + 25"), client.detokenize((token for token in bare), skip_special_tokens=True)

    bare, whole, text = of_all_kinds(server, ask)
    assert len(whole) > len(bare) and text == "17 + 25"


MISTAKES = [
    ({"tools": {}}, r"tools: expected a list, found \{\}"), ({"tools": ["add"]}, r"tools\[0\]: expected an object, found 'add'"),
    ({"tools": [{"type": "web_search"}]}, r"tools\[0\].type: expected function, found 'web_search'"), ({"tools": [{"type": "function"}]}, r"tools\[0\].function: expected"),
    ({"tools": [{"function": {"name": 5}}]}, r"tools\[0\]: "), ({"tools": [{"function": {"name": "a", "returns": {}}}]}, r"tools\[0\].function.returns: not a field"),
    ({"tool_choice": "any"}, 'tool_choice: expected "auto", .* found \'any\''), ({"tool_choice": {"type": "function"}}, "tool_choice: expected"),
    ({"tools": [ADD], "tool_choice": ALLOWED}, "tool_choice: allows 'now', which is none of the tools"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["x"]}}}, "tool_choice.allowed_tools.tools: expected"),
    ({"response_format": "json"}, "response_format: expected"), ({"response_format": {"type": "xml"}}, "response_format: expected .* found .*xml"),
    ({"response_format": {"type": "json_schema"}}, "response_format: expected"), ({"logit_bias": [1]}, r"logit_bias: expected \{token id: bias\}, found \[1\]"),
    ({"logit_bias": {"x": 1}}, "logit_bias: "), ({"thinking": "yes"}, "thinking: expected"), ({"thinking": {"type": "perhaps"}}, "thinking.type: expected"),
    ({"documents": "x"}, "documents: expected a list"), ({"sampling": 1}, "sampling"), ({"tool_name": {}}, "tool_name: not a field")]


@pytest.mark.parametrize("fields, wanted", MISTAKES, ids=str)
def test_a_mistake_in_a_field_is_named_before_anything_is_sent(fields, wanted):
    with pytest.raises(ValueError, match=f"^{wanted}"):
        fill(pb.ChatRequest(), fields)


@pytest.mark.parametrize("name", ["tools", "tool_choice", "thinking", "documents", "chat_template_kwargs"])
def test_a_completion_has_no_fields_of_a_chat(name):
    with pytest.raises(ValueError, match=f"{name}: not a field"):
        fill(pb.GenerateRequest(), {name: {}})


def test_where_the_fields_of_http_stand_in_the_messages():
    request = fill(pb.ChatRequest(), {
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NOW]}}, "tools": [{**ADD, "function": {**ADD["function"], "strict": True}}, NOW],
        "parallel_tool_calls": False, "documents": [{"title": "a", "text": "é"}], "chat_template_kwargs": {"lang": "de"}, "n": 2, "user": "u",
        "response_format": {"type": "json_schema", "schema": {"b": 1, "a": 2}}, "logit_bias": {"5": -1, 6: 2.5}, "top_p": 0.5, "stop_token_ids": [7]})
    assert [tool.name for tool in request.tools] == ["now"] and request.tool_choice == pb.TOOL_CHOICE_AUTO
    assert request.HasField("parallel_tool_calls") and not request.parallel_tool_calls
    assert list(request.documents) == ['{"title": "a", "text": "é"}'] and request.chat_template_kwargs == '{"lang": "de"}' and request.n == 2 and request.user == "u"
    assert request.response_format.json_schema == '{"b": 1, "a": 2}', "properties come in the order of the schema"
    assert dict(request.sampling.logit_bias) == {5: -1, 6: 2.5} and request.sampling.top_p == 0.5 and list(request.stopping.stop_token_ids) == [7]
    named = fill(pb.ChatRequest(), {"tools": [{**ADD, "function": {**ADD["function"], "strict": True}}], "tool_choice": NAMED})
    assert (named.tool_choice, named.tool_name) == (pb.TOOL_CHOICE_NAMED, "add")
    assert named.tools[0].strict and json.loads(named.tools[0].parameters_json_schema) == SUM and named.tools[0].description == "Adds two numbers."


def test_where_a_message_of_http_stands():
    message, = chat_messages([{"role": "assistant", "content": None, "reasoning_content": "hm", "refusal": None,
                               "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}])
    assert (message.content, message.reasoning_content) == ("", "hm")
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == [("c", "add", '{"a": 1}')]
    for wrong, named in (({"content": [{"type": "image_url", "image_url": {}}]}, r"content\[0\]: expected a text or text parts"), ({"content": 5}, "content: expected a text"),
                         ({"tool_calls": "x"}, "tool_calls: expected a list"), ({"tool_calls": [{"name": "add"}]}, r"tool_calls\[0\].function: expected")):
        with pytest.raises(ValueError, match=rf"messages\[0\].{named}"):
            chat_messages([{"role": "user", **wrong}])
