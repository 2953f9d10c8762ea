# SPDX-License-Identifier: Apache-2.0
"""Requests that are legal and rare, with the packages that people use: several streamed choices, stops inside characters, texts that are no Unicode, recursive schemas, calls that are cut off."""

import json

import anthropic
import ollama
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from http_client import ASK, post

MODEL = "hadal-demo"
CHAT = "/v1/chat/completions"
# The demo model knows no tools: with little thought it makes something up, which is all that is needed here.
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}}
TOOLS = [{"type": "function", "function": {**ADD, "strict": True}}]
CHINESE = [{"role": "user", "content": "你是谁？"}]


class Pair(BaseModel):
    first: int
    second: bool


class Node(BaseModel):
    value: int
    next: "Node | None"


@pytest.fixture
def claude(server):
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60)


@pytest.fixture
def chat(client):
    """chat(**fields): an answer of the openai package."""
    return lambda **fields: client.chat.completions.create(**{"model": MODEL, "messages": ASK, "temperature": 0, **fields})


def chunks_of(stream, choice):
    return [chunk.choices[0] for chunk in stream if chunk.choices and chunk.choices[0].index == choice]


def text_of(choices):
    return "".join(choice.delta.content or "" for choice in choices)


def test_streamed_choices_are_those_of_the_whole_answer_and_are_counted_together(chat):
    options = {"messages": CHINESE, "n": 4, "temperature": 2, "seed": 5, "max_tokens": 60, "logprobs": True}
    whole = chat(**options)
    stream = list(chat(**options, stream=True, stream_options={"include_usage": True}))
    assert stream[-1].choices == [] and stream[-1].usage == whole.usage and all(chunk.usage is None for chunk in stream[:-1])
    assert len({choice.message.content + choice.message.reasoning_content for choice in whole.choices}) > 1
    for choice in whole.choices:
        chunks = chunks_of(stream, choice.index)
        assert text_of(chunks) == (choice.message.content or "")
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [choice.finish_reason]
        assert [token for chunk in chunks for token in (chunk.logprobs and chunk.logprobs.content or [])] == choice.logprobs.content


def test_a_stop_begins_and_ends_inside_the_tokens_of_a_text(chat):
    text = chat(messages=CHINESE).choices[0].message.content
    assert "演示模型" in text  # one token, so that a part of it begins and ends nowhere
    for stop in ("示模", "个", "演"):
        options = {"messages": CHINESE, "stop": ["\U0001f600", stop]}
        answer = chat(**options).choices[0]
        assert (answer.message.content, answer.finish_reason) == (text[:text.index(stop)], "stop")
        assert text_of(chunks_of(chat(**options, stream=True), 0)) == answer.message.content


def test_the_bytes_of_the_tokens_are_those_of_the_text(chat):
    choice = chat(messages=CHINESE, logprobs=True, top_logprobs=20).choices[0]
    text = bytes(byte for token in choice.logprobs.content for byte in token.bytes).decode()
    assert text.lstrip("\n") == choice.message.content  # the lines between thought and text are tokens, and no part of it
    assert all(len(token.top_logprobs) == 20 for token in choice.logprobs.content)


def test_names_and_developers_change_nothing_and_odd_texts_pass(server, chat):
    system = chat(messages=[{"role": "system", "content": "Be brief."}, *ASK])
    developer = chat(messages=[{"role": "developer", "content": "Be brief.", "name": "ops"}, {**ASK[0], "name": "ann"}])
    assert (developer.usage.prompt_tokens, developer.choices[0].message) == (system.usage.prompt_tokens, system.choices[0].message)
    for text in (rb"a \ud83d b", rb"\udc00", rb"a\u0000b", rb"\ud83d\ude00", rb""):
        body = b'{"model":"hadal-demo","max_tokens":4,"messages":[{"role":"user","content":"' + text + b'"}]}'
        status, _, data = post(server, CHAT, body)
        assert status == 200, (text, data)
        json.loads(data)


@pytest.mark.parametrize("messages", [[], [{"role": "user"}], [{"role": "user", "content": None}], [{"role": "robot", "content": "x"}]])
def test_messages_that_say_nothing_are_refused_by_place(chat, messages):
    with pytest.raises(openai.BadRequestError) as error:
        chat(messages=messages)
    assert error.value.param.startswith("messages")


def test_images_are_refused_where_they_are_on_every_route(client, claude, server, chat):
    with pytest.raises(openai.BadRequestError, match=r"`messages\[0\].content\[1\]` is a part of type .image_url.; this server takes text only"):
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}])
    with pytest.raises(openai.BadRequestError, match=r"`input\[0\].content\[0\]` is a part of type .input_image."):
        client.responses.create(model=MODEL, input=[{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}]}])
    with pytest.raises(anthropic.BadRequestError, match=r"`messages\[0\].content\[0\]` is a block of type .image."):
        claude.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]}])
    with pytest.raises(ollama.ResponseError, match=r"`messages\[0\].images`"):
        ollama.Client(host=server.url).chat(MODEL, [{"role": "user", "content": "x", "images": [b"x"]}])


def test_more_tokens_than_there_are(client, chat, server):
    for call in (lambda: chat(max_tokens=10**9), lambda: client.responses.create(model=MODEL, input="1", max_output_tokens=10**9)):
        with pytest.raises(openai.BadRequestError) as error:
            call()
        assert error.value.code == "context_length_exceeded" and "2048" in error.value.message
    # The default of plain completions is a limit that nobody asked for.
    near = client.completions.create(model=MODEL, prompt=[5] * 2045, extra_body={"ignore_eos": True})
    assert (near.usage.completion_tokens, near.choices[0].finish_reason) == (3, "length")
    with pytest.raises(openai.BadRequestError, match="your prompt resulted in 2048 tokens"):
        client.completions.create(model=MODEL, prompt=[5] * 2048)
    # Ollama's clients set a limit without knowing the context.
    llama = ollama.Client(host=server.url, timeout=60)
    asked = {"model": MODEL, "messages": ASK}
    assert llama.chat(**asked, options={"temperature": 0, "num_predict": 10**9}).message == llama.chat(**asked, options={"temperature": 0}).message
    assert llama.chat(**asked, options={"num_predict": 2**31 - 1, "stop": ["x"]}, format="json").done
    with pytest.raises(ollama.ResponseError, match="maximum context length is 2048"):
        llama.chat(MODEL, [{"role": "user", "content": "1 + " * 3000}], options={"num_predict": 10**9})


def test_a_recursive_schema_holds(client, chat):
    answer = client.chat.completions.parse(model=MODEL, messages=ASK, temperature=0, response_format=Node, extra_body={"max_thinking_tokens": 2})
    assert isinstance(answer.choices[0].message.parsed, Node)
    parsed = client.responses.parse(model=MODEL, input="17 + 25", temperature=0, text_format=Node, extra_body={"max_thinking_tokens": 2})
    assert isinstance(parsed.output_parsed, Node)
    for schema in ({"$ref": "#/$defs/none"}, {"$ref": "http://example.com/x"}, {"type": "objekt"}):
        with pytest.raises(openai.BadRequestError, match=r"`response_format.json_schema.schema` at #/"):
            chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


def test_parallel_calls_are_streamed_one_after_the_other(chat):
    options = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 200, "n": 2, "extra_body": {"max_thinking_tokens": 2}}
    stream, ids = list(chat(**options, stream=True)), []
    for number in range(2):
        calls = {}
        for chunk in chunks_of(stream, number):
            for part in chunk.delta.tool_calls or []:
                if part.id is not None:
                    assert part.index == len(calls) and part.type == "function"
                    calls[part.index] = ""
                    ids.append(part.id)
                calls[part.index] += part.function.arguments
        assert len(calls) > 1
        for arguments in list(calls.values())[:-1]:
            assert set(json.loads(arguments)) == {"a"}
    assert len(set(ids)) == len(ids)
    assert len(chat(**options, parallel_tool_calls=False).choices[0].message.tool_calls) == 1


def test_a_call_that_is_cut_off_is_no_text(chat, client):
    """Wherever the limit falls; a header without its name was given out as text with the model's own markers."""
    cut = 0
    for limit in range(40, 90):
        options = {"tools": TOOLS, "tool_choice": "required", "max_tokens": limit, "extra_body": {"max_thinking_tokens": 2}}
        choice = chat(**options).choices[0]
        if len(choice.message.tool_calls or []) < 1:
            continue
        cut += choice.finish_reason == "length"
        assert not choice.message.content, (limit, choice.message.content)
        assert not text_of(chunks_of(chat(**options, stream=True), 0))
    assert cut > 20


def test_what_needs_a_memory_is_refused_and_null_is_nothing(client):
    with pytest.raises(openai.BadRequestError, match="`previous_response_id` is not offered: this server stores nothing"):
        client.responses.create(model=MODEL, input="1 + 1", previous_response_id="resp_1")
    answer = client.responses.create(model=MODEL, input="17 + 25", temperature=0, previous_response_id=None, conversation=None, truncation="auto", store=True, metadata={"a": "b"},
                                     include=["reasoning.encrypted_content"], max_tool_calls=3)
    assert answer.output_text.endswith("42") and answer.store is False


def test_results_of_parallel_calls_come_in_any_order_and_in_parts(chat, claude):
    calls = [{"id": name, "type": "function", "function": {"name": "add", "arguments": json.dumps({"a": 1})}} for name in ("c1", "c2")]
    results = [{"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "4"}]}, {"role": "tool", "tool_call_id": "c1", "content": "3"}]
    turn = {"role": "assistant", "content": None, "tool_calls": calls}
    assert chat(messages=[*ASK, turn, *results], tools=TOOLS, max_tokens=8).usage.completion_tokens > 0
    with pytest.raises(openai.BadRequestError, match='before the tool call "c1" has been answered'):
        chat(messages=[*ASK, turn, results[0]], tools=TOOLS)
    uses = [{"type": "tool_use", "id": name, "name": "add", "input": {"a": 1}} for name in ("c1", "c2")]
    answers = [{"type": "tool_result", "tool_use_id": "c2", "is_error": True}, {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "3"}]}]
    tools = [{"name": "add", "input_schema": ADD["parameters"]}]
    answer = claude.messages.create(model=MODEL, max_tokens=8, tools=tools, messages=[*ASK, {"role": "assistant", "content": uses}, {"role": "user", "content": answers}])
    assert answer.usage.output_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match='before the tool call "c1" has been answered by a tool_result block'):
        claude.messages.create(model=MODEL, max_tokens=8, tools=tools, messages=[*ASK, {"role": "assistant", "content": uses}, {"role": "user", "content": answers[:1]}])


def test_langchain_streams_calls_and_reads_recursive_schemas(server):
    chat = ChatOpenAI(model=MODEL, base_url=server.url + "/v1", api_key="none", temperature=0, max_tokens=200, max_retries=0, extra_body={"max_thinking_tokens": 2})
    whole = None
    for chunk in chat.bind_tools(TOOLS, tool_choice="required").stream("17 + 25"):
        whole = chunk if whole is None else whole + chunk
    assert len(whole.tool_calls) > 1 and all(call["name"] == "add" for call in whole.tool_calls)
    assert isinstance(chat.with_structured_output(Node, method="json_schema").invoke("17 + 25"), Node)
    # It leaves a recursion out of what it makes a function of.
    assert isinstance(chat.with_structured_output(Pair, method="function_calling").invoke("17 + 25"), Pair)
