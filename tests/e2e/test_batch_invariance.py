# SPDX-License-Identifier: Apache-2.0
"""In bf16 an answer's log-probabilities are equal to the last bit alone, after a prefix hit, and in a crowd."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from test_dummy_families import complete, small_checkpoint

PROMPT = "12 + 34 = 46, 5 + 8 = 13, 77 - 8 = 69, " * 9  # longer than the blocks of V4, whose prefix cache counts in 128 tokens


def logprobs(server, prompt=PROMPT):
    choice = complete(server, prompt)["choices"][0]
    return choice["text"], choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]


@pytest.mark.parametrize("checkpoint", ["DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-moe-16b", "DeepSeek-V3.1",
                                        "DeepSeek-V3.2", "DeepSeek-V4-Flash"])
def test_answers_do_not_depend_on_company(checkpoint, tmp_path, start_server):
    server = start_server("--load-format=dummy", "--dtype=bfloat16", "--memory-budget=512MiB", "--max-batch-size=16",
                          "--max-batch-tokens=48", "--kv-block-tokens=16", "--batch-invariant",
                          model=small_checkpoint(checkpoint, tmp_path))
    alone = logprobs(server)
    hits = server.metric("hadal_prefix_cache_hit_tokens_total")
    assert logprobs(server) == alone
    assert server.metric("hadal_prefix_cache_hit_tokens_total") > hits
    with ThreadPoolExecutor(16) as clients:
        crowd = [clients.submit(logprobs, server, PROMPT if i % 2 else f"{i} " + PROMPT[: 7 * i]) for i in range(16)]
        for i, answer in enumerate(crowd):
            assert i % 2 == 0 or answer.result() == alone

