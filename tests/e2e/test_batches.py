# SPDX-License-Identifier: Apache-2.0
"""Files and batches with the openai package: OpenAI's format in and out, tenants apart, and every line exactly once whatever happens to
the process. HADAL_BATCH_KILLS says at how many moments the server is killed."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import openai
import pytest

from batch_client import CHAT, expect_each_once, lines, results, submit, wait
from hadal_process import PATIENCE, HadalProcess
from http_client import client_of, post
from redis_process import wait_for

KILLS = int(os.environ.get("HADAL_BATCH_KILLS", "20"))
LARGE = random.Random(7).randbytes(2 << 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with HadalProcess(f"--batch-store={tmp_path_factory.mktemp('batches')}", "--batch-max-file=8MiB") as process:
        yield process


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/completions"])
def test_answers_are_those_of_the_route(server, client, endpoint):
    batch = wait(client, submit(client, lines(5, endpoint), endpoint, metadata={"job": "test"}))
    assert (batch.status, batch.metadata, batch.errors, batch.error_file_id) == ("completed", {"job": "test"}, None, None)
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (5, 5, 0)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    answers = {row["custom_id"]: row["response"] for row in results(client, batch.output_file_id)}
    for row in map(json.loads, lines(5, endpoint)):
        assert answers[row["custom_id"]]["status_code"] == 200
        direct = json.loads(post(server, endpoint, row["body"])[2])
        assert answers[row["custom_id"]]["body"]["choices"] == direct["choices"]
    counted = server.metric(f'hadal_requests_total{{route="{endpoint}",class="batch",http_code="200",grpc_code="",outcome="ok",reason=""}}')
    assert counted >= 5


def test_what_a_route_refuses_is_in_the_error_file(server, client):
    rows = [json.loads(row) for row in lines(4)]
    rows[1]["body"]["temperature"] = 9
    rows[2]["body"]["stream"] = True
    rows[3]["body"]["service_tier"] = "priority"  # a batch is a batch
    batch = wait(client, submit(client, map(json.dumps, rows)))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 2)
    errors = {row["custom_id"]: row["response"] for row in results(client, batch.error_file_id)}
    assert (errors["ask-1"]["status_code"], errors["ask-1"]["body"]["error"]["param"]) == (422, "temperature")
    assert (errors["ask-2"]["status_code"], errors["ask-2"]["body"]["error"]["param"]) == (400, "stream")
    assert {row["custom_id"] for row in results(client, batch.output_file_id)} == {"ask-0", "ask-3"}


def test_an_input_that_is_not_valid_names_its_lines(server, client):
    rows = list(lines(3))
    batch = wait(client, submit(client, [rows[0], "nonsense", rows[0]]))
    assert batch.status == "failed" and batch.request_counts.total == 0
    assert [(error.line, error.code) for error in batch.errors.data] == [(2, "invalid_line")]
    batch = wait(client, submit(client, [rows[0], rows[1], rows[0]]))
    assert "line 3: the custom_id 'ask-0' is that of line 1" in batch.errors.data[0].message


def test_files(server, client):
    content = random.Random(1).randbytes(3_000_000)
    file = client.files.create(file=("a \"b\".jsonl", content), purpose="batch",
                               expires_after={"anchor": "created_at", "seconds": 7200})
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(content), 'a "b".jsonl', "batch", "processed")
    assert file.expires_at == file.created_at + 7200
    assert client.files.content(file.id).content == content
    second = client.files.create(file=("b.jsonl", b""), purpose="batch")
    newest = client.files.list(limit=1)
    assert newest.data[0].id == second.id and newest.has_more
    assert file.id in [item.id for item in client.files.list(purpose="batch")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")


def test_what_is_wrong_with_an_upload_is_said(server, client):
    with pytest.raises(openai.BadRequestError, match="takes files with the purpose batch"):
        client.files.create(file=("a", b"x"), purpose="fine-tune")
    with pytest.raises(openai.APIStatusError, match="larger than 8388608 bytes|limit is") as refused:
        client.files.create(file=("a", bytes(9 << 20)), purpose="batch")
    assert refused.value.status_code == 413
    with pytest.raises(openai.UnprocessableEntityError, match="must be from 3600"):
        client.files.create(file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 5})
    file = client.files.create(file=("a", b"x"), purpose="batch")
    with pytest.raises(openai.APIStatusError, match="endpoint"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    assert post(server, "/v1/files", b"x", {"Content-Type": "text/plain"})[0] == 400
    broken = b"--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch"
    assert post(server, "/v1/files", broken, {"Content-Type": "multipart/form-data; boundary=b"})[0] == 400


def test_curl_sends_the_file_first(server, client, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n".join(lines(1)))
    answer = subprocess.run(["curl", "-sS", server.url + "/v1/files", "-F", f"file=@{tmp_path}/in.jsonl", "-F", "purpose=batch"],
                            capture_output=True, text=True, check=True)
    file = json.loads(answer.stdout)
    assert client.files.content(file["id"]).text == "\n".join(lines(1))


def test_an_upload_that_breaks_off_leaves_nothing(server, client):
    before = len(client.files.list().data)
    head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
        sock.sendall(b"POST /v1/files HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4000000\r\n\r\n"
                     + head + bytes(1 << 20))
    client.files.create(file=("a", b"x"), purpose="batch")
    assert len(client.files.list().data) == before + 1


def test_cancel(server, client):
    batch = submit(client, lines(200, max_tokens=500, ignore_eos=True))
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = wait(client, batch)
    assert batch.status == "cancelled"
    for row in results(client, batch.error_file_id):
        assert row["error"]["code"] == "batch_cancelled"
    with pytest.raises(openai.BadRequestError, match="is cancelled"):
        client.batches.cancel(batch.id)
    server.wait_idle()


def test_tenants_do_not_see_each_other(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-a one\nsk-b two\n")
    server = start_server(f"--batch-store={tmp_path}", f"--api-key-file={keys}", "--batch-max-key-batches=1")
    one, two = (openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) for key in ("sk-a", "sk-b"))
    batch = submit(one, lines(2))
    for call in (lambda: two.batches.retrieve(batch.id), lambda: two.batches.cancel(batch.id),
                 lambda: two.files.content(batch.input_file_id),
                 lambda: two.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")):
        with pytest.raises(openai.NotFoundError):
            call()
    assert two.files.list().data == [] and two.batches.list().data == []
    assert wait(one, batch).status == "completed"
    submit(two, lines(50, max_tokens=400, ignore_eos=True))
    with pytest.raises(openai.RateLimitError, match="1 batches have not ended"):
        submit(two, lines(1))


def test_without_a_store_the_routes_say_which_flag_is_missing(start_server):
    client = client_of(start_server())
    with pytest.raises(openai.APIStatusError, match="--batch-store=DIR") as off:
        client.batches.list()
    assert off.value.status_code == 501


def test_a_full_server_loses_no_line(start_server, tmp_path):
    server = start_server(f"--batch-store={tmp_path}", "--max-batch-size=2", "--max-queue-requests=2", "--batch-max-in-flight=32")
    client = client_of(server)
    batch = wait(client, submit(client, lines(60)))
    assert (batch.status, batch.request_counts.completed) == ("completed", 60)
    assert server.metric('hadal_batch_lines_total{outcome="put_back"}') > 0
    assert len({row["custom_id"] for row in results(client, batch.output_file_id)}) == 60


def test_lines_make_room_for_other_requests(start_server, tmp_path):
    server = start_server("--load-format=null:5ms", f"--batch-store={tmp_path}")
    client = client_of(server)
    running = 'hadal_batch_lines{state="running"}'

    batch = submit(client, lines(5000, max_tokens=20, ignore_eos=True))
    wait_for(lambda: server.metric(running) > 16)
    ask = {"prompt": "x", "max_tokens": 2}
    assert post(server, "/v1/completions", ask)[0] == 200
    wait_for(lambda: server.metric(running) <= 16)
    for _ in range(10):
        assert post(server, "/v1/completions", ask)[0] == 200
        assert server.metric(running) <= 16
    client.batches.cancel(batch.id)
    assert wait(client, batch).status == "cancelled"


def test_lines_leave_their_places_in_the_batch_to_other_requests(start_server, tmp_path):
    server = start_server("--load-format=null:20ms", "--max-batch-size=4", "--async-scheduling=off", f"--batch-store={tmp_path}")
    client = client_of(server)
    began = time.monotonic()
    batch = submit(client, lines(8, max_tokens=250, ignore_eos=True))  # five seconds each, four at a time
    server.wait_metric("hadal_requests_running", 4)
    waits = []
    while len(waits) < 5:
        asked = time.monotonic()
        assert post(server, "/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 200
        waits.append(time.monotonic() - asked)
    assert server.metric("hadal_set_aside_sequences_total") >= 4, "one may have come just when a line had ended"
    assert server.metric("hadal_preemptions_total") == 0
    expect_each_once(client, wait(client, batch), 8)
    # A place would have come free only with the end of a line, of which there were two after each other.
    assert sorted(waits)[2] < (time.monotonic() - began) / 8


def test_lines_that_take_turns_beside_other_requests_have_the_same_answers(start_server, tmp_path):
    """On a processor each row makes a step longer, so a batch's rest in most steps with others."""
    server = start_server(f"--batch-store={tmp_path}", "--prefix-cache=false")
    client = client_of(server)
    rows = list(lines(6, "/v1/completions", max_tokens=64, ignore_eos=True))

    def answers():
        batch = wait(client, submit(client, rows, "/v1/completions"))
        expect_each_once(client, batch, len(rows))
        return {row["custom_id"]: row["response"]["body"]["choices"] for row in results(client, batch.output_file_id)}

    alone = answers()
    assert server.metric("hadal_rested_rows_total") == 0
    over = threading.Event()

    def ask():
        while not over.is_set():
            assert post(server, "/v1/completions", {"prompt": "x", "max_tokens": 200, "ignore_eos": True})[0] == 200

    with concurrent.futures.ThreadPoolExecutor(2) as others:
        asked = [others.submit(ask) for _ in range(2)]
        try:
            beside = answers()
        finally:
            over.set()
        for one in asked:
            one.result()
    assert server.metric("hadal_rested_rows_total") > 0
    assert beside == alone


def test_a_drain_puts_lines_back(start_server, tmp_path):
    flags = (f"--batch-store={tmp_path}", "--drain-timeout=100ms")
    server = start_server(*flags)
    client = client_of(server)
    batch = submit(client, lines(30, max_tokens=1000, ignore_eos=True))
    wait_for(lambda: server.metric('hadal_batch_lines{state="running"}') >= 4)
    assert server.stop() == 0
    client = client_of(start_server(*flags))
    batch = wait(client, batch)
    assert (batch.status, batch.request_counts.completed) == ("completed", 30)
    for row in results(client, batch.output_file_id):
        assert row["response"]["body"]["choices"][0]["finish_reason"] == "length"


def ended_lines(folder):
    """{(batch, line): result} of what has ended, out of the store of a server that was killed."""
    connection = sqlite3.connect(f"{folder}/batches.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = connection.execute("SELECT batch, number, state, result FROM lines WHERE state != 0").fetchall()
    connection.close()
    return {(batch, number): (state, result) for batch, number, state, result in rows}


def kill_while_it_starts(folder, after_s):
    """A server that takes up what a killed one left, and is killed itself, most often before it listens."""
    process = subprocess.Popen(HadalProcess.command_of(f"--batch-store={folder}"), env=HadalProcess.clean_environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    threading.Event().wait(after_s)
    process.kill()
    process.wait()


def upload_until_killed(client):
    def upload():
        with contextlib.suppress(openai.APIConnectionError):
            client.with_options(max_retries=0).files.create(file=("large", LARGE), purpose="batch")

    thread = threading.Thread(target=upload)
    thread.start()
    return thread


def test_killed_at_any_moment_every_line_ends_once(tmp_path):
    moments = random.Random(5)
    ended, batches, kills = {}, [], 0
    while True:
        server = HadalProcess(f"--batch-store={tmp_path}", "--batch-max-in-flight=2", expect_exit=None)
        client = client_of(server)
        if kills >= KILLS:
            break
        if not batches or client.batches.retrieve(batches[-1].id).status == "completed":
            batches.append(submit(client, lines(KILLS * 60, max_tokens=30, ignore_eos=True)))
        upload = upload_until_killed(client) if kills % 4 == 0 else None
        threading.Event().wait(moments.uniform(0, 0.2))  # a moment, not an order of events
        server.signal(signal.SIGKILL)
        server.process.wait()
        kills += 1
        if kills % 3 == 0:
            kill_while_it_starts(tmp_path, moments.uniform(0, 0.1))
            kills += 1
        if upload:
            upload.join()
        now = ended_lines(tmp_path)
        assert {key: now.get(key) for key in ended} == ended  # nothing that had ended has changed or ran again
        ended = now
    for batch in batches:
        expect_each_once(client, wait(client, batch), KILLS * 60)
    for file in client.files.list():
        assert file.filename != "large" or client.files.content(file.id).content == LARGE  # whole, or not there
    server.stop()


def test_a_full_store_takes_up_again(start_server, tmp_path):
    server = start_server(f"--batch-store={tmp_path}", "--batch-store-size=1MiB")
    client = client_of(server)
    with pytest.raises(openai.APIStatusError, match="no space left") as full:
        client.files.create(file=("large", bytes(4 << 20)), purpose="batch")
    assert full.value.status_code == 507
    ballast = client.files.create(file=("ballast", bytes(800 << 10)), purpose="batch")
    batch = submit(client, lines(80, max_tokens=60, ignore_eos=True, logprobs=True, top_logprobs=5))
    wait_for(lambda: server.metric("hadal_batch_store_errors_total") > 0)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    client.files.delete(ballast.id)
    client.batches.cancel(batch.id)
    assert wait(client, batch).status == "cancelled"
