# SPDX-License-Identifier: Apache-2.0
"""The demo model through the whole product: the 500 questions that were kept out of training, asked over HTTP, 32 at a time."""

import concurrent.futures
import json
import os
import re
import urllib.request

from hadal_process import PATIENCE


def ask(server, question):
    body = json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0}).encode()
    request = urllib.request.Request(server.url + "/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["choices"][0]["message"]


def test_at_least_98_percent_of_the_kept_out_questions_are_right(server):
    path = os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo/heldout.jsonl")
    with open(path, encoding="utf-8") as lines:
        questions = [json.loads(line) for line in lines]
    assert len(questions) == 500
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda q: ask(server, q["question"]), questions))
    wrong = []
    for question, answer in zip(questions, answers):
        numbers = re.findall(r"-?\d+", answer["content"].replace("−", "-"))
        if not numbers or int(numbers[-1]) != question["answer"]:
            wrong.append((question["question"], question["answer"], answer["content"]))
        assert answer["reasoning_content"], "the carries are shown while it thinks"
    assert len(wrong) <= 10, wrong
    server.wait_idle()


def test_it_greets_and_says_what_it_is(server):
    assert "hello" in ask(server, "hello")["content"].lower()
    assert "demo" in ask(server, "who are you?")["content"].lower()
    assert "我" in ask(server, "你是谁")["content"]
