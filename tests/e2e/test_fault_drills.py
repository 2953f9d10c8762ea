# SPDX-License-Identifier: Apache-2.0
"""Redis, SQLite and the upstream are killed, paused and left without disk in turn, under load: no request is lost, none hangs, and all is well again without
a restart. What stands elsewhere: Redis killed and paused, the cache's full disk (test_response_cache_store.py); batches' Redis killed and paused
(test_batches_redis.py); a batch's store killed (test_batches.py); nodes of a cluster (test_redis_cluster.py); what each single answer becomes when its
upstream fails (test_upstream.py)."""

import contextlib
import json
import signal
import sqlite3

import grpc
import openai
import pytest

from batch_client import completed_lines, expect_each_once, lines, submit, wait
from http_client import client_of, post
from ports import free_port
from redis_process import wait_for
# pylint: disable-next=unused-import  # fixtures
from test_response_cache_store import Load, PATIENT, ask, plain, small_disk, store_errors  # noqa: F401
from hadal_process import PATIENCE, HadalProcess, filled

CIRCUIT = "hadal_response_cache_store_circuit_state"
# Too little memory for any answer: every look-up goes to the second level.
NO_MEMORY = "--response-cache-size=1KiB"


def fill_disk(folder):
    """A file that takes what is left, as often as it is called."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


def writes_go_on(server):
    before = server.metric("hadal_response_cache_store_writes_total")
    wait_for(lambda: server.metric("hadal_response_cache_store_writes_total") > before and server.metric(CIRCUIT) == 0)


def test_redis_without_disk(start_server, redis, small_disk):  # noqa: F811
    # Its log is forced to the disk once a second; while that fails Redis takes no write.
    store = redis("--dir", str(small_disk), "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    server = start_server(f"--response-cache=memory,redis://127.0.0.1:{store.port}", NO_MEMORY, PATIENT)
    with Load(server) as load:
        writes_go_on(server)
        filler = fill_disk(small_disk)
        errors = store_errors(server, "put_failed")
        wait_for(lambda: store_errors(server, "put_failed") > errors)
        load.go_on()
        filler.unlink()
        writes_go_on(server)
        load.go_on()


def test_sqlite_whose_writer_is_stopped(start_server, tmp_path):
    """Another process has begun to write and stands still: no one else may write to the file."""
    path = tmp_path / "answers.db"
    server = start_server(f"--response-cache=memory,sqlite:{path}", NO_MEMORY, PATIENT)
    with Load(server) as load:
        writes_go_on(server)
        other = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        errors = store_errors(server, "put_failed")
        load.go_on()
        wait_for(lambda: store_errors(server, "put_failed") > errors)
        load.go_on()
        other.execute("ROLLBACK")
        other.close()
        writes_go_on(server)


def test_sqlite_whose_process_is_killed(start_server, tmp_path):
    flags = (f"--response-cache=memory,sqlite:{tmp_path / 'answers.db'}", NO_MEMORY, PATIENT)
    right = None
    for _ in range(3):
        server = HadalProcess(*flags, expect_exit=None)
        try:
            right = right or {number: ask(server, plain(number))[1] for number in range(20)}
            for number in range(20):  # what is kept is right; what was being written may be missing
                assert ask(server, plain(number))[1] == right[number]
            writes = server.metric("hadal_response_cache_store_writes_total")
            for number in range(100):
                ask(server, plain(number), mode="no-cache")
            wait_for(lambda: server.metric("hadal_response_cache_store_writes_total") > writes)  # noqa: B023
        finally:
            server.signal(signal.SIGKILL)
            server.process.wait()
    server = start_server(*flags)
    assert {ask(server, plain(number))[0] for number in range(20)} == {"hit"}


# Less and more than what the log of a database may take beside it.
@pytest.mark.parametrize("small_disk", ["2m", "16m"], indirect=True)
def test_batches_without_disk(start_server, small_disk):  # noqa: F811
    server = start_server(f"--batch-store={small_disk}", "--batch-max-in-flight=4")
    client = client_of(server)
    rows = list(lines(100, max_tokens=40, ignore_eos=True, logprobs=True))
    batch = submit(client, rows)
    wait_for(lambda: completed_lines(client, batch) > 0)

    def refused():
        fill_disk(small_disk)  # also what the store has given back
        return server.metric("hadal_batch_store_errors_total") > 0

    wait_for(refused)
    server.wait_text("batches.db: no space is left")
    stopped = client.batches.retrieve(batch.id)
    assert stopped.status == "in_progress" and stopped.request_counts.completed < len(rows)
    with pytest.raises(openai.InternalServerError, match="no space left") as refusal:
        client.files.create(file=("more.jsonl", b"x" * 600_000), purpose="batch")
    assert refusal.value.status_code == 507
    assert client.completions.create(model="hadal-demo", prompt="x", max_tokens=4).choices, "others are served"
    (small_disk / "filler").unlink()
    expect_each_once(client, wait(client, batch), len(rows))
    assert submit(client, lines(1)), "and uploads are taken"


class Returning(Load):
    """Callers whose answers are translated on the way from an upstream. One that breaks off in the middle is told, and asked for again."""

    TRIES = 4

    def __init__(self, server, stubs):
        self.stubs = stubs
        super().__init__(server, idle_after=False)

    def answer(self, number, dice):
        for _ in range(self.TRIES):
            status, answer = self.ask_once(plain(number))
            if status == 200:
                break
        return status, answer

    def ask_once(self, body):
        raise NotImplementedError


class OverOllama(Returning):
    def ask_once(self, body):
        options = {"temperature": 0, "num_predict": body["max_tokens"]}
        status, _, data = post(self.server, "/api/generate", {"prompt": body["prompt"], "raw": True, "stream": False, "options": options}, timeout=PATIENCE)
        return status, json.loads(data)["response"] if status == 200 else data


class OverGrpc(Returning):
    def ask_once(self, body):
        pb = self.stubs.pb
        request = pb.GenerateRequest(text=body["prompt"], sampling=pb.SamplingParams(temperature=0), stopping=pb.StopConditions(max_tokens=body["max_tokens"]))
        with grpc.insecure_channel(self.server.target, options=[("grpc.enable_retries", 0)]) as channel:
            try:
                return 200, "".join(message.text for message in self.stubs.services.InferenceStub(channel).Generate(request, timeout=PATIENCE))
            except grpc.RpcError as error:
                return error.code(), error.details()


@pytest.mark.parametrize("load_of", [lambda near, _: Load(near, idle_after=False), OverOllama, OverGrpc], ids=["openai", "ollama", "grpc"])
def test_upstream_killed_and_paused_while_another_one_answers(start_server, stubs, load_of):
    port = free_port()
    far = start_server(f"--port={port}", expect_exit=None)
    spare = start_server()
    near = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none", "--fallback-connect-timeout=20s",
                        "--fallback-first-byte-timeout=5s", "--fallback-stall-timeout=5s", f"--fallback-upstream=http://127.0.0.1:{port},name=far",
                        f"--fallback-upstream={spare.url},name=spare")

    def served(target):
        return near.metric(f'hadal_upstream_requests_total{{target="{target}",outcome="ok"}}')

    def answers_again(target):
        before = served(target)
        wait_for(lambda: served(target) > before)

    with filled(near), load_of(near, stubs) as load:
        answers_again("far")
        far.signal(signal.SIGSTOP)
        answers_again("spare")
        load.go_on()
        far.signal(signal.SIGCONT)
        answers_again("far")
        far.signal(signal.SIGKILL)
        far.process.wait()
        answers_again("spare")
        load.go_on()
        far = start_server(f"--port={port}")
        answers_again("far")
    near.wait_metric("hadal_upstream_requests_in_flight", 0)


def test_batches_in_redis_without_disk(start_server, redis, small_disk):  # noqa: F811
    """Redis takes no write while its log cannot be written: lines wait, uploads are refused, everybody else is served."""
    store = redis("--dir", str(small_disk), "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    server = start_server(f"--batch-store=redis://127.0.0.1:{store.port}", "--batch-max-in-flight=4")
    client = client_of(server)
    rows = list(lines(150, max_tokens=40, ignore_eos=True, logprobs=True))
    batch = submit(client, rows)
    wait_for(lambda: completed_lines(client, batch) > 0)
    with Load(server, idle_after=False) as load:
        filler = fill_disk(small_disk)

        def refused():
            fill_disk(small_disk)
            return server.metric("hadal_batch_store_errors_total") > 0

        wait_for(refused)
        load.go_on()
        with pytest.raises(openai.InternalServerError) as refusal:
            while True:  # until the next look at the disk it takes what it is sent
                client.files.create(file=("more.jsonl", b"x" * 1000), purpose="batch")
        assert refusal.value.body["code"] == "STORAGE_UNAVAILABLE"
        filler.unlink()
        wait_for(lambda: server.metric("hadal_batch_store_circuit_state") == 0)
        load.go_on()
    expect_each_once(client, wait(client, batch), len(rows))


def test_no_other_process_can_hold_the_batches_up(start_server, tmp_path):
    """Their database is the server's alone: nobody else gets the lock that would stop its writer."""
    server = start_server(f"--batch-store={tmp_path / 'store'}", "--batch-max-in-flight=4")
    client = client_of(server)
    batch = submit(client, lines(150, max_tokens=40, ignore_eos=True))
    wait_for(lambda: completed_lines(client, batch) > 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "batches.db", timeout=0.1, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    expect_each_once(client, wait(client, batch), 150)


def test_upstream_without_disk(start_server, small_disk):  # noqa: F811
    """Its access log cannot be written: lines are lost there, answers are not."""
    far = start_server(f"--access-log={small_disk / 'access.log'}")
    near = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none", f"--fallback-upstream={far.url},name=far")
    with filled(near), Load(near, idle_after=False) as load:
        load.go_on()
        filler = fill_disk(small_disk)
        load.go_on()
        lost = "hadal_access_log_dropped_total"
        wait_for(lambda: far.metric(lost) > 0)
        filler.unlink()
        size = (small_disk / "access.log").stat().st_size
        wait_for(lambda: (small_disk / "access.log").stat().st_size > size)
    near.wait_metric("hadal_upstream_requests_in_flight", 0)
