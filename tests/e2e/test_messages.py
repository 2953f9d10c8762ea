# SPDX-License-Identifier: Apache-2.0
"""Anthropic's API with its own client, sync, async and streaming, and as plain HTTP, against a real server."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import anthropic
import pytest

from hadal_process import filled
from http_client import ASK, post

MODEL = "hadal-demo"
ADD = {"name": "add", "description": "Adds two numbers.", "strict": True,
       "input_schema": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99},
                                                          "b": {"type": "integer", "minimum": 0, "maximum": 99}},
                        "required": ["a", "b"], "additionalProperties": False}}


def options_of(server, **options):
    return {"base_url": server.url, "api_key": "none", "max_retries": 0, "timeout": 60, **options}


@pytest.fixture
def claude(server):
    return anthropic.Anthropic(**options_of(server))


# The client has no argument for it any more; the API has.
GREEDY = {"temperature": 0}


def ask(client, extra_body=None, **fields):
    return client.messages.create(**{"model": MODEL, "max_tokens": 300, "messages": ASK, "extra_body": {**GREEDY, **(extra_body or {})}, **fields})


def test_a_message_has_thinking_text_and_usage(claude, client):
    message = ask(claude)
    assert message.type == "message" and message.role == "assistant" and message.model == MODEL and message.id.startswith("msg_")
    thinking, text = message.content
    assert thinking.type == "thinking" and thinking.thinking and thinking.signature
    assert text.type == "text" and text.text.strip().endswith("42")
    assert message.stop_reason == "end_turn" and message.stop_sequence is None
    assert message._request_id
    same = client.chat.completions.create(model=MODEL, messages=ASK, extra_body=GREEDY)
    assert same.choices[0].message.content == text.text and same.choices[0].message.reasoning_content == thinking.thinking
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == same.usage.prompt_tokens
    assert usage.output_tokens == same.usage.completion_tokens
    assert usage.output_tokens_details.thinking_tokens == same.usage.completion_tokens_details.reasoning_tokens


def test_the_stream_helper_builds_the_same_message(claude):
    whole = ask(claude)
    with claude.messages.stream(model=MODEL, max_tokens=300, messages=ASK, extra_body=GREEDY) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert [block.to_dict(exclude_none=True) for block in final.content] == [block.to_dict(exclude_none=True) for block in whole.content]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert {"thinking", "signature", "text"} <= set(kinds)


def test_the_async_client_answers_and_streams(server):
    async def run():
        async with anthropic.AsyncAnthropic(**options_of(server)) as client:
            whole = await client.messages.create(model=MODEL, max_tokens=300, messages=ASK, extra_body=GREEDY)
            async with client.messages.stream(model=MODEL, max_tokens=300, messages=ASK, extra_body=GREEDY) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            raw = await client.messages.create(model=MODEL, max_tokens=300, messages=ASK, extra_body=GREEDY, stream=True)
            names = [event.type async for event in raw]
            return whole, text, names

    whole, text, names = asyncio.run(run())
    assert text == whole.content[-1].text and names[0] == "message_start" and names[-1] == "message_stop"


def test_a_round_of_tools(claude):
    first = ask(claude, tools=[ADD], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    use = next(block for block in first.content if block.type == "tool_use")
    assert first.stop_reason == "tool_use" and use.name == "add" and set(use.input) == {"a", "b"}
    with claude.messages.stream(model=MODEL, max_tokens=300, messages=ASK, extra_body=GREEDY, tools=[ADD],
                                tool_choice={"type": "tool", "name": "add"}) as stream:
        streamed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert streamed.name == "add" and all(isinstance(value, int) for value in streamed.input.values())
    # The client sends back what it got, thinking with its signature included.
    turns = [*ASK, {"role": "assistant", "content": first.content},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "42"}]}]
    second = ask(claude, tools=[ADD], messages=turns, max_tokens=20)
    assert second.stop_reason in ("end_turn", "max_tokens", "tool_use")
    count = claude.messages.count_tokens(model=MODEL, messages=turns, tools=[ADD])
    assert count.input_tokens == second.usage.input_tokens + second.usage.cache_read_input_tokens
    with pytest.raises(anthropic.BadRequestError, match="other"):
        ask(claude, tools=[ADD], messages=[*turns[:2], {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "other", "content": "42"}]}])


def test_thinking_that_comes_back_changed_is_refused(claude):
    content = [block.to_dict() for block in ask(claude).content]
    again = [{"role": "user", "content": "and 1"}]
    assert ask(claude, messages=[*ASK, {"role": "assistant", "content": content}, *again], max_tokens=1)
    content[0]["thinking"] += "!"
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        ask(claude, messages=[*ASK, {"role": "assistant", "content": content}, *again])


def test_system_stop_sequences_and_structured_output(claude):
    plain = ask(claude, system=[{"type": "text", "text": "Be brief."}])
    text = plain.content[-1].text
    stop = text.strip()[-1]
    cut = ask(claude, system="Be brief.", stop_sequences=["never", stop])
    assert cut.stop_reason == "stop_sequence" and cut.stop_sequence == stop
    assert cut.content[-1].text == text.split(stop)[0] if cut.content[-1].type == "text" else text.startswith(stop)
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["sum"], "additionalProperties": False}
    formatted = ask(claude, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert set(json.loads(formatted.content[-1].text)) == {"sum"}


def test_each_error_is_the_clients_exception(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(claude, model="nobody")
    assert caught.value.type == "not_found_error" and caught.value.error_code == "MODEL_NOT_FOUND"
    with pytest.raises(anthropic.BadRequestError, match="`temperature` is 3; it must be from 0 to 2") as caught:
        ask(claude, extra_body={"temperature": 3})
    assert caught.value.type == "invalid_request_error" and caught.value.error_code == "OUT_OF_RANGE"
    with pytest.raises(anthropic.BadRequestError, match="`stop_sequences` holds 17 strings; at most 16 are allowed"):
        ask(claude, stop_sequences=["x"] * 17)
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        ask(claude, max_tokens=1 << 20)
    with pytest.raises(anthropic.BadRequestError, match=r"`messages\[0\].content\[0\]` is a block of type \"image\""):
        ask(claude, messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}])
    assert caught.value.request_id and caught.value.response.headers["x-should-retry"] == "false"


def test_a_busy_server_is_an_overloaded_error_that_the_client_waits_for(start_server):
    server = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    with filled(server):
        with pytest.raises(anthropic.InternalServerError) as caught:
            ask(anthropic.Anthropic(**options_of(server)))
        assert caught.value.status_code == 503 and caught.value.type == "overloaded_error"
        assert caught.value.error_code == "CONNECTION_QUEUE_FULL"
        headers = caught.value.response.headers
        assert headers["x-should-retry"] == "true" and int(headers["retry-after"]) >= 1
    # The client comes back by itself at the time that it was told.
    with ThreadPoolExecutor(1) as pool:
        with filled(server):
            refused = server.metric("hadal_admission_rejections_total")
            patient = pool.submit(ask, anthropic.Anthropic(**options_of(server, max_retries=20)), max_tokens=5)
            while server.metric("hadal_admission_rejections_total") == refused:
                assert not patient.done(), patient.result()
                time.sleep(0.02)
        assert patient.result().stop_reason == "max_tokens"


def test_529_for_those_who_expect_it(start_server):
    server = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none",
                          "--overload-http-status=529")
    with filled(server), pytest.raises(anthropic.OverloadedError) as caught:
        ask(anthropic.Anthropic(**options_of(server)))
    assert caught.value.type == "overloaded_error" and int(caught.value.response.headers["retry-after-ms"]) >= 1000


def test_keys_in_x_api_key(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret acme\n")
    server = start_server(f"--api-key-file={keys}")
    assert ask(anthropic.Anthropic(**options_of(server, api_key="secret")), max_tokens=1)
    assert ask(anthropic.Anthropic(**options_of(server, api_key=None, auth_token="secret")), max_tokens=1)
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(anthropic.Anthropic(**options_of(server, api_key="wrong")))
    assert caught.value.type == "authentication_error"


def test_models_are_listed(claude):
    (model,) = claude.models.list().data
    assert model.id == model.display_name == MODEL and model.type == "model" and model.max_input_tokens == 2048
    assert claude.models.retrieve(MODEL).created_at == model.created_at
    assert model.capabilities.thinking.supported and not model.capabilities.image_input.supported


def test_plain_http(server):
    body = {"model": MODEL, "max_tokens": 300, "messages": ASK, "temperature": 0, "stream": True}
    status, headers, stream = post(server, "/v1/messages", body, {"anthropic-version": "2023-06-01", "x-api-key": "none"})
    assert status == 200 and headers["content-type"].startswith("text/event-stream") and headers["request-id"]
    names = [line.removeprefix("event: ") for line in stream.decode().splitlines() if line.startswith("event: ")]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"] and b"[DONE]" not in stream
    status, _, text = post(server, "/anthropic/v1/messages", {"messages": ASK})
    assert status == 400 and json.loads(text) == {"type": "error", "error": {
        "type": "invalid_request_error", "message": "`max_tokens` is missing: at most so many tokens are generated",
        "details": {"error_code": "INVALID_REQUEST", "param": "max_tokens"}}}
