# SPDX-License-Identifier: Apache-2.0
"""Slow readers, keys and classes, and the end of the process as HTTP clients see it."""

import http.client
import json
import math
import signal
import socket
import time

import openai
import pytest

from hadal_process import PATIENCE
from http_client import ASK, LONG, client_of, post, read_until, send_raw
from redis_process import wait_for


def test_a_slow_reader_is_dropped_and_others_are_served(start_server):
    server = start_server("--slow-reader-timeout=1s")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", server.port))
    body = json.dumps({**LONG, "stream": True, "n": 16, "logprobs": True, "top_logprobs": 20}).encode()
    sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_for(lambda: server.metric("hadal_generation_tokens_total") > 0)
    assert post(server, "/v1/chat/completions", {"messages": ASK, "max_tokens": 20, "temperature": 0})[0] == 200
    server.wait_idle()
    server.wait_metric("hadal_slow_readers_total", 1)
    sock.close()


def test_quotas_of_a_key(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("metered acme tokens-per-minute=600 burst-tokens=40\nfree guests\n")
    server = start_server(f"--api-key-file={keys}")

    def client(key):
        return openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0)

    def ask(key):
        return client(key).completions.create(model="hadal-demo", prompt="one two three", max_tokens=64, extra_body={"ignore_eos": True})

    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(20):  # the second, unless the machine stands still for three seconds, which pay for it
            ask("metered")
    assert refused.value.code == "TENANT_QUOTA"
    assert "600 tokens a minute" in refused.value.message
    wait_ms = int(refused.value.response.headers["retry-after-ms"])
    assert 1000 <= wait_ms <= 10000  # about 27 tokens are owed at 10 a second
    assert int(refused.value.response.headers["retry-after"]) == math.ceil(wait_ms / 1000)
    ask("free")
    time.sleep(wait_ms / 1000)
    ask("metered")


def test_keys_and_classes(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-one acme\nsecret-low guests low\n")
    server = start_server(f"--api-key-file={keys}")
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(server).chat.completions.create(model="hadal-demo", messages=ASK)
    assert caught.value.code == "UNAUTHENTICATED"
    low = openai.OpenAI(base_url=server.url + "/v1", api_key="secret-low", max_retries=0)
    assert low.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        low.chat.completions.create(model="hadal-demo", messages=ASK, extra_headers={"x-hadal-priority": "high"})
    assert caught.value.code == "PERMISSION_DENIED"
    assert server.get("/v1/models")[0] == 401 and server.get("/health/ready")[0] == 200


def test_a_hash_inside_a_name_hides_nothing(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# teams\nkey1 team#7 low  # until May\n")
    server = start_server(f"--api-key-file={keys}")
    low = openai.OpenAI(base_url=server.url + "/v1", api_key="key1", max_retries=0)
    assert low.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1)
    with pytest.raises(openai.PermissionDeniedError):
        low.chat.completions.create(model="hadal-demo", messages=ASK, extra_headers={"x-hadal-priority": "normal"})
    keys.write_text("key1 team#7 low\nkey2\n")
    with pytest.raises(RuntimeError, match=r"keys:2: expected 'key tenant \[class\] .*, found 1 words"):
        start_server(f"--api-key-file={keys}")


def test_sigterm_drains(start_server):
    server = start_server("--load-format=null:5ms", "--max-model-len=32768", "--drain-timeout=10m")
    # As long as this one runs, so does the drain.
    holder = send_raw(server, "/v1/chat/completions", {**LONG, "max_tokens": 30000, "stream": True})
    read_until(holder, b"data: ")
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    kept.request("GET", "/v1/models")
    kept.getresponse().read()
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "max_tokens": 500, "stream": True})
    data = read_until(sock, b"data: ")
    server.signal(signal.SIGTERM)
    server.wait_metric("hadal_draining", 1)
    assert server.get("/health/ready")[0] == 503 and server.get("/health/live")[0] == 200
    status, headers, body = post(server, "/v1/chat/completions", {"messages": ASK})
    assert status == 503 and json.loads(body)["error"]["code"] == "DRAINING"
    assert headers["connection"] == "close" and 1 <= int(headers["retry-after"]) <= 30
    while b"[DONE]" not in data:  # what ran is finished
        more = sock.recv(65536)
        assert more, data[-300:]
        data += more
    holder.close()
    assert server.process.wait(PATIENCE) == 0


def test_a_second_signal_shortens_the_drain(start_server):
    server = start_server("--load-format=null:20ms", "--max-model-len=32768", "--drain-timeout=10m")
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "max_tokens": 30000, "stream": True})  # ten minutes when nobody interferes
    data = read_until(sock, b"data: ")
    server.signal(signal.SIGTERM)
    server.wait_metric("hadal_draining", 1)
    assert server.process.poll() is None
    second_at = time.monotonic()
    server.signal(signal.SIGINT)
    while more := sock.recv(65536):
        data += more
    assert b"insufficient_system_resource" in data
    assert server.process.wait(PATIENCE) == 0
    assert 0.5 < time.monotonic() - second_at < PATIENCE


def test_a_signal_while_loading_ends_the_process(start_server):
    server = start_server(wait_ready=False)
    server.signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0


def test_a_drain_that_takes_too_long_says_so(start_server):
    server = start_server("--drain-timeout=200ms")
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "stream": True, "n": 8})
    data = read_until(sock, b"data: ")
    server.signal(signal.SIGTERM)
    while True:
        more = sock.recv(65536)
        if not more:
            break
        data += more
    assert b"insufficient_system_resource" in data or b"INSUFFICIENT_SYSTEM_RESOURCE" in data
    assert server.process.wait(PATIENCE) == 0


def test_prompts_longer_than_a_step_are_served_in_chunks(start_server):
    server = start_server("--max-batch-tokens=16")
    body = {"prompt": [20 + i % 500 for i in range(700)], "max_tokens": 2, "temperature": 0}
    status, _, answer = post(server, "/v1/completions", body)
    assert status == 200, answer
    assert json.loads(answer)["usage"]["prompt_tokens"] == 700
