# SPDX-License-Identifier: Apache-2.0
"""The HTTP front with the real openai client, and with raw sockets where bytes matter, against a real server."""

import http.client
import json
import math
import signal
import socket
import threading
import time

import openai
import pytest

ASK = [{"role": "user", "content": "17 + 25"}]
# The demo model's context is 2048 tokens: long enough to be still running when a test looks.
LONG = {"messages": [{"role": "user", "content": "count"}], "max_tokens": 1500, "temperature": 0, "ignore_eos": True}
SHORTER = {**LONG, "max_tokens": 300}


def client_of(server, **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60, **options)


@pytest.fixture
def client(server):
    return client_of(server)


def post(server, path, body, headers=None, timeout=60):
    """(status, headers, body) of one POST."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    result = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return result


def send_raw(server, path, body):
    """A socket on which the request has been sent."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    data = json.dumps(body).encode()
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return sock


def read_until(sock, text):
    data = b""
    while text not in data:
        more = sock.recv(65536)
        assert more, f"the connection ended before {text!r}: {data[-500:]!r}"
        data += more
    return data


# --- answers ---

def test_chat_answers_with_reasoning_and_usage(client):
    answer = client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == "hadal-demo"
    assert choice.message.role == "assistant" and choice.message.content.strip().endswith("42")
    assert choice.message.reasoning_content
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert answer.system_fingerprint


def test_stream_equals_the_whole_answer(client):
    whole = client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0)
    chunks = list(client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({c.id for c in chunks}) == 1 and all(c.object == "chat.completion.chunk" for c in chunks)
    deltas = [c.choices[0].delta for c in chunks if c.choices]
    assert "".join(d.content or "" for d in deltas) == whole.choices[0].message.content
    reasoning = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert reasoning == whole.choices[0].message.reasoning_content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_ends_with_done_and_has_no_usage_unasked(server):
    status, headers, body = post(server, "/v1/chat/completions", {"messages": ASK, "stream": True, "temperature": 0})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert body.endswith(b"data: [DONE]\n\n")
    events = [json.loads(e[6:]) for e in body.decode().split("\n\n") if e.startswith("data: {")]
    assert all("usage" not in e for e in events)


def test_async_client_streams(server):
    import asyncio

    async def run():
        client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
        stream = await client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=0, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
        await client.close()
        return text

    assert asyncio.run(run()).strip().endswith("42")


def test_thinking_is_accepted_in_every_spelling(client):
    # The demo model's template always thinks; templates that know both modes are tested with the tokenizer.
    for extra in ({"thinking": {"type": "disabled"}}, {"chat_template_kwargs": {"thinking": True}}, {"thinking": None}):
        assert client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1, extra_body=extra).choices
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="hadal-demo", messages=ASK, extra_body={"thinking": {"type": "sometimes"}})


def test_choices_logprobs_and_seed(client):
    def run():
        return client.chat.completions.create(model="hadal-demo", messages=ASK, temperature=1, seed=5, n=3, logprobs=True,
                                              top_logprobs=2)

    answer = run()
    assert [c.index for c in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs.reasoning_content
        for token in choice.logprobs.content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 2 and token.bytes is not None
    assert [c.message.content for c in run().choices] == [c.message.content for c in answer.choices]


def test_stop_strings_cut_before_the_match(client):
    def run(**fields):
        return client.completions.create(model="hadal-demo", prompt="17 + 25 =", temperature=0, max_tokens=40,
                                         extra_body={"ignore_eos": True}, **fields)

    whole = run()
    text = whole.choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 2]
    cut = run(stop=[stop, "never"])
    assert stop and cut.choices[0].text == text.split(stop)[0]
    assert cut.choices[0].finish_reason == "stop" and whole.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens < whole.usage.completion_tokens == 40


def test_completions_of_text_ids_and_lists_agree(server, client):
    ids = json.loads(post(server, "/tokenize", {"prompt": "17 + 25"})[2])["tokens"]
    by_text = client.completions.create(model="hadal-demo", prompt="17 + 25", temperature=0)
    by_ids = client.completions.create(model="hadal-demo", prompt=ids, temperature=0)
    both = client.completions.create(model="hadal-demo", prompt=["17 + 25", "3 + 4"], temperature=0)
    assert by_text.object == "text_completion"
    assert by_text.choices[0].text == by_ids.choices[0].text == both.choices[0].text
    assert [c.index for c in both.choices] == [0, 1]
    assert by_text.usage.prompt_tokens == len(ids) and by_text.usage.completion_tokens <= 16
    streamed = client.completions.create(model="hadal-demo", prompt="17 + 25", temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == by_text.choices[0].text


def test_echo_scores_the_prompt_and_nothing_else(client):
    answer = client.completions.create(model="hadal-demo", prompt="17 + 25", echo=True, logprobs=3, max_tokens=0)
    choice = answer.choices[0]
    assert choice.text == "17 + 25" and choice.finish_reason == "length"
    scores = choice.logprobs
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == answer.usage.prompt_tokens
    assert scores.token_logprobs[0] is None and all(s <= 0 for s in scores.token_logprobs[1:])
    assert answer.usage.completion_tokens == 0


def test_fill_in_the_middle(client):
    answer = client.completions.create(model="hadal-demo", prompt="def f(", suffix="): pass", max_tokens=4)
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_token_ids_come_back_and_text_is_theirs(server):
    body = {"messages": ASK, "temperature": 0, "return_token_ids": True, "logprobs": True}
    answer = json.loads(post(server, "/v1/chat/completions", body)[2])
    choice = answer["choices"][0]
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    assert len(choice["token_ids"]) == answer["usage"]["completion_tokens"]
    text = json.loads(post(server, "/detokenize", {"tokens": choice["token_ids"], "skip_special_tokens": True})[2])["prompt"]
    assert text.endswith(choice["message"]["content"])


def test_prefix_cache_is_reported(client):
    long = [{"role": "user", "content": "3 + 4, " * 60}]
    first = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "e2e"})
    again = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "e2e"})
    other = client.chat.completions.create(model="hadal-demo", messages=long, max_tokens=1, extra_body={"cache_salt": "x"})
    assert first.usage.prompt_cache_hit_tokens == 0 and other.usage.prompt_cache_hit_tokens == 0
    assert again.usage.prompt_cache_hit_tokens > 0 and again.usage.prompt_cache_hit_tokens % 64 == 0
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_cache_hit_tokens


def test_simple_chat_models_version_health_metrics(server, client):
    status, _, body = post(server, "/v1/chat", {"prompt": "17 + 25", "temperature": 0})
    assert status == 200 and json.loads(body)["choices"][0]["message"]["content"].strip().endswith("42")
    models = client.models.list().data
    assert [m.id for m in models] == ["hadal-demo"] and models[0].max_model_len > 0
    assert client.models.retrieve("hadal-demo").id == "hadal-demo"
    assert json.loads(server.get("/version")[1])["version"]
    for path in ("/health", "/health/live", "/health/ready", "/health/startup"):
        assert server.get(path)[0] == 200, path
    assert server.metric('hadal_requests_total{route="/v1/chat",class="normal",http_code="200"') >= 0
    assert "hadal_requests_total" in server.get("/metrics")[1]


def test_old_model_names_choose_the_mode(client):
    for name in ("deepseek-chat", "deepseek-reasoner"):
        answer = client.chat.completions.create(model=name, messages=ASK, max_tokens=4)
        assert answer.model == name


# --- errors ---

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
    ("/v1/embeddings", b"{}", 404, "ROUTE_NOT_FOUND"),
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


# --- cancelling ---

def test_leaving_a_stream_frees_everything(server, client):
    for _ in range(4):
        stream = client.chat.completions.create(model="hadal-demo", stream=True,
                                                **{k: v for k, v in LONG.items() if k != "ignore_eos"},
                                                extra_body={"ignore_eos": True})
        for number, _ in enumerate(stream):
            if number == 3:
                break
        stream.close()
    server.wait_idle()


def test_leaving_a_whole_answer_frees_everything(server):
    sock = send_raw(server, "/v1/chat/completions", LONG)
    server.wait_metric("hadal_requests_running", 1)
    sock.close()
    server.wait_idle()


@pytest.fixture
def full_server(start_server):
    """A server whose batch has one slot, taken for long, and whose queue has two."""
    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--max-batch-size=1", "--max-queue-requests=2")
    # Three choices one after the other; their lease leaves memory for two more requests.
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "stream": True, "n": 3})
    read_until(sock, b"data: ")
    server.holder = sock
    yield server
    sock.close()
    server.wait_idle()


def test_leaving_the_queue_frees_the_place(full_server):
    for stream in (False, True):
        sock = send_raw(full_server, "/v1/chat/completions", {**SHORTER, "stream": stream})
        full_server.wait_metric("hadal_requests_waiting", 1)
        sock.close()
        full_server.wait_metric("hadal_requests_waiting", 0)


def test_a_full_queue_answers_503_with_hints(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)
    before = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        client_of(full_server).chat.completions.create(model="hadal-demo", messages=ASK)
    assert time.monotonic() - before < 2
    error = caught.value
    assert error.status_code == 503 and error.code == "CONNECTION_QUEUE_FULL" and error.type == "overloaded_error"
    assert "服务器繁忙" in error.message
    headers = error.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 1000 <= int(headers["retry-after-ms"]) <= 30000
    assert headers["x-should-retry"] == "true" and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL"
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert full_server.get(path)[0] == 200
    for sock in waiting:
        sock.close()


def test_the_clients_own_retries_succeed_once_there_is_room(full_server):
    waiting = [send_raw(full_server, "/v1/chat/completions", SHORTER) for _ in range(2)]
    full_server.wait_metric("hadal_requests_waiting", 2)
    # Everything that is in the way goes after half a second; the client comes back when it was told to.
    threading.Timer(0.5, lambda: [sock.close() for sock in [full_server.holder, *waiting]]).start()
    client = client_of(full_server).with_options(max_retries=2)
    before = time.monotonic()
    answer = client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=5)
    assert time.monotonic() - before >= 1  # the least hint
    assert answer.choices[0].finish_reason == "length"


def test_queued_streams_get_their_answer(start_server):
    server = start_server("--load-format=null:1ms", "--max-model-len=2048", "--max-batch-size=1")
    first = send_raw(server, "/v1/chat/completions", {**SHORTER, "stream": True})
    read_until(first, b"data: ")
    second = send_raw(server, "/v1/chat/completions", {"messages": ASK, "temperature": 0, "stream": True, "max_tokens": 5})
    server.wait_metric("hadal_requests_waiting", 1)
    assert read_until(second, b"[DONE]").startswith(b"HTTP/1.1 200")
    assert b"[DONE]" in read_until(first, b"[DONE]")


# --- slow readers, keys, drain ---

def test_a_slow_reader_is_dropped_and_others_are_served(start_server):
    server = start_server("--slow-reader-timeout=1s")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", server.port))
    body = json.dumps({**LONG, "stream": True, "n": 16, "logprobs": True, "top_logprobs": 20}).encode()
    sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    server.wait_metric("hadal_requests_running", 1)
    before = time.monotonic()
    assert post(server, "/v1/chat/completions", {"messages": ASK, "max_tokens": 20, "temperature": 0})[0] == 200
    assert time.monotonic() - before < 20
    server.wait_idle(timeout=60)
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

    ask("metered")
    with pytest.raises(openai.RateLimitError) as refused:
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
    with pytest.raises(RuntimeError, match=r"keys:2: expected 'key tenant \[class\] \[limit=N ...\]', found 1 words"):
        start_server(f"--api-key-file={keys}")


def test_sigterm_drains(start_server):
    server = start_server("--drain-timeout=60s")
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
    assert server.process.wait(30) == 0


def test_a_second_signal_shortens_the_drain(start_server):
    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--drain-timeout=60s")
    sock = send_raw(server, "/v1/chat/completions", {**LONG, "stream": True})  # 30 s when nobody interferes
    data = read_until(sock, b"data: ")
    server.signal(signal.SIGTERM)
    server.wait_metric("hadal_draining", 1)
    assert server.process.poll() is None
    second_at = time.monotonic()
    server.signal(signal.SIGINT)
    while more := sock.recv(65536):
        data += more
    assert b"insufficient_system_resource" in data
    assert server.process.wait(30) == 0
    assert 0.5 < time.monotonic() - second_at < 10


def test_a_signal_while_loading_ends_the_process(start_server):
    server = start_server(wait_ready=False)
    server.signal(signal.SIGINT)
    assert server.process.wait(30) == 0


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
    assert server.process.wait(30) == 0
