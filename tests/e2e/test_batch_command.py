# SPDX-License-Identifier: Apache-2.0
"""`hadal batch`: a file of requests goes in and its answers come out, and what is wrong is said in one line."""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading

import pytest

from hadal_process import PATIENCE, HadalProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with HadalProcess(f"--batch-store={tmp_path_factory.mktemp('batches')}") as process:
        yield process


def batch(server, *args, env=None, url=None):
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    return subprocess.run([binary, "batch", "--url", url or server.url, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, **(env or {})}, check=False)


def request(i, **body):
    return {"custom_id": f"ask-{i}", "method": "POST", "url": "/v1/completions",
            "body": {"model": "hadal-demo", "prompt": f"{i} + {i}", "max_tokens": 8, "temperature": 0, **body}}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_goes_in_and_its_answers_come_out(server, tmp_path):
    rows = [request(i) for i in range(20)] + [request(20, temperature=9)]
    done = batch(server, "submit", write(tmp_path / "in.jsonl", rows), "--wait", "--metadata", "job=test")
    assert done.returncode == 0, done.stderr
    identity, state = done.stdout.split()[:2]
    assert state == "completed" and "20 of 21 answered, 1 failed" in done.stdout
    assert identity in batch(server, "status").stdout and "completed" in batch(server, "status", identity).stdout

    got = batch(server, "get", identity, "--output", tmp_path / "out.jsonl", "--errors", tmp_path / "errors.jsonl")
    assert got.returncode == 0, got.stderr
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {answer["custom_id"] for answer in answers} == {f"ask-{i}" for i in range(20)}
    assert json.loads((tmp_path / "errors.jsonl").read_text())["response"]["status_code"] == 422
    printed = batch(server, "get", identity)
    assert printed.stdout == (tmp_path / "out.jsonl").read_text() and "1 lines have no answer" in printed.stderr


@contextlib.contextmanager
def cut_off(port, cuts, size):
    """A port that passes connections on to `port`, one at a time; the first `cuts` of them end when `size` bytes have come back."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve():
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                taken.append(client)
                left = size if len(taken) <= cuts else 1 << 60
                with client, socket.create_connection(("127.0.0.1", port)) as there:
                    while left > 0:
                        ready, _, _ = select.select([client, there], [], [])
                        data = ready[0].recv(min(left, 65536))
                        if not data:
                            break
                        (there if ready[0] is client else client).sendall(data)
                        left -= len(data) if ready[0] is there else 0

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_a_download_that_breaks_off_goes_on(server, tmp_path):
    done = batch(server, "submit", write(tmp_path / "in.jsonl", [request(i) for i in range(60)]), "--wait")
    assert done.returncode == 0, done.stderr
    identity = done.stdout.split()[0]
    whole = batch(server, "get", identity).stdout
    # The description of the batch comes first; the cuts are in its results.
    with cut_off(server.port, cuts=6, size=8000) as (url, taken):
        got = batch(server, "get", identity, "--output", tmp_path / "out.jsonl", url=url)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "out.jsonl").read_text() == whole and len(whole) > 16000 and len(taken) >= 4
    with cut_off(server.port, cuts=100, size=10) as (url, taken):
        assert batch(server, "get", identity, url=url).returncode == 1 and len(taken) == 1, "nothing has come that could go on"


def test_what_is_wrong_is_said_in_one_line(server, tmp_path):
    good = write(tmp_path / "in.jsonl", [request(1)])
    (tmp_path / "text").write_text("hello\n")
    for args, code, words in [
            (["submit", tmp_path / "absent"], 1, "absent"),
            (["submit", tmp_path / "text"], 2, "line 1 is no request"),
            (["submit", good, "--endpoint", "/v1/nothing"], 1, "must be one of /v1/chat/completions"),
            (["submit", good, "--metadata", "job"], 2, "NAME=VALUE"),
            (["status", "batch_none"], 1, "404"),
            (["get", "batch_none"], 1, "404"),
            (["cancel", "batch_none"], 1, "404")]:
        done = batch(server, *args)
        assert done.returncode == code and words in done.stderr, (args, done)
        assert done.stderr.startswith("hadal batch: ") and done.stderr.count("\n") == 1, done.stderr
    assert batch(server).returncode == 2


def test_lines_that_are_not_valid_are_named(server, tmp_path):
    rows = [request(1), {**request(2), "custom_id": "ask-1"}]
    done = batch(server, "submit", write(tmp_path / "in.jsonl", rows), "--wait")
    assert done.returncode == 1 and "failed" in done.stdout and "line 2" in done.stdout, done
    assert "the batch is failed" in done.stderr


def test_cancelled_and_what_was_answered_stays(server, tmp_path):
    rows = [request(i, max_tokens=200, ignore_eos=True) for i in range(300)]
    identity = batch(server, "submit", write(tmp_path / "in.jsonl", rows)).stdout.split()[0]
    assert batch(server, "get", identity).stderr.count("--wait") == 1
    done = batch(server, "cancel", identity)
    assert done.returncode == 0 and "cancel" in done.stdout, done
    got = batch(server, "get", identity, "--wait", "--output", tmp_path / "out.jsonl", "--errors", tmp_path / "errors.jsonl")
    assert got.returncode == 0, got.stderr
    whole = sum(len(path.read_text().splitlines()) for path in (tmp_path / "out.jsonl", tmp_path / "errors.jsonl") if path.exists())
    assert whole == 300


def test_the_key_comes_from_the_environment(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-key-0123456789 acme\n")
    (tmp_path / "store").mkdir()
    server = start_server(f"--batch-store={tmp_path / 'store'}", f"--api-key-file={keys}")
    assert "401" in batch(server, "status").stderr
    assert batch(server, "status", env={"HADAL_API_KEY": "secret-key-0123456789"}).returncode == 0


def test_a_proxy_of_the_environment_is_no_way_to_this_host(server):
    env = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    assert batch(server, "status", env=env).returncode == 0
    asked = subprocess.run([server.command[0], "chat", "--server", server.target, "17 + 25"], capture_output=True, text=True, timeout=60,
                           env={**os.environ, **env}, check=False)
    assert asked.returncode == 0 and asked.stdout.rstrip().endswith("42"), asked.stderr


def test_a_server_that_is_not_there():
    class Nowhere:
        url = "http://127.0.0.1:1"

    done = batch(Nowhere, "status")
    assert done.returncode == 1 and done.stderr.startswith("hadal batch: http://127.0.0.1:1/v1/batches")
