# SPDX-License-Identifier: Apache-2.0
"""Replicas that share files and batches in one Redis: any of them answers for all, and every line ends exactly once whatever is killed or
paused, servers and Redis alike. HADAL_BATCH_REDIS_KILLS says how many servers are killed."""

import json
import os
import pathlib
import random
import shlex
import signal
import subprocess
import threading

import openai
import pytest
import yaml

from batch_client import completed_lines, expect_each_once, lines, results, submit, wait
from hadal_process import PATIENCE, HadalProcess
from http_client import client_of, post
from redis_process import wait_for
from tls_files import Authority

KILLS = int(os.environ.get("HADAL_BATCH_REDIS_KILLS", "4"))
# Written at once and never synced: kill -9 loses nothing, while everysec lets a write wait for a slow sync.
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "no")
LINES = "hadal_batch_lines_total"


def patient(server):
    """Comes back after a refusal: on a busy machine Redis may get no processor in the two seconds that it has for an answer."""
    return client_of(server).with_options(max_retries=20)


def flags_of(store):
    """As short a time of silence as there may be, and few lines at a time: more than one server has some."""
    return [f"--batch-store=redis://127.0.0.1:{store.port}", "--batch-reclaim-after=5s", "--batch-max-in-flight=4"]


def test_any_replica_answers_for_all(start_server, redis):
    store = redis(*PERSISTENT)
    first, second = (start_server(*flags_of(store)) for _ in range(2))
    one, two = patient(first), patient(second)
    content = random.Random(1).randbytes(700_000)
    file = one.files.create(file=("a.jsonl", content), purpose="batch")
    assert two.files.retrieve(file.id) == file and two.files.content(file.id).content == content
    assert [item.id for item in two.files.list()] == [file.id]
    assert two.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        one.files.retrieve(file.id)

    # For much longer than a replica takes to hear of a batch of another's.
    rows = list(lines(200, max_tokens=300, ignore_eos=True))
    batch = wait(two, submit(one, rows, metadata={"job": "test"}))
    expect_each_once(two, batch, len(rows))
    assert one.batches.retrieve(batch.id) == batch and batch.metadata == {"job": "test"}
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    # Both had a part in it, and none did anything twice.
    done = [server.metric(LINES + '{outcome="completed"}') for server in (first, second)]
    assert min(done) > 0 and sum(done) == len(rows)
    for row in results(one, batch.output_file_id)[:3]:
        body = json.loads(next(line for line in rows if json.loads(line)["custom_id"] == row["custom_id"]))["body"]
        assert row["response"]["body"]["choices"] == json.loads(post(first, "/v1/chat/completions", body)[2])["choices"]

    running = submit(one, lines(300, max_tokens=500, ignore_eos=True))
    wait_for(lambda: min(server.metric('hadal_batch_lines{state="running"}') for server in (first, second)) > 0)
    assert two.batches.cancel(running.id).status in ("cancelling", "cancelled")
    assert wait(one, running).status == "cancelled"
    wait_for(lambda: sum(server.metric('hadal_batch_lines{state="running"}') for server in (first, second)) == 0)


def test_each_line_ends_once_when_one_is_killed_one_is_paused_and_redis_restarts(start_server, redis):
    count = 300
    store = redis(*PERSISTENT)
    killed, paused = (start_server(*flags_of(store), expect_exit=None) for _ in range(2))
    batch = submit(patient(killed), lines(count, max_tokens=200, ignore_eos=True))

    wait_for(lambda: completed_lines(patient(paused), batch) > count // 10)
    killed.signal(signal.SIGKILL)
    killed.process.wait()
    wait_for(lambda: paused.metric('hadal_batch_lines{state="running"}') > 0)
    paused.signal(signal.SIGSTOP)
    # A third one takes over the lines of both, each after its time of silence.
    third = start_server(*flags_of(store))
    client = patient(third)
    wait_for(lambda: third.metric("hadal_batch_lines_taken_over_total") > 0)
    store.stop()
    store.start()
    wait_for(lambda: completed_lines(client, batch) >= 0)
    paused.signal(signal.SIGCONT)
    expect_each_once(client, wait(client, batch), count)
    wait_for(lambda: completed_lines(patient(paused), batch) == count)
    # What came too late was dropped: no result is there that is not of one who held its line.
    ended = sum(server.metric(LINES + '{outcome="completed"}') for server in (paused, third))
    assert ended <= count


def test_killed_at_any_moment_every_line_ends_once(redis):
    store = redis(*PERSISTENT)
    moments = random.Random(7)
    count = 100 + KILLS * 60
    servers = [HadalProcess(*flags_of(store), expect_exit=None) for _ in range(2)]
    try:
        batch = submit(patient(servers[0]), lines(count, max_tokens=150, ignore_eos=True))
        kills = 0
        for kill in range(KILLS):
            threading.Event().wait(moments.uniform(0, 0.5))  # a moment, not an order of events
            if completed_lines(patient(servers[(kill + 1) % 2]), batch) == count:
                break
            victim = kill % 2
            servers[victim].signal(signal.SIGKILL)
            servers[victim].process.wait()
            kills += 1
            servers[victim] = HadalProcess(*flags_of(store), expect_exit=None)
        client = patient(servers[0])
        expect_each_once(client, wait(client, batch), count)
        assert kills >= KILLS // 2
    finally:
        for server in servers:
            server.signal(signal.SIGKILL)
            server.process.wait()


def test_without_redis_batches_wait_and_nobody_else(start_server, redis):
    store = redis(*PERSISTENT)
    server = start_server(*flags_of(store))
    client = client_of(server)
    batch = submit(patient(server), lines(200, max_tokens=200, ignore_eos=True))
    wait_for(lambda: completed_lines(client, batch) > 0)
    for pause in (True, False):
        store.pause() if pause else store.stop()
        with pytest.raises(openai.APIStatusError) as away:
            while True:  # the first one may have been answered before
                client.batches.retrieve(batch.id)
        assert away.value.status_code == 503 and away.value.body["code"] == "STORAGE_UNAVAILABLE"
        assert int(away.value.response.headers["Retry-After"]) > 0
        with pytest.raises(openai.APIStatusError, match="cannot be reached"):
            client.files.create(file=("a", b"x"), purpose="batch")
        for _ in range(5):
            assert post(server, "/v1/completions", {"prompt": "1 + 1", "max_tokens": 4})[0] == 200
        assert server.get("/health/ready")[0] == 200
        wait_for(lambda: server.metric("hadal_batch_store_circuit_state") > 0)
        store.resume() if pause else store.start()
        wait_for(lambda: server.metric("hadal_batch_store_circuit_state") == 0)
    expect_each_once(patient(server), wait(client, batch), 200)
    assert server.metric("hadal_batch_store_errors_total") > 0


def test_a_server_starts_before_its_redis(start_server, redis, tmp_path):
    store = redis(*PERSISTENT)
    store.stop()
    server = start_server(*flags_of(store))
    with pytest.raises(openai.InternalServerError, match="cannot be reached"):
        client_of(server).batches.list()
    store.start()
    wait_for(lambda: server.get("/v1/files")[0] == 200)
    expect_each_once(patient(server), wait(patient(server), submit(patient(server), lines(3))), 3)


def test_over_tls_as_a_user_that_may_do_no_more_than_it_needs(start_server, redis, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("redis")
    (tmp_path / "login").write_text("open sesame\nhadal\n")
    store = redis(*PERSISTENT, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no", "--user", "default", "on", "nopass", "+ping",
                  "--user", "hadal", "on", ">open sesame", "~hadal:{batches}:*", "+@read", "+@write", "+eval", "+info", "+time", context=authority.context())
    server = start_server(f"--batch-store=rediss://localhost:{store.port}", f"--batch-redis-password-file={tmp_path / 'login'}",
                          f"--batch-redis-ca={authority.certificate}")
    client = patient(server)
    expect_each_once(client, wait(client, submit(client, lines(5))), 5)


def test_the_redis_of_kubernetes_keeps_batches(start_server, redis, tmp_path):
    """With the flags of k8s/components/redis-batches: a server takes it without a warning, and what is in it survives the pod's end."""
    manifests = pathlib.Path(os.environ["HADAL_SOURCE_DIR"], "k8s/components/redis-batches/redis.yaml").read_text(encoding="utf-8")
    (command,) = next(yaml.safe_load_all(manifests))["spec"]["template"]["spec"]["containers"][0]["args"]
    (tmp_path / "password").write_text("open sesame\n")
    program, *flags = shlex.split(command.replace('"$(cat /etc/redis/password)"', "'open sesame'").replace("/data", str(tmp_path)).removeprefix("exec "))
    assert program == "redis-server" and "open sesame" in flags
    store = redis(*flags)
    server = start_server(*flags_of(store), f"--batch-redis-password-file={tmp_path / 'password'}")
    client = patient(server)
    batch = wait(client, submit(client, lines(5)))
    assert "appendonly off" not in server.text()
    store.stop(signal.SIGTERM)
    store.start()
    wait_for(lambda: server.get("/v1/files")[0] == 200)
    expect_each_once(client, batch, 5)


def test_a_redis_that_may_drop_lines_ends_the_start(redis):
    store = redis("--maxmemory-policy", "allkeys-lfu")
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    ended = subprocess.run([binary, "serve", "--port=0", "--log-format=text", f"--batch-store=redis://127.0.0.1:{store.port}"],
                           capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert "--batch-store: Redis has the maxmemory-policy 'allkeys-lfu'" in ended.stderr + ended.stdout
