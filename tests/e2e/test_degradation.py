# SPDX-License-Identifier: Apache-2.0
"""The rungs of the degradation ladder for which memory is short. Those for a full queue: test_overload.py."""

import contextlib

import openai
import pytest

# 38 blocks of 64 tokens.
FLAGS = ("--load-format=null:10ms", "--max-model-len=1024", "--max-batch-size=16", "--max-batch-tokens=256", "--memory-budget=2432KiB",
         "--chat-template=deepseek-v3.1", "--wait-limits=none")
BODY = {"model": "hadal-demo", "messages": [{"role": "user", "content": "17 + 25"}], "max_tokens": 400}
LOW = {"x-hadal-priority": "low"}


def extra(thinking):
    # The text to stop at never comes, but could: else callers would have fixed the lengths, and the server learnt nothing of others.
    return {"ignore_eos": True, "stop": "服务器不忙", "chat_template_kwargs": {"thinking": thinking}}


@contextlib.contextmanager
def short_of_memory(server, client):
    """Answers with reasoning lease the memory until the block ends."""
    with contextlib.ExitStack() as stack:
        with pytest.raises(openai.InternalServerError) as refused:
            for _ in range(20):
                stream = client.chat.completions.create(**BODY, stream=True, extra_body=extra(True))
                stack.enter_context(stream)
        assert refused.value.body["code"] == "GPU_MEMORY_EXHAUSTED"
        yield
    server.wait_idle()


@pytest.fixture
def start(start_server):
    def start(*flags):
        server = start_server(*FLAGS, *flags)
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        for _ in range(4):  # which teach the server that reasoning takes long
            client.chat.completions.create(**{**BODY, "max_tokens": 300}, n=4, extra_body=extra(True))
            client.chat.completions.create(**{**BODY, "max_tokens": 8}, n=4, extra_body=extra(False))

        def ask(**headers):
            raw = client.chat.completions.with_raw_response.create(**BODY, extra_body=extra(True), extra_headers=headers)
            return raw.headers.get("x-hadal-degraded"), raw.parse()

        return server, client, ask

    return start


def refused(ask, **headers):
    with pytest.raises(openai.InternalServerError) as error:
        ask(**headers)
    return error.value.body["code"] == "GPU_MEMORY_EXHAUSTED" and int(error.value.response.headers["retry-after"]) >= 1


def test_low_classes_answer_without_reasoning(start):
    server, client, ask = start("--degrade-reasoning", "--degrade-max-tokens=16")
    with short_of_memory(server, client):
        assert refused(ask)
        assert refused(ask, **LOW, **{"x-hadal-allow-degraded": "0"})
        label, answer = ask(**LOW)
    assert label == "reasoning-effort"
    assert answer.usage.completion_tokens == 400, "as long as it was asked for"
    assert not getattr(answer.choices[0].message, "reasoning_content", None)
    assert ask(**LOW)[0] is None, "there is memory again"
    assert server.metric('hadal_degraded_total{rung="reasoning-effort"}') == 1
    assert server.metric('hadal_degraded_total{rung="max-tokens"}') == 0


def test_low_classes_get_fewer_tokens(start):
    server, client, ask = start("--degrade-max-tokens=16")
    with short_of_memory(server, client):
        assert refused(ask)
        assert refused(ask, **LOW, **{"x-hadal-allow-degraded": "0"})
        label, answer = ask(**LOW)
    assert label == "max-tokens"
    assert answer.usage.completion_tokens == 16 and answer.choices[0].finish_reason == "length"
    assert ask(**LOW)[0] is None, "there is memory again"
    assert server.metric('hadal_degraded_total{rung="max-tokens"}') == 1
