# SPDX-License-Identifier: Apache-2.0
"""The second level of the response cache: shared by replicas, there after a restart, and its outage costs nothing but misses."""

import contextlib
import json
import os
import random
import subprocess
import threading

import pytest

from http_client import post
from ports import free_port
from redis_process import wait_for
from tls_files import Authority


def ask(server, body, mode="use"):
    """(x-hadal-cache, text, usage) of an answer."""
    status, headers, data = post(server, "/v1/completions", body, {"x-hadal-cache": mode})
    assert status == 200, data
    answer = json.loads(data)
    return headers.get("x-hadal-cache"), answer["choices"][0]["text"], answer["usage"]


PATIENT = "--response-cache-lookup-timeout=1s"  # a busy machine is no outage


def plain(number):
    return {"prompt": f"{number} + 1", "temperature": 0, "max_tokens": 8}


def store_errors(server, cause):
    return server.metric(f'hadal_response_cache_store_errors_total{{cause="{cause}"}}')


def test_replicas_share_answers_in_redis(start_server, redis, tmp_path):
    store = redis("--requirepass", "open sesame")
    (tmp_path / "password").write_text("open sesame\n")
    flags = [f"--response-cache=memory,redis://127.0.0.1:{store.port}/2", f"--response-cache-redis-password-file={tmp_path / 'password'}", PATIENT]
    first, second = start_server(*flags), start_server(*flags)
    answers = [ask(first, plain(number)) for number in range(5)]
    assert {result for result, _, _ in answers} == {"miss"}
    first.wait_metric("hadal_response_cache_store_writes_total", 5)
    before = second.metric("hadal_generation_tokens_total")
    for number, answer in enumerate(answers):
        assert ask(second, plain(number)) == ("hit", *answer[1:])
    assert second.metric('hadal_response_cache_lookups_total{result="hit_redis"}') == 5
    assert second.metric("hadal_generation_tokens_total") == before


def test_replicas_share_answers_over_tls_as_a_user_of_their_own(start_server, redis, tmp_path):
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    certificate, key = authority.sign("redis")
    (tmp_path / "login").write_text("open sesame\nhadal\n")
    store = redis("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no", "--user", "default", "on", "nopass", "+ping",
                  "--user", "hadal", "on", ">open sesame", "~hadal:response:*", "+get", "+set", context=authority.context())
    flags = [f"--response-cache=memory,rediss://localhost:{store.port}", f"--response-cache-redis-password-file={tmp_path / 'login'}", PATIENT]
    trusting = [*flags, f"--response-cache-redis-ca={authority.certificate}"]
    first, second = start_server(*trusting), start_server(*trusting)
    answer = ask(first, plain(1))
    first.wait_metric("hadal_response_cache_store_writes_total", 1)
    assert ask(second, plain(1)) == ("hit", *answer[1:])
    doubting = start_server(*flags, f"--response-cache-redis-ca={other.certificate}")
    assert ask(doubting, plain(1)) == ("miss", *answer[1:])
    wait_for(lambda: store_errors(doubting, "put_failed") > 0)


def test_answers_in_sqlite_survive_the_server(start_server, tmp_path):
    flags = [f"--response-cache=memory,sqlite:{tmp_path / 'answers.db'}", PATIENT]
    first = start_server(*flags)
    answer = ask(first, plain(1))
    first.wait_metric("hadal_response_cache_store_writes_total", 1)
    first.stop()
    second = start_server(*flags)
    assert ask(second, plain(1)) == ("hit", *answer[1:])
    assert second.metric('hadal_response_cache_lookups_total{result="hit_sqlite"}') == 1


class Load:
    """Callers that ask until the block ends; every answer must be a 200 with the right text."""

    def __init__(self, server, idle_after=True):
        """`idle_after`: nothing but these callers asks."""
        self.idle_after = idle_after
        self.server, self.ending, self.asked, self.wrong = server, threading.Event(), 0, []
        self.right = {number: ask(server, plain(number), mode="no-store")[1] for number in range(20)}
        self.threads = [threading.Thread(target=self.run, args=(seed,)) for seed in range(4)]

    def run(self, seed):
        dice = random.Random(seed)
        while not self.ending.is_set():
            number = dice.randrange(20)
            status, answer = self.answer(number, dice)
            self.asked += 1
            if status != 200 or answer != self.right[number]:
                self.wrong.append((status, answer))

    def answer(self, number, dice):
        """(status, text). Many are refreshed, so that reads and writes both go on."""
        status, _, data = post(self.server, "/v1/completions", plain(number), {"x-hadal-cache": dice.choice(["max-age=0", "use", "no-cache"])}, timeout=30)
        return status, json.loads(data)["choices"][0]["text"] if status == 200 else data

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong[:3]
        if self.idle_after:
            self.server.wait_idle()

    def go_on(self, answers=40):
        wanted = self.asked + answers
        wait_for(lambda: self.asked >= wanted)


def test_no_request_is_lost_while_redis_hangs_or_is_gone(start_server, redis):
    store = redis()
    # Too little memory for any answer: every look-up goes to Redis.
    server = start_server(f"--response-cache=memory,redis://127.0.0.1:{store.port}", "--response-cache-size=1KiB", "--response-cache-lookup-timeout=200ms")
    circuit = "hadal_response_cache_store_circuit_state"

    def works_again():
        writes = server.metric("hadal_response_cache_store_writes_total")
        wait_for(lambda: server.metric("hadal_response_cache_store_writes_total") > writes and server.metric(circuit) == 0)

    with Load(server) as load:
        works_again()
        store.pause()
        load.go_on()
        wait_for(lambda: server.metric(circuit) > 0)
        load.go_on()
        store.resume()
        works_again()
        store.stop()
        wait_for(lambda: server.metric(circuit) > 0)
        load.go_on()
        store.start()
        works_again()
    assert store_errors(server, "get_failed") + store_errors(server, "too_late") > 0


def test_a_server_starts_and_serves_without_its_redis(start_server):
    server = start_server(f"--response-cache=memory,redis://127.0.0.1:{free_port()}")
    assert ask(server, plain(1))[0] == "miss"
    assert ask(server, plain(1))[0] == "hit"
    wait_for(lambda: store_errors(server, "put_failed") > 0)


@pytest.fixture
def small_disk(request, tmp_path):
    """A folder on a disk of 2 MiB, or of the size that a test's parameter says."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '2m')}", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("mounting needs rights")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_no_request_is_lost_when_the_disk_is_full_or_the_file_is_damaged(start_server, small_disk):
    path = small_disk / "answers.db"
    server = start_server(f"--response-cache=memory,sqlite:{path}", "--response-cache-size=1KiB", PATIENT)

    def writes_again():
        writes = server.metric("hadal_response_cache_store_writes_total")
        wait_for(lambda: server.metric("hadal_response_cache_store_writes_total") > writes)

    with Load(server) as load:
        writes_again()
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        wait_for(lambda: store_errors(server, "put_failed") > 0)
        load.go_on()
        filler.unlink()
        writes_again()
        with path.open("r+b") as file:
            file.write(b"x" * 8192)
        load.go_on()
        for leftover in small_disk.iterdir():
            leftover.unlink()
        writes_again()


@pytest.mark.parametrize("flag, text", [("disk", "--response-cache is 'disk'"),
                                        ("memory,redis://:secret@h:0", "--response-cache: the Redis URL has a port outside 1 to 65535"),
                                        ("memory,sqlite:/missing/a.db", "--response-cache: /missing/a.db")])
def test_a_level_that_cannot_be_ends_the_start(flag, text):
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    ended = subprocess.run([binary, "serve", "--port=0", "--log-format=text", f"--response-cache={flag}"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert text in ended.stderr + ended.stdout and "secret" not in ended.stderr + ended.stdout
