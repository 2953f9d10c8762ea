# SPDX-License-Identifier: Apache-2.0
"""Batches with the openai package: inputs, their submission, their end and their results."""

import io
import json
import time

CHAT = "/v1/chat/completions"


def lines(count, url=CHAT, **options):
    body = {"model": "hadal-demo", "max_tokens": 8, "temperature": 0, **options}
    for i in range(count):
        question = {"messages": [{"role": "user", "content": f"{i} + {i + 1}"}]} if url == CHAT else {"prompt": f"{i} + {i + 1}"}
        yield json.dumps({"custom_id": f"ask-{i}", "method": "POST", "url": url, "body": {**body, **question}})


def submit(client, rows, endpoint=CHAT, **options):
    content = "\n".join(rows).encode()
    file = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)


def wait(client, batch, timeout=120):
    deadline = time.monotonic() + timeout
    while (now := client.batches.retrieve(batch.id)).status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def results(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()] if file_id else []


def expect_each_once(client, batch, count):
    """The batch, which has `count` lines, has completed, and each line is in its output once."""
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", count, 0)
    ids = [row["custom_id"] for row in results(client, batch.output_file_id)]
    assert sorted(ids) == sorted(f"ask-{i}" for i in range(count))
