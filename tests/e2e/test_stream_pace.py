# SPDX-License-Identifier: Apache-2.0
"""Tokens reach the client as they are made, on both fronts, whatever their text is."""

import http.client
import json

import grpc
import pytest

from hadal_process import HadalProcess

TOKENS = 400
END = 1  # the end-of-sequence token, which has no text


def half_character(server):
    """The id of a token that is the first byte of a character, and no character."""
    body = json.dumps({"prompt": "\U0001F600", "add_special_tokens": False})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/tokenize", body, {"content-type": "application/json"})
    ids = json.load(connection.getresponse())["tokens"]
    assert len(ids) > 1
    return ids[0]


def over_grpc(server, stubs, bias):
    request = stubs.pb.GenerateRequest(text="17 + 25", return_token_ids=True)
    request.sampling.temperature = 1
    request.sampling.seed = 1
    for token, value in bias.items():
        request.sampling.logit_bias[token] = value
    request.stopping.max_tokens = TOKENS
    request.stopping.ignore_eos = True
    with grpc.insecure_channel(server.target) as channel:
        return [list(r.token_ids) for r in stubs.services.InferenceStub(channel).Generate(request, timeout=60)]


def over_http(server, stubs, bias):
    body = {"prompt": "17 + 25", "return_token_ids": True, "stream": True, "temperature": 1, "seed": 1, "max_tokens": TOKENS,
            "ignore_eos": True, "logit_bias": {str(token): value for token, value in bias.items()}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    events = []
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            events.append(json.loads(line[6:])["choices"][0].get("token_ids", []))
    return events


@pytest.fixture(scope="module")
def even_server():
    """Random weights: the scores are so close to each other that logit_bias alone decides."""
    with HadalProcess("--load-format=dummy") as process:
        yield process


@pytest.mark.parametrize("read", [over_grpc, over_http])
def test_tokens_without_text_do_not_wait_for_half_a_character(even_server, stubs, read):
    half = half_character(even_server)
    # Now and then half a character, and after each many tokens that cannot complete it.
    messages = [ids for ids in read(even_server, stubs, {END: 100, half: 97}) if ids]
    made = [token for ids in messages for token in ids]
    assert len(made) == TOKENS and set(made) == {END, half}
    # Tokens that wait for a character come with the token that ends the wait: every message would begin with a half. How
    # many tokens a message has is no proof, for a slow machine merges them.
    first = next(i for i, ids in enumerate(messages) if half in ids)
    assert any(ids[0] == END for ids in messages[first + 1:]), messages
