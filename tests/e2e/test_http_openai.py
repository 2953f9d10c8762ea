# SPDX-License-Identifier: Apache-2.0
"""Answers of the HTTP front to the real openai client, against a real server."""

import json

import openai
import pytest

from http_client import ASK, post


def test_chat_answers_with_reasoning_and_usage(client):
    answer = client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == "hadal-demo"
    assert choice.message.role == "assistant" and choice.message.content.strip().endswith("42")
    assert choice.message.reasoning_content
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert answer.system_fingerprint


def test_stream_equals_the_whole_answer(client):
    whole = client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0)
    chunks = list(client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({c.id for c in chunks}) == 1 and all(c.object == "chat.completion.chunk" for c in chunks)
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert "".join(d.content or "" for d in deltas) == whole.choices[0].message.content
    reasoning = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert reasoning == whole.choices[0].message.reasoning_content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_ends_with_done_and_has_no_usage_unasked(server):
    status, headers, body = post(server, "/v1/chat/completions", {"messages": ASK, "stream": True, "temperature": 0})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert body.endswith(b"data: [DONE]\n\n")
    events = [json.loads(e[6:]) for e in body.decode().split("\n\n") if e.startswith("data: {")]
    assert all("usage" not in e for e in events)


def test_async_client_streams(server):
    import asyncio

    async def run():
        client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        stream = await client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
        await client.close()
        return text

    assert asyncio.run(run()).strip().endswith("42")


def test_thinking_is_accepted_in_every_spelling(client):
    # The demo model's template always thinks; templates that know both modes are tested with the tokenizer.
    for extra in ({"thinking": {"type": "disabled"}}, {"chat_template_kwargs": {"thinking": True}}, {"thinking": None}):
        assert client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1, extra_body=extra).choices
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="hadal-demo", messages=ASK, extra_body={"thinking": {"type": "sometimes"}})


def test_choices_logprobs_and_seed(client):
    def run():
        return client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=1, seed=5, n=3, logprobs=True,
                                              top_logprobs=2)

    answer = run()
    assert [c.index for c in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs.reasoning_content
        for token in choice.logprobs.content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 2 and token.bytes is not None
    assert [c.message.content for c in run().choices] == [c.message.content for c in answer.choices]


def test_stop_strings_cut_before_the_match(client):
    def run(**fields):
        return client.completions.create(model="hadal-demo", prompt="17 + 25 =", temperature=0, max_tokens=40,
                                         extra_body={"ignore_eos": True}, **fields)

    whole = run()
    text = whole.choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 2]
    cut = run(stop=[stop, "never"])
    assert stop and cut.choices[0].text == text.split(stop)[0]
    assert cut.choices[0].finish_reason == "stop" and whole.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens < whole.usage.completion_tokens == 40


def test_completions_of_text_ids_and_lists_agree(server, client):
    ids = json.loads(post(server, "/tokenize", {"prompt": "17 + 25"})[2])["tokens"]
    by_text = client.completions.create(model="hadal-demo", prompt="17 + 25", temperature=0)
    by_ids = client.completions.create(model="hadal-demo", prompt=ids, temperature=0)
    both = client.completions.create(model="hadal-demo", prompt=["17 + 25", "3 + 4"], temperature=0)
    assert by_text.object == "text_completion"
    assert by_text.choices[0].text == by_ids.choices[0].text == both.choices[0].text
    assert [c.index for c in both.choices] == [0, 1]
    assert by_text.usage.prompt_tokens == len(ids) and by_text.usage.completion_tokens <= 16
    streamed = client.completions.create(model="hadal-demo", prompt="17 + 25", temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == by_text.choices[0].text


def test_echo_scores_the_prompt_and_nothing_else(client):
    answer = client.completions.create(model="hadal-demo", prompt="17 + 25", echo=True, logprobs=3, max_tokens=0)
    choice = answer.choices[0]
    assert choice.text == "17 + 25" and choice.finish_reason == "length"
    scores = choice.logprobs
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == answer.usage.prompt_tokens
    assert scores.token_logprobs[0] is None and all(s <= 0 for s in scores.token_logprobs[1:])
    assert answer.usage.completion_tokens == 0


def test_fill_in_the_middle(client):
    answer = client.completions.create(model="hadal-demo", prompt="def f(", suffix="): pass", max_tokens=4)
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_token_ids_come_back_and_text_is_theirs(server):
    body = {"messages": ASK, "temperature": 0, "return_token_ids": True, "logprobs": True}
    answer = json.loads(post(server, "/v1/chat/completions", body)[2])
    choice = answer["choices"][0]
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    assert len(choice["token_ids"]) == answer["usage"]["completion_tokens"]
    text = json.loads(post(server, "/detokenize", {"tokens": choice["token_ids"], "skip_special_tokens": True})[2])["prompt"]
    assert text.endswith(choice["message"]["content"])


def test_prefix_cache_is_reported(client):
    long = [{"role": "user", "content": "3 + 4, " * 60}]
    first = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "e2e"})
    again = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "e2e"})
    other = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "x"})
    assert first.usage.prompt_cache_hit_tokens == 0 and other.usage.prompt_cache_hit_tokens == 0
    assert again.usage.prompt_cache_hit_tokens > 0 and again.usage.prompt_cache_hit_tokens % 64 == 0
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_cache_hit_tokens


def test_simple_chat_models_version_health_metrics(server, client):
    status, _, body = post(server, "/v1/chat", {"prompt": "17 + 25", "temperature": 0})
    assert status == 200 and json.loads(body)["choices"][0]["message"]["content"].strip().endswith("42")
    models = client.models.list().data
    assert [m.id for m in models] == ["hadal-demo"] and models[0].max_model_len > 0
    assert client.models.retrieve("hadal-demo").id == "hadal-demo"
    assert json.loads(server.get("/version")[1])["version"]
    for path in ("/health", "/health/live", "/health/ready", "/health/startup"):
        assert server.get(path)[0] == 200, path
    assert server.metric('hadal_requests_total{route="/v1/chat",class="normal",http_code="200"') >= 0
    assert "hadal_requests_total" in server.get("/metrics")[1]


def test_old_model_names_choose_the_mode(client):
    for name in ("deepseek-chat", "deepseek-reasoner"):
        answer = client.chat.completions.create(model=name, messages=ASK, max_tokens=4)
        assert answer.model == name
