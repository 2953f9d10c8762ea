# SPDX-License-Identifier: Apache-2.0
"""What the HTTP front refuses, and how the real openai client and plain HTTP see it."""

import json
import socket

import openai
import pytest

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


def test_large_bodies_are_refused_before_they_are_read(start_server):
    server = start_server("--max-body=100000")
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000000\r\n\r\n")
    assert b" 413 " in read_until(sock, b"BODY_TOO_LARGE")
    sock.close()
    status, _, body = post(server, "/v1/chat/completions", b" " * 3000000)
    assert status == 413 and json.loads(body)["error"]["code"] == "BODY_TOO_LARGE"
    assert post(server, "/v1/chat/completions", {"messages": ASK, "max_tokens": 1})[0] == 200
