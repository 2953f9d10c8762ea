# SPDX-License-Identifier: Apache-2.0
"""What other servers do badly when they are full (docs/overload.md): many more callers than there is room for.

HADAL_OVERLOAD_CONNECTIONS sets another number of callers, for long runs: 10000 needs `ulimit -n` above that.
"""

import asyncio
import collections
import json
import os

import grpc
import openai
import pytest

from hadal_process import fill

CONNECTIONS = int(os.environ.get("HADAL_OVERLOAD_CONNECTIONS", "1000"))
WAITING = 64
BODY = json.dumps({"model": "hadal-demo", "prompt": "x" * 200, "max_tokens": 20, "ignore_eos": True}).encode()
REQUEST = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


async def call(port, answers):
    """One request on a connection of its own that stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)).decode().lower()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 120)
    answers.append((int(head.split()[1]), headers, body))
    return writer


def test_a_crowd_is_answered_and_nothing_grows(start_server):
    """vLLM #2901, #16391: the queue has no bound there, and memory and latency follow the crowd."""
    server = start_server("--load-format=null:5ms", "--max-batch-size=8", f"--max-queue-requests={WAITING}", "--max-connections=20000")
    answers, waiting = [], []

    async def crowd():
        done = asyncio.Event()

        async def watch():
            while not done.is_set():
                text = (await asyncio.to_thread(server.get, "/metrics", timeout=120))[1]
                waiting.append(next(float(line.split()[1]) for line in text.splitlines() if line.startswith("hadal_requests_waiting ")))
                await asyncio.sleep(0.02)

        watcher = asyncio.create_task(watch())
        writers = await asyncio.gather(*(call(server.port, answers) for _ in range(CONNECTIONS)))
        done.set()
        await watcher
        for writer in writers:
            writer.close()

    before = server.resident_bytes()
    asyncio.run(crowd())
    assert len(answers) == CONNECTIONS
    counts = collections.Counter(status for status, _, _ in answers)
    assert set(counts) <= {200, 503} and counts[200] >= WAITING, counts
    assert max(waiting) <= WAITING
    for status, headers, body in answers:
        if status == 503:
            assert headers["x-hadal-reason"] and 1 <= int(headers["retry-after"]) <= 30
            assert "服务器繁忙" in json.loads(body)["error"]["message"]
    # An idle connection costs a few KiB; a queued body, prompt and stream would cost far more.
    assert server.resident_bytes() - before < (32 << 20) + CONNECTIONS * 16384
    server.wait_idle()


def test_the_degradation_ladder_is_labelled_and_can_be_forbidden(start_server, stubs):
    server = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none", "--degrade-cache=1MiB",
                          "--degrade-answer=Too many people are asking at the moment.")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)

    def ask(text, **headers):
        raw = client.chat.completions.with_raw_response.create(
            model="hadal-demo", messages=[{"role": "user", "content": text}], max_tokens=8, temperature=0, extra_headers=headers)
        return raw.headers.get("x-hadal-degraded"), raw.parse().choices[0].message.content

    label, first = ask("17 + 25")
    assert label is None
    held = fill(server)
    assert ask("17 + 25") == ("cache", first)
    assert ask("another question") == ("static", "Too many people are asking at the moment.")
    stream = client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Too many people are asking at the moment."
    with pytest.raises(openai.InternalServerError) as refused:
        ask("17 + 25", **{"x-hadal-allow-degraded": "0"})
    assert refused.value.status_code == 503 and refused.value.response.headers["retry-after"]

    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)]))
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="hi")
    call = stub.Chat(request, timeout=30)
    assert list(call)
    assert ("x-hadal-degraded", "static") in [tuple(pair) for pair in call.trailing_metadata()]
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Chat(request, timeout=30, metadata=[("x-hadal-allow-degraded", "0")]))
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE

    assert server.metric('hadal_degraded_total{rung="cache"}') == 1
    for connection in held:
        connection.close()
    server.wait_idle()
    assert ask("17 + 25")[0] is None
