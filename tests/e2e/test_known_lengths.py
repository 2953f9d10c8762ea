# SPDX-License-Identifier: Apache-2.0
"""A caller who leaves the model no way to end has fixed the length of the answer; leases and forecasts go by that."""

import contextlib

import openai
import pytest

# 38 blocks of 64 tokens.
FLAGS = ("--load-format=null:50ms", "--max-model-len=1024", "--max-batch-size=16", "--max-batch-tokens=256", "--memory-budget=2432KiB",
         "--wait-limits=none")


def test_memory_for_all_of_a_fixed_length_is_leased(start_server):
    server = start_server(*FLAGS)
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)

    def ask(tokens, **fields):
        return client.completions.create(model="hadal-demo", prompt="17 + 25", max_tokens=tokens, **fields)

    for _ in range(4):
        ask(8, n=8, stop="服务器不忙")  # usual answers are short
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(ask(700, stream=True, extra_body={"ignore_eos": True}))
        with pytest.raises(openai.InternalServerError) as refused:
            ask(700, extra_body={"ignore_eos": True})
        assert refused.value.body["code"] == "GPU_MEMORY_EXHAUSTED"
        with pytest.raises(openai.InternalServerError):
            ask(700, extra_body={"min_tokens": 650})
        assert ask(700, extra_body={"ignore_eos": True, "stop": ["t", "a", "e", " "]}).usage.completion_tokens < 700
    assert server.metric("hadal_preemptions_total") == 0
