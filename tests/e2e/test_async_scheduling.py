# SPDX-License-Identifier: Apache-2.0
"""Steps that are launched before the tokens of the step before are known: the same answers, and nothing is kept of what they waste."""

import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai

from hadal_process import PATIENCE

PROMPTS = [f"{a} + {b} = " for a, b in ((12, 34), (5, 8), (77, 11), (40, 2), (9, 90), (31, 13))]


def answers(server):
    """What a mix of callers gets at once: greedy and seeded, with stop strings, penalties, choices, a schema, log-probabilities."""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)

    def ask(i):
        fields = [{}, {"temperature": 0.8, "seed": 7}, {"stop": ["\n", "."]}, {"presence_penalty": 1.0}, {"n": 3, "seed": 3, "temperature": 1.0},
                  {"logprobs": 3}, {"extra_body": {"guided_regex": "[0-9]{1,4}"}}][i % 7]
        answer = client.completions.create(**{"model": "hadal-demo", "prompt": PROMPTS[i % 6], "max_tokens": 40, "temperature": 0, **fields})
        return [(c.text, c.finish_reason, c.logprobs and c.logprobs.token_logprobs) for c in answer.choices], answer.usage.completion_tokens

    with ThreadPoolExecutor(8) as callers:
        return list(callers.map(ask, range(42)))


def test_answers_and_usage_are_those_of_steps_that_wait(start_server):
    waiting = answers(start_server("--async-scheduling=off"))
    server = start_server("--async-scheduling=on")
    assert answers(server) == waiting
    assert server.metric("hadal_discarded_rows_total") > 0, "answers ended by a token, and no row was computed for nothing"
    server.wait_idle()
    assert server.metric('hadal_kv_blocks{state="leased"}') == 0


def test_callers_that_hang_up_leave_no_block_behind(start_server):
    server = start_server("--async-scheduling=on", "--max-batch-size=4")

    def hang_up(i):
        body = json.dumps({"model": "hadal-demo", "prompt": PROMPTS[i % 6], "max_tokens": 500, "ignore_eos": True, "stream": True}).encode()
        request = urllib.request.Request(server.url + "/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as stream:
            for _ in range(1 + i % 5):
                stream.readline()

    callers = [threading.Thread(target=hang_up, args=(i,)) for i in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    server.wait_idle()
    assert server.metric('hadal_kv_blocks{state="leased"}') == 0
    assert server.metric("hadal_generation_tokens_total") > 0
