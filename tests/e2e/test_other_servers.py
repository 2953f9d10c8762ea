# SPDX-License-Identifier: Apache-2.0
"""What users of other servers, and pages in a browser, expect to work as they know it."""

import json
import re
import urllib.request

import openai
import pytest

ASK = [{"role": "user", "content": "17 + 25"}]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)


def test_stop_strings_end_the_content_and_not_the_reasoning(client):
    def run(**fields):
        return client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, **fields).choices[0]

    whole = run()
    assert whole.message.reasoning_content and whole.message.content
    for stop in (["<"], ["</think>"], ["\n"], [whole.message.reasoning_content[:2]]):
        cut = run(stop=stop)
        assert cut.message.reasoning_content == whole.message.reasoning_content
        assert cut.message.content == whole.message.content.split(stop[0])[0]
    assert not run(stop=[whole.message.content[:1]]).message.content


def test_top_p_of_zero_is_greedy(client):
    def run(**fields):
        return client.chat.completions.create(model="hadal-demo", messages=ASK, **fields).choices[0].message.content

    assert {run(top_p=0, temperature=2) for _ in range(4)} == {run(temperature=0)}


def test_constraints_of_other_servers_are_done_or_refused(client):
    def run(**fields):
        return client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=300, extra_body=fields)

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for fields in ({"guided_json": schema}, {"structured_outputs": {"json": schema}}):
        choice = run(**fields).choices[0]
        assert choice.finish_reason == "length" or set(json.loads(choice.message.content)) == {"a"}
    for fields in ({"guided_choice": ["yes", "no"]}, {"structured_outputs": {"choice": ["yes", "no"]}}):
        assert run(**fields).choices[0].message.content in ("yes", "no")
    for fields in ({"guided_regex": r'"\d{2}[a-f]{1,3}\n'}, {"structured_outputs": {"regex": r'^"\d{2}[a-f]{1,3}\n$'}}):
        assert re.fullmatch(r'"\d{2}[a-f]{1,3}\n', run(**fields).choices[0].message.content)
    with pytest.raises(openai.BadRequestError) as caught:
        run(guided_regex=r"(?=a)b")
    assert caught.value.param == "guided_regex"
    for name, value in (("grammar", "root ::= x"), ("bad_words", ["x"]),
                        ("functions", [{"name": "f"}])):
        with pytest.raises(openai.BadRequestError) as caught:
            run(**{name: value})
        assert caught.value.param == name
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="hadal-demo", messages=[
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}])


def test_pages_may_ask(server):
    preflight = urllib.request.Request(server.url + "/v1/chat/completions", method="OPTIONS", headers={
        "Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type"})
    with urllib.request.urlopen(preflight, timeout=60) as answer:
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    stream = urllib.request.Request(
        server.url + "/v1/chat/completions", json.dumps({"messages": ASK, "max_tokens": 2, "stream": True}).encode(),
        headers={"Origin": "http://localhost:3000"})
    with urllib.request.urlopen(stream, timeout=60) as answer:
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
