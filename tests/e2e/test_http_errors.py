# SPDX-License-Identifier: Apache-2.0
"""What the HTTP front refuses, and how the real openai client and plain HTTP see it."""

import json
import socket

import openai
import pytest

from hadal_process import PATIENCE
from http_client import ASK, post, read_until


def test_each_error_is_the_clients_exception(server, client):
    def chat(**fields):
        return client.chat.completions.create(**{"model": "hadal-demo", "messages": ASK, **fields})

    with pytest.raises(openai.NotFoundError) as caught:
        chat(model="nobody")
    assert caught.value.code == "MODEL_NOT_FOUND" and caught.value.param == "model"
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        chat(temperature=3)
    assert caught.value.code == "OUT_OF_RANGE" and caught.value.param == "temperature"
    with pytest.raises(openai.UnprocessableEntityError):
        chat(n=17)
    with pytest.raises(openai.BadRequestError) as caught:
        chat(max_tokens=1 << 20)
    assert caught.value.code == "context_length_exceeded" and "maximum context length" in caught.value.message
    with pytest.raises(openai.BadRequestError):
        chat(messages=[])
    with pytest.raises(openai.BadRequestError):
        chat(messages=[{"role": "wizard", "content": "x"}])
    with pytest.raises(openai.BadRequestError):
        chat(stop=["x"] * 17)
    with pytest.raises(openai.APIStatusError) as caught:
        chat(tools=[{"type": "retrieval"}])
    assert caught.value.status_code == 501 and caught.value.code == "UNSUPPORTED"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize("path, body, status, code", [
    ("/v1/chat/completions", b"{broken", 400, "INVALID_REQUEST"),
    ("/v1/chat/completions", b"[]", 400, "INVALID_REQUEST"),
    ("/v1/chat/completions", b'{"messages":' + b"[" * 5000, 400, "INVALID_REQUEST"),
    ("/v1/chat/completions", b'{"messages": 5}', 422, "OUT_OF_RANGE"),
    ("/v1/chat/completions", b"\xff\xfe", 400, "INVALID_REQUEST"),
    ("/v1/embeddings", b"{}", 501, "UNSUPPORTED"),
    ("/v1/images/generations", b"{}", 501, "UNSUPPORTED"),
    ("/v1/audio/speech", b"{}", 501, "UNSUPPORTED"),
    ("/v1/nothing", b"{}", 404, "ROUTE_NOT_FOUND"),
    ("/v1/models", b"{}", 405, "METHOD_NOT_ALLOWED"),
    ("/v1/completions", b'{"prompt": [1, 100000000]}', 400, "INVALID_REQUEST"),
])
def test_errors_are_openai_objects(server, path, body, status, code):
    got, headers, text = post(server, path, body)
    error = json.loads(text)["error"]
    assert (got, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert headers["x-hadal-reason"] == code


@pytest.mark.parametrize("path, body, said", [
    ("/v1/chat/completions", b'{"temperature": NaN}', "line 1, column 17: `NaN` is no JSON value"),
    ("/v1/messages", b'{"max_tokens": 5,\n "messages": [],}', "line 2, column 17: expected a name in double quotes, found `}`"),
    ("/api/chat", b"{'model': 'x'}", "line 1, column 2: expected a name in double quotes or `}`, found `'`"),
    ("/v1/responses", b'{"input": "x", "text": {"format": {"type": "xml"}}}', '`text.format.type` is "xml"; it must be "text"'),
    ("/v1/responses", b'{"input": "x", "response_format": {"type": "text"}}', "`text.format` has this place here; response_format"),
    ("/v1/completions", b'{"prompt": ["a", 5]}', "`prompt[1]` must be a string or an array of token ids, not an integer"),
    ("/v1/chat/completions", b'{"max_completion_tokens": 0}', "`max_completion_tokens` is 0; it must be 1 or more"),
])
def test_errors_say_what_was_found_and_where(server, path, body, said):
    status, _, text = post(server, path, body)
    assert status in (400, 422) and said in json.dumps(json.loads(text)).replace('\\"', '"'), text


def test_an_emoji_cut_in_two_is_no_error(server):
    ask = {"model": "hadal-demo", "temperature": 0, "messages": [{"role": "user", "content": "17 + 25"}], "user": "\ud83d"}
    status, _, text = post(server, "/v1/chat/completions", json.dumps(ask).encode())
    assert status == 200 and json.loads(text)["choices"][0]["message"]["content"].endswith("42"), text


def test_large_bodies_are_refused_before_they_are_read(start_server):
    server = start_server("--max-body=100000")
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000000\r\n\r\n")
    assert b" 413 " in read_until(sock, b"BODY_TOO_LARGE")
    sock.close()
    status, _, body = post(server, "/v1/chat/completions", b" " * 3000000)
    assert status == 413 and json.loads(body)["error"]["code"] == "BODY_TOO_LARGE"
    assert post(server, "/v1/chat/completions", {"messages": ASK, "max_tokens": 1})[0] == 200
