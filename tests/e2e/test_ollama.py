# SPDX-License-Identifier: Apache-2.0
"""Ollama's API with its own client, sync, async and streaming, against a real server."""

import asyncio

import ollama
import pytest
from pydantic import BaseModel

from hadal_process import filled
from http_client import ASK

MODEL = "hadal-demo"
GREEDY = {"temperature": 0}


@pytest.fixture
def llama(server):
    return ollama.Client(host=server.url, timeout=60)


def test_a_chat_has_thinking_text_and_counts(llama, client):
    answer = llama.chat(MODEL, ASK, options=GREEDY)
    same = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    message = same.choices[0].message
    assert answer.message.content == message.content and answer.message.thinking == message.reasoning_content
    assert answer.done and answer.done_reason == "stop" and answer.model == MODEL
    assert answer.prompt_eval_count == same.usage.prompt_tokens and answer.eval_count == same.usage.completion_tokens
    assert answer.total_duration >= answer.prompt_eval_duration + answer.eval_duration > 0


def test_streams_are_the_same_answer(server, llama):
    whole = llama.chat(MODEL + ":latest", ASK, options=GREEDY)
    parts = list(llama.chat(MODEL, ASK, options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count

    async def stream():
        async with ollama.AsyncClient(host=server.url, timeout=60) as client:
            return [part async for part in await client.generate(MODEL, ASK[0]["content"], options=GREEDY, stream=True)]

    texts = asyncio.run(stream())
    assert "".join(part.response or "" for part in texts) == whole.message.content
    assert "".join(part.thinking or "" for part in texts) == whole.message.thinking


def test_generate_with_and_without_a_template(llama, client):
    assert "42" in llama.generate(MODEL, "17 + 25", system="Be brief.", options=GREEDY).response
    raw = llama.generate(MODEL, "The sum of", raw=True, options={**GREEDY, "num_predict": 8})
    same = client.completions.create(model=MODEL, prompt="The sum of", max_tokens=8, temperature=0)
    assert (raw.response, raw.done_reason, raw.thinking) == (same.choices[0].text, same.choices[0].finish_reason, None)
    cut = llama.generate(MODEL, "17 + 25", options={**GREEDY, "stop": ["2"], "seed": 1, "top_k": 3, "top_p": 0.9})
    assert "2" not in cut.response
    scored = llama.chat(MODEL, ASK, options=GREEDY, logprobs=True, top_logprobs=2)
    assert len(scored.logprobs) >= scored.eval_count - 1 and len(scored.logprobs[0].top_logprobs) == 2


def test_formats_hold(llama):
    class Sum(BaseModel):
        result: int

    answer = llama.chat(MODEL, ASK, format=Sum.model_json_schema(), options=GREEDY)
    assert Sum.model_validate_json(answer.message.content)
    assert llama.chat(MODEL, ASK, format="json", options={**GREEDY, "num_predict": 200}).message.content.startswith("{")


def test_a_round_of_tools(llama):
    def add(a: int, b: int) -> int:
        """Adds two numbers.

        Args:
          a (int): one
          b (int): the other
        """
        return a + b

    turns = [*ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 17, "b": 25}}}]},
             {"role": "tool", "tool_name": "add", "content": str(add(17, 25))}]
    answer = llama.chat(MODEL, turns, tools=[add], options={**GREEDY, "num_predict": 50})
    assert answer.done and answer.prompt_eval_count > llama.chat(MODEL, ASK, options={"num_predict": 1}).prompt_eval_count
    with pytest.raises(ollama.ResponseError, match='none of "other" is open'):
        llama.chat(MODEL, [*turns[:-1], {"role": "tool", "tool_name": "other", "content": "42"}], tools=[add])


def test_models_are_listed_and_shown(llama):
    (listed,) = llama.list().models
    (loaded,) = llama.ps().models
    assert listed.model == loaded.model == MODEL and listed.size > 0
    shown = llama.show(MODEL)
    assert "thinking" in shown.capabilities and shown.modelinfo[shown.modelinfo["general.architecture"] + ".context_length"] == 2048
    assert llama.generate(MODEL).done_reason == "load"


def test_what_cannot_be_done_is_said(llama):
    def refused(status, call, *arguments, **fields):
        with pytest.raises(ollama.ResponseError) as error:
            call(*arguments, **fields)
        assert error.value.status_code == status
        return error.value.error

    assert "`messages[0].images`" in refused(400, llama.chat, MODEL, [{"role": "user", "content": "x", "images": [b"x"]}])
    assert "`options.temperature`" in refused(400, llama.chat, MODEL, ASK, options={"temperature": 9})
    assert "none" in refused(404, llama.chat, "none", ASK)
    assert "embeddings" in refused(501, llama.embed, MODEL, "x")
    assert "started with" in refused(501, llama.pull, "llama3")


def test_a_full_server_refuses(start_server):
    server = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    with filled(server):
        with pytest.raises(ollama.ResponseError, match="服务器繁忙") as error:
            ollama.Client(host=server.url, timeout=60).chat(MODEL, ASK)
    assert error.value.status_code == 503
