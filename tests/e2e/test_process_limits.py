# SPDX-License-Identifier: Apache-2.0
"""Under tight limits of the process a command serves or ends with an error that names the limit; SIGTERM always ends it."""

import resource
import signal
import subprocess
import time

import pytest

from hadal_process import HadalProcess

KIB = 1024
BOUND_S = 60  # for what takes a second: the machine may be loaded


def start(command, limit, value):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=HadalProcess.clean_environment(),
                            preexec_fn=lambda: resource.setrlimit(limit, (value, value)))


def end_of(process, timeout=BOUND_S):
    """(exit code, output) of a process that ends by itself; one that does not is killed."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(f"the process did not end:\n{output}")
    return process.returncode, output


def chat_command():
    return [HadalProcess.command_of()[0], "chat", "--server=127.0.0.1:1", "hello"]


def worker_command(tmp_path):
    key = tmp_path / "key"
    key.write_text("k" * 64 + "\n")
    key.chmod(0o600)
    return [HadalProcess.command_of()[0], "worker", "--host=127.0.0.1", "--port=0", f"--pipeline-key-file={key}"]


@pytest.mark.parametrize("kib", [100_000, 160_000, 220_000])
def test_without_room_for_its_threads_the_server_names_the_limit(kib):
    code, output = end_of(start(HadalProcess.command_of(), resource.RLIMIT_AS, kib * KIB))
    assert code == 1, output
    assert "threads are needed, but the system allows only" in output
    assert f"ulimit -v is {kib} KiB" in output


@pytest.mark.parametrize("kib", [300_000, 400_000, 500_000, 600_000, 700_000, 900_000])
def test_with_little_room_the_server_serves_or_ends_with_an_error(kib):
    process = start(HadalProcess.command_of(), resource.RLIMIT_AS, kib * KIB)
    try:
        process.wait(timeout=3)  # long enough for the demo model; SIGTERM ends a start that is slower, too
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    code, output = end_of(process)
    assert code in (0, 1), output
    assert code == 0 or any(line.startswith("hadal: ") for line in output.splitlines()), output
    assert "terminate called" not in output


@pytest.mark.parametrize("count", [6, 20, 40])
def test_without_descriptors_the_server_says_how_many_it_needs(count):
    code, output = end_of(start(HadalProcess.command_of(), resource.RLIMIT_NOFILE, count))
    assert code == 1, output
    assert "file descriptors are needed" in output and f"ulimit -n is {count}" in output


def test_so_many_descriptors_are_enough():
    code, output = end_of(start(HadalProcess.command_of(), resource.RLIMIT_NOFILE, 6))
    needed = int(output.split("at least ")[1].split()[0])
    process = start(HadalProcess.command_of(), resource.RLIMIT_NOFILE, needed)
    deadline = time.monotonic() + BOUND_S
    seen = ""
    while "ready" not in seen:
        line = process.stdout.readline()
        assert line and time.monotonic() < deadline, seen
        seen += line
    process.send_signal(signal.SIGTERM)
    code, output = end_of(process)
    assert code == 0, seen + output


@pytest.mark.parametrize("limit, value, text", [(resource.RLIMIT_NOFILE, 6, "ulimit -n is 6"),
                                                (resource.RLIMIT_AS, 80_000 * KIB, "ulimit -v is 80000 KiB")])
def test_the_other_commands_name_the_limit(tmp_path, limit, value, text):
    for command, expected in ((chat_command(), 2), (worker_command(tmp_path), 1)):
        code, output = end_of(start(command, limit, value))
        assert code == expected, output
        assert text in output
