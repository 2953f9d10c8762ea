# SPDX-License-Identifier: Apache-2.0
"""Batches with the openai package: inputs, their submission, their end and their results."""

import io
import json
import time

import openai

from hadal_process import PATIENCE

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


def wait(client, batch, timeout=PATIENCE):
    """The batch once it has ended; fails when nothing of it goes on for `timeout` seconds. A store that is away, or a Redis that gets no processor in time, is a
    refusal to come back from."""
    now, seen, deadline = batch, None, 0
    while now.status not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(0.05)
        try:
            now = client.batches.retrieve(batch.id)
        except openai.InternalServerError as error:
            if error.code != "STORAGE_UNAVAILABLE":
                raise
        if (state := (now.status, str(getattr(now, "request_counts", None)))) != seen:
            seen, deadline = state, time.monotonic() + timeout
        assert time.monotonic() < deadline, now
    return now


def completed_lines(client, batch):
    """How many of its lines have been answered; -1 while its store is away, or gets no processor in time."""
    try:
        return client.batches.retrieve(batch.id).request_counts.completed
    except openai.InternalServerError as error:
        if error.code != "STORAGE_UNAVAILABLE":
            raise
        return -1


def results(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()] if file_id else []


def expect_each_once(client, batch, count):
    """The batch, which has `count` lines, has completed, and each line is in its output once."""
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", count, 0)
    ids = [row["custom_id"] for row in results(client, batch.output_file_id)]
    assert sorted(ids) == sorted(f"ask-{i}" for i in range(count))
