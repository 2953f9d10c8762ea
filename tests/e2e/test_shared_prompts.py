# SPDX-License-Identifier: Apache-2.0
"""Requests that begin with the same long prompt, on a server whose memory would not hold that prompt twice."""

import os
import re
import subprocess

from http_client import post, read_until, send_raw

MODEL = os.environ.get("HADAL_DEMO_MODEL", os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo"))
FLAGS = ("--load-format=null:50ms", "--max-batch-size=8", "--wait-limits=none")
COMPLETIONS = "/v1/completions"
BLOCK, PROMPT_BLOCKS = 64, 22


def blocks_of(server):
    return int(re.search(r'num_gpu_blocks="(\d+)"', server.get("/metrics")[1])[1])


def start_with(blocks, start_server):
    """A server whose KV cache has so many blocks: what else the budget is for is found by trying."""
    plan = subprocess.run([os.environ["HADAL_BINARY"], "plan", f"--model={MODEL}"], capture_output=True, text=True, check=True).stdout
    block_bytes = int(re.search(r"^cache per block +(\d+) bytes", plan, re.MULTILINE)[1])
    budget = 16 << 20
    for _ in range(10):
        server = start_server(*FLAGS, f"--memory-budget={budget}")
        if blocks_of(server) == blocks:
            return server
        budget += (blocks - blocks_of(server)) * block_bytes
    raise AssertionError(f"no budget gives {blocks} blocks")


def ask(first, own, tokens):
    """A completion whose prompt is PROMPT_BLOCKS blocks of one token and then its own: ids, so that nothing depends on the tokenizer."""
    return {"model": "hadal-demo", "prompt": [first] * (PROMPT_BLOCKS * BLOCK) + [own] * 5, "max_tokens": tokens, "ignore_eos": True}


def test_a_common_prompt_is_leased_once(start_server):
    server = start_with(40, start_server)  # one such prompt fits, two do not
    long = send_raw(server, COMPLETIONS, {**ask(10, 11, 600), "stream": True})
    read_until(long, b"data: ")  # its first token, so its prompt is in the cache
    for own in (12, 13, 14):
        status, _, body = post(server, COMPLETIONS, ask(10, own, 2))
        assert status == 200, body
    status, headers, body = post(server, COMPLETIONS, ask(20, 12, 2))
    assert (status, headers["x-hadal-reason"]) == (503, "GPU_MEMORY_EXHAUSTED"), body
    assert server.metric("hadal_requests_running") == 1, "the long answer has run all the while"
    assert server.metric('hadal_lease_prompt_blocks_total{kind="shared"}') == 3 * PROMPT_BLOCKS
    assert server.metric("hadal_preemptions_total") == 0
    long.close()
    server.wait_idle()
    assert post(server, COMPLETIONS, ask(20, 12, 2))[0] == 200, "all of it was given back"
