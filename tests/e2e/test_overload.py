# SPDX-License-Identifier: Apache-2.0
"""What other servers do badly when they are full (docs/overload.md): many more callers than there is room for.

HADAL_OVERLOAD_CONNECTIONS sets another number of callers, for long runs: 10000 needs `ulimit -n` above that.
"""

import asyncio
import collections
import json
import os

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
                text = (await asyncio.to_thread(server.get, "/metrics"))[1]
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
