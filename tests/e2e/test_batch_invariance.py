# SPDX-License-Identifier: Apache-2.0
"""In bf16 an answer's log-probabilities are equal to the last bit alone, after a prefix hit, in a crowd, and after preemption."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from test_dummy_families import complete, small_checkpoint

PROMPT = "12 + 34 = 46, 5 + 8 = 13, 77 - 8 = 69, " * 9  # longer than the blocks of V4, whose prefix cache counts in 128 tokens
FLAGS = ["--load-format=dummy", "--dtype=bfloat16", "--max-batch-size=16", "--max-batch-tokens=48", "--kv-block-tokens=16",
         "--batch-invariant"]


def logprobs(server, prompt=PROMPT, **fields):
    choice = complete(server, prompt, **fields)["choices"][0]
    return choice["text"], choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]


@pytest.mark.parametrize("checkpoint", ["DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-moe-16b", "DeepSeek-V3.1",
                                        "DeepSeek-V3.2", "DeepSeek-V4-Flash"])
def test_answers_do_not_depend_on_company(checkpoint, tmp_path, start_server):
    server = start_server(*FLAGS, "--memory-budget=512MiB", model=small_checkpoint(checkpoint, tmp_path))
    alone = logprobs(server)
    hits = server.metric("hadal_prefix_cache_hit_tokens_total")
    assert logprobs(server) == alone
    assert server.metric("hadal_prefix_cache_hit_tokens_total") > hits
    with ThreadPoolExecutor(16) as clients:
        crowd = [clients.submit(logprobs, server, PROMPT if i % 2 else f"{i} " + PROMPT[: 7 * i]) for i in range(16)]
        for i, answer in enumerate(crowd):
            assert i % 2 == 0 or answer.result() == alone


def budget_for(model, blocks):
    """--memory-budget with which the KV cache has so many blocks."""
    plan = subprocess.run([os.environ["HADAL_BINARY"], "plan", f"--model={model}", "--memory-budget=512MiB", *FLAGS[1:5]],
                          capture_output=True, text=True, check=True).stdout
    bytes_of = {name: int(re.search(rf"^{name}\b.*?(\d+) bytes", plan, re.MULTILINE)[1]) for name in ("weights", "workspace")}
    block = int(re.search(r"^cache per block +(\d+) bytes", plan, re.MULTILINE)[1])
    return sum(bytes_of.values()) + blocks * block


@pytest.mark.parametrize("checkpoint", ["DeepSeek-R1-Distill-Qwen-1.5B", "DeepSeek-V3.2"])
def test_answers_do_not_depend_on_preemption(checkpoint, tmp_path, start_server):
    """Five answers that grow to 13 blocks each in a cache of 48: a server without history leases half of what they may write."""
    model = small_checkpoint(checkpoint, tmp_path)
    budget = f"--memory-budget={budget_for(model, 48)}"
    prompts = [f"{i} + 34 = " + PROMPT[: 30 + i] for i in range(5)]
    # The text to stop at never comes, but could: else callers would have fixed the lengths, and all of them be leased.
    fields = dict(max_tokens=160, ignore_eos=True, stop="服务器不忙")
    server = start_server(*FLAGS, budget, model=model)
    alone = [logprobs(server, prompt, **fields) for prompt in prompts]
    assert server.metric("hadal_preemptions_total") == 0
    for _ in range(5):  # how many run at once is up to the machine
        server = start_server(*FLAGS, budget, model=model)
        with ThreadPoolExecutor(5) as clients:
            crowd = list(clients.map(lambda prompt: logprobs(server, prompt, **fields), prompts))
        assert crowd == alone
        if server.metric("hadal_preemptions_total") > 0:
            break
    assert server.metric("hadal_preemptions_total") > 0
    # The same tokens when nobody asks for logprobs.
    assert complete(server, prompts[4], logprobs=None, **fields)["choices"][0]["text"] == alone[4][0]
