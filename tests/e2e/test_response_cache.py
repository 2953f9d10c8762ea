# SPDX-License-Identifier: Apache-2.0
"""The response cache (docs/api.md): equal requests get the same answer without a run, over every API."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import subprocess
import time

import grpc
import openai
import pytest

from hadal_process import fill
from http_client import client_of, post

QUESTION = [{"role": "user", "content": "17 + 25"}]
BODY = {"messages": QUESTION, "temperature": 0, "max_tokens": 40}
USE = {"x-hadal-cache": "use"}


@pytest.fixture(scope="module")
def cached():
    from hadal_process import HadalProcess

    # Batch-invariant: what else runs changes no bit of a log-probability.
    with HadalProcess("--response-cache=memory", "--batch-invariant") as process:
        yield process


def ask(server, body, mode="use", path="/v1/chat/completions"):
    """(x-hadal-cache, message, usage) of an answer."""
    status, headers, data = post(server, path, body, {"x-hadal-cache": mode} if mode else {})
    assert status == 200, data
    answer = json.loads(data)
    choice = answer["choices"][0]
    return headers.get("x-hadal-cache"), choice.get("message", choice.get("text")), answer["usage"]


def test_openai_streams_and_wholes_share_an_answer(cached):
    client = client_of(cached)
    raw = client.chat.completions.with_raw_response.create(model="hadal-demo", messages=QUESTION, temperature=0, seed=1, extra_headers=USE)
    first = raw.parse()
    assert raw.headers["x-hadal-cache"] == "miss"
    raw = client.chat.completions.with_raw_response.create(model="hadal-demo", messages=QUESTION, temperature=0, seed=2, stream=True,
                                                           stream_options={"include_usage": True}, extra_headers=USE)
    assert raw.headers["x-hadal-cache"] == "hit"
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == first.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == first.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == first.usage.prompt_tokens
    assert chunks[0].id != first.id


def test_curl_sees_what_became_of_it(cached):
    def curl(mode):
        command = ["curl", "-sS", "-i", cached.url + "/v1/chat/completions", "-H", "content-type: application/json", "-H", f"x-hadal-cache: {mode}",
                   "-d", json.dumps({**BODY, "user": "curl"})]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.lower()

    assert "not_cached" in curl("only-if-cached") and " 504 " in curl("only-if-cached").splitlines()[0]
    assert "x-hadal-cache: miss" in curl("use")
    assert "x-hadal-cache: hit" in curl("max-age=60")
    assert "x-hadal-cache: miss" in curl("no-cache")
    assert "x-hadal-cache: hit" in curl("only-if-cached")
    assert "x-hadal-cache" not in curl("no-store")
    refused = curl("perhaps")
    assert " 422 " in refused.splitlines()[0] and "'perhaps'" in refused


def test_grpc_shares_answers_with_http(cached, stubs):
    stub = stubs.services.InferenceStub(grpc.insecure_channel(cached.target))
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="21 + 21")
    request.sampling.temperature = 0
    request.stopping.max_tokens = 40

    def call(mode):
        answer = stub.Chat(request, timeout=60, metadata=[("x-hadal-cache", mode)])
        text = "".join(part.text for part in answer)
        return text, dict(answer.trailing_metadata()).get("x-hadal-cache")

    text, result = call("use")
    assert result == "miss"
    assert call("use") == (text, "hit")
    over_http = ask(cached, {**BODY, "messages": [{"role": "user", "content": "21 + 21"}]})
    assert over_http[0] == "hit" and over_http[1]["content"] == text
    with pytest.raises(grpc.RpcError) as refused:
        request.messages[0].content = "never asked"
        call("only-if-cached")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_who_does_not_ask_and_what_may_differ_passes_it_by(cached):
    ask(cached, {**BODY, "user": "by"})
    assert ask(cached, {**BODY, "user": "by"}, mode=None)[0] is None
    assert ask(cached, {**BODY, "temperature": 1})[0] == "bypass"
    assert ask(cached, {**BODY, "temperature": 1, "seed": 4})[0] == "miss"
    assert ask(cached, {**BODY, "temperature": 1, "seed": 4})[0] == "hit"


REQUESTS = int(os.environ.get("HADAL_CACHE_REQUESTS", "100"))

# Each gives a request that differs from the others in that field; equal values are equal requests.
FIELDS = {
    "messages": lambda v: [{"role": "user", "content": f"{v % 7} + {v % 5}"}],
    "max_tokens": lambda v: 1 + v % 12,
    "min_tokens": lambda v: v % 2,
    "n": lambda v: 1 + v % 3,
    "stop": lambda v: [None, ["1"], ["2", "3"], ["23"]][v % 4],
    "seed": lambda v: v % 3,
    "temperature": lambda v: [0, 0.5, 1.5][v % 3],
    "top_p": lambda v: [1, 0.5][v % 2],
    "top_k": lambda v: [0, 2][v % 2],
    "repetition_penalty": lambda v: [1, 1.5][v % 2],
    "frequency_penalty": lambda v: [0, 1][v % 2],
    "logit_bias": lambda v: [None, {"20": 5}][v % 2],
    "logprobs": lambda v: bool(v % 2),
    "ignore_eos": lambda v: bool(v % 2),
    "thinking": lambda v: {"type": ["enabled", "disabled"][v % 2]},
    "max_thinking_tokens": lambda v: [None, 0, 2][v % 3],
    "response_format": lambda v: [None, {"type": "json_object"}][v % 2],
    "skip_special_tokens": lambda v: bool(v % 2),
    "user": lambda v: [None, "a"][v % 2],
}


def test_never_another_requests_answer(cached):
    """Random requests, most of which differ from one before in one field: what the cache gives is what a run gives.
    HADAL_CACHE_REQUESTS says how many; each is asked twice."""
    dice = random.Random(11)
    bodies = []
    for _ in range(REQUESTS):
        if bodies and dice.random() < 0.8:
            body = dict(dice.choice(bodies))
            field = dice.choice(list(FIELDS))
            body[field] = FIELDS[field](dice.randrange(60))
        else:
            body = {field: make(dice.randrange(60)) for field, make in FIELDS.items()}
        body["max_tokens"] = max(body["max_tokens"], body["min_tokens"])
        bodies.append(body)

    def answer(body, mode):
        status, headers, data = post(cached, "/v1/chat/completions", {k: v for k, v in body.items() if v is not None}, {"x-hadal-cache": mode})
        assert status == 200, data
        parsed = json.loads(data)
        return headers.get("x-hadal-cache"), parsed["choices"], {k: v for k, v in parsed["usage"].items() if k.endswith("_tokens") and "cache" not in k}

    seen = {"hit": 0, "miss": 0, "coalesced": 0}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            results = list(pool.map(lambda body: answer(body, "use"), bodies))
            truth = list(pool.map(lambda body: answer(body, "no-store"), bodies))
            for body, (result, *given), (_, *wanted) in zip(bodies, results, truth, strict=True):
                seen[result] += 1
                assert given == wanted, (result, body)
    assert seen["hit"] >= len(bodies), seen


def test_equal_requests_in_flight_run_once(start_server):
    server = start_server("--response-cache=memory", "--load-format=null:20ms")
    body = {"model": "hadal-demo", "prompt": "x", "max_tokens": 250, "ignore_eos": True, "temperature": 0}
    before = server.metric("hadal_generation_tokens_total")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(server, body, path="/v1/completions"), range(16)))
    results = [result for result, _, _ in answers]
    assert results.count("miss") == 1 and results.count("coalesced") >= 1, results
    assert len({text for _, text, _ in answers}) == 1
    assert {usage["completion_tokens"] for _, _, usage in answers} == {250}
    assert server.metric("hadal_generation_tokens_total") == before + 250
    server.wait_idle()


def test_followers_outlive_the_one_who_came_first(start_server):
    server = start_server("--response-cache=memory", "--load-format=null:20ms")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)

    def stream():
        return client.completions.create(model="hadal-demo", prompt="x", max_tokens=400, temperature=0, stream=True,
                                         extra_body={"ignore_eos": True}, extra_headers=USE)

    first = stream()
    next(iter(first))
    second = stream()
    pieces = iter(second)
    text = next(pieces).choices[0].text
    first.close()
    text += "".join(piece.choices[0].text for piece in pieces if piece.choices)
    assert server.metric('hadal_response_cache_lookups_total{result="coalesced"}') == 1
    hit = client.completions.with_raw_response.create(model="hadal-demo", prompt="x", max_tokens=400, temperature=0, extra_body={"ignore_eos": True},
                                                      extra_headers=USE)
    assert hit.headers["x-hadal-cache"] == "hit" and hit.parse().choices[0].text == text
    server.wait_idle()


def test_the_last_one_to_leave_ends_the_run(start_server):
    server = start_server("--response-cache=memory", "--load-format=null:20ms")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)
    streams = [client.completions.create(model="hadal-demo", prompt="x", max_tokens=2000, temperature=0, stream=True, extra_body={"ignore_eos": True},
                                         extra_headers=USE) for _ in range(3)]
    for stream in streams:
        next(iter(stream))
        stream.close()
    server.wait_idle()
    assert server.metric("hadal_generation_tokens_total") < 2000


def test_a_hit_is_served_while_the_server_refuses(start_server):
    server = start_server("--response-cache=memory", "--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    body = {"prompt": "17 + 25", "temperature": 0, "max_tokens": 8}
    first = ask(server, body, path="/v1/completions")
    held = fill(server)
    assert ask(server, body, path="/v1/completions") == ("hit", *first[1:])
    status, headers, _ = post(server, "/v1/completions", {**body, "prompt": "another"}, USE)
    assert status == 503 and headers["retry-after"]
    for connection in held:
        connection.close()
    server.wait_idle()


@pytest.mark.parametrize("shared", [False, True])
def test_tenants_share_answers_and_runs_only_where_that_is_allowed(start_server, tmp_path, shared):
    keys = tmp_path / "keys"
    keys.write_text("sk-a one\nsk-b two\n")
    server = start_server("--response-cache=memory", "--load-format=null:20ms", f"--api-key-file={keys}", *(["--response-cache-shared=true"] if shared else []))

    def ask_as(key, whole=True, **fields):
        """What became of it; unless `whole` the answer is not waited for."""
        body = {"prompt": "x", "max_tokens": 250, "ignore_eos": True, "temperature": 0, "stream": True, **fields}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **USE})
            answer = connection.getresponse()
            assert answer.status == 200
            assert not whole or answer.read().rstrip().endswith(b"data: [DONE]")
            return answer.headers["x-hadal-cache"]

    def at_once(*keys, **fields):
        with concurrent.futures.ThreadPoolExecutor(len(keys)) as pool:
            return sorted(pool.map(lambda key: ask_as(key, **fields), keys))

    assert at_once("sk-a", "sk-b") == (["coalesced", "miss"] if shared else ["miss", "miss"])
    assert at_once("sk-a", "sk-a", prompt="y") == ["coalesced", "miss"]
    assert ask_as("sk-b", prompt="y", whole=False) == ("hit" if shared else "miss")
    # These separate answers whoever may share them.
    assert [ask_as("sk-a", prompt="y", whole=False, **fields) for fields in ({}, {"user": "u"}, {"cache_salt": "s"})] == ["hit", "miss", "miss"]
    server.wait_idle()


def test_answers_are_too_old_after_their_time(start_server):
    ttl = 5
    server = start_server("--response-cache=memory", f"--response-cache-ttl={ttl}s")
    begin = time.monotonic()  # before the answer is made, whose age is counted from its end
    assert ask(server, BODY)[0] == "miss"
    while True:
        status, headers, _ = post(server, "/v1/chat/completions", BODY, {"x-hadal-cache": "only-if-cached"})
        age = time.monotonic() - begin
        if status == 504:
            break
        assert (status, headers["x-hadal-cache"]) == (200, "hit") and age < 60
        time.sleep(0.1)
    assert age >= ttl, "no answer is forgotten before its time"
    assert ask(server, BODY)[0] == "miss"


def test_a_stream_is_given_again_at_a_pace(start_server):
    server = start_server("--response-cache=memory", "--load-format=null:1ms", "--response-cache-replay-rate=100")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)

    def chunks():
        """(pieces, seconds from the request to the last)"""
        begin = time.monotonic()  # that of the first piece would depend on when this process gets to read it
        stream = client.completions.create(model="hadal-demo", prompt="x", max_tokens=60, temperature=0, stream=True, extra_body={"ignore_eos": True},
                                           extra_headers=USE)
        pieces = [(time.monotonic(), chunk.choices[0].text) for chunk in stream if chunk.choices]
        return [text for _, text in pieces], pieces[-1][0] - begin

    (first, _), (again, took) = chunks(), chunks()
    assert "".join(again) == "".join(first)
    # 60 tokens at 100 a second: no earlier, and one after the other.
    assert len(again) > 5 and took > 0.5
    assert server.metric('hadal_response_cache_lookups_total{result="hit_memory"}') == 1
