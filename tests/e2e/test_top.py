# SPDX-License-Identifier: Apache-2.0
"""`hadal top` in a terminal of its own: what it shows, that it fits, and that the terminal comes back as it was."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from hadal_process import filled
from http_client import ASK, post
from load_generator import LoadGenerator
from ports import free_port
from tls_files import Authority

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def command(*arguments):
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    return [binary, "top", *arguments]


def once(*arguments):
    return subprocess.run(command("--once", *arguments), capture_output=True, text=True, timeout=60)


class Top:
    """`hadal top` on a pseudo-terminal."""

    def __init__(self, *arguments, columns=80, lines=24):
        self.main, terminal = pty.openpty()
        self.terminal = terminal
        self.resize(columns, lines, tell=False)
        self.before = termios.tcgetattr(terminal)
        self.process = subprocess.Popen(command(*arguments), stdin=terminal, stdout=terminal, stderr=subprocess.PIPE,
                                        env={**os.environ, "TERM": "xterm"}, start_new_session=True)
        self.output = b""

    def resize(self, columns, lines, tell=True):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)  # the terminal is nobody's controlling one

    def read(self, seconds=0.1):
        while select.select([self.main], [], [], seconds)[0]:
            try:
                more = os.read(self.main, 65536)
            except OSError:
                return
            if not more:
                return
            self.output += more

    def pictures(self):
        """The complete pictures so far, each a list of lines without styles."""
        drawn = [part.split(b"\x1b[J")[0] for part in self.output.split(b"\x1b[H")[1:] if b"\x1b[J" in part]
        text = [re.sub(r"\x1b\[[0-9;]*[mK]", "", picture.decode("ascii")) for picture in drawn]
        return [[line.rstrip("\r") for line in picture.split("\n")] for picture in text]  # the terminal adds a \r

    def wait(self, wanted, timeout=30):
        """The first new picture in which `wanted` matches a line."""
        deadline = time.monotonic() + timeout
        start = len(self.pictures())
        while True:
            self.read()
            for picture in self.pictures()[start:]:
                if any(re.search(wanted, line) for line in picture):
                    return picture
            assert time.monotonic() < deadline, f"no line matches {wanted!r}: {self.pictures()[-1:]}"

    def end(self, timeout=20):
        """The exit code, once the process has ended."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read(0.05)
        self.read(0.05)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.main)
        os.close(self.terminal)


@pytest.fixture
def start_top():
    running = []

    def start(*arguments, **options):
        running.append(Top(*arguments, **options))
        return running[-1]

    yield start
    for top in running:
        top.close()


def test_shows_the_load_of_servers_in_eighty_columns(start_server, start_top):
    server = start_server("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    other = start_server("--load-format=null")
    top = start_top(server.target, other.target, "--interval=0.2")
    with filled(server):
        top.wait(rf"{other.target} +ready")
        assert post(server, "/v1/chat/completions", {"messages": ASK})[0] == 503
        picture = top.wait(r"[A-Z_]+ +1 in all")  # the refusal came last: a picture with it has all the rest
        assert any(re.search(rf"{server.target} +ready +1 +1 +\d+%", line) for line in picture)
        assert "SERVER" in picture[2] and re.search(r"2 servers$", picture[0])
        assert any(re.search(rf"{other.target} +ready +0 +0 +0%", line) for line in picture)
        assert any(re.search(r"queue .*normal 1 \(", line) for line in picture)
        assert any("hadal-demo" in line for line in picture)
        assert any(line == "  ended    stop 0/s, length 0/s, abort 0/s, error 0/s" for line in picture)
    top.wait(r"ended .* abort [\d.]*[1-9]")  # what filled it has gone
    assert all(len(line) <= 80 for shown in top.pictures() for line in shown)
    assert all(len(shown) <= 24 for shown in top.pictures())


@pytest.mark.parametrize("leave", ["q", "ctrl-d", "SIGINT", "SIGTERM", "SIGHUP"])
def test_every_way_out_restores_the_terminal(server, start_top, leave):
    top = start_top(server.target)
    top.wait("ready")
    assert ENTER in top.output and termios.tcgetattr(top.terminal) != top.before
    if leave.startswith("SIG"):
        top.process.send_signal(getattr(signal, leave))
    else:
        os.write(top.main, b"q" if leave == "q" else b"\x04")
    assert top.end() == 0
    assert top.output.rstrip().endswith(LEAVE)
    assert top.output.count(ENTER) == top.output.count(LEAVE) == 1
    assert termios.tcgetattr(top.terminal) == top.before
    assert top.process.stderr.read() == b""


def test_a_server_that_is_away_is_said_so_and_comes_back(start_server, start_top, server):
    ending = start_server(f"--port={free_port()}")
    top = start_top(server.target, ending.target, "--interval=0.2")
    top.wait(rf"{ending.target} +ready")
    ending.stop()
    picture = top.wait(rf"{ending.target} +AWAY +for .*Connection refused")
    assert re.search(r"2 servers, 1 away$", picture[0])
    assert any(re.search(rf"{server.target} +ready", line) for line in picture)
    start_server(f"--port={ending.port}")
    top.wait(rf"{ending.target} +ready")


def test_follows_the_size_of_the_window(server, start_top):
    top = start_top(server.target)
    assert len(top.wait("ready")) > 5
    top.resize(40, 5)
    top.wait(r"^SERVER.{0,34}$")
    top.read(0.5)
    assert len(top.pictures()[-1]) <= 5 and all(len(line) <= 40 for line in top.pictures()[-1])
    top.resize(120, 40)
    top.wait("first token")


def test_stopped_and_continued_it_gives_the_terminal_back_and_takes_it_again(server, start_top):
    top = start_top(server.target)
    top.wait("ready")
    top.process.send_signal(signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(top.process.pid, os.WUNTRACED)[1])
    top.read()
    assert top.output.endswith(LEAVE) and termios.tcgetattr(top.terminal) == top.before
    top.process.send_signal(signal.SIGCONT)
    top.wait("ready")
    assert top.output.count(ENTER) == 2 and termios.tcgetattr(top.terminal) != top.before


def test_a_held_terminal_does_not_hold_the_end(server, start_top):
    top = start_top(server.target, "--interval=0.1")
    top.wait("ready")
    termios.tcflow(top.terminal, termios.TCOOFF)  # Ctrl-S
    top.read(0.5)
    top.process.send_signal(signal.SIGTERM)
    assert top.end() == 0
    termios.tcflow(top.terminal, termios.TCOON)
    assert termios.tcgetattr(top.terminal) == top.before


def test_an_overloaded_server_shows_its_load_and_what_is_in_time(start_server, start_top):
    """What is refused is in its load and in no tokens; all that it answers is in time."""
    server = start_server("--load-format=null:5ms", "--max-batch-size=2", "--max-queue-requests=2", "--wait-limits=none")
    load = LoadGenerator({"server": server}, tokens=40, prompt_words=5)
    top = start_top(server.target, "--interval=0.5")
    load.begin("server", 14, pause=0.1)
    with contextlib.closing(load):
        # The average moves fast at first, and whenever the clients do not get to ask: the first picture that fits will do.
        deadline, seen = time.monotonic() + 90, []
        while not (seen and fits(*seen[-1])):
            assert time.monotonic() < deadline, seen
            gauge = server.metric("hadal_offered_load_ratio")  # test_prometheus_storm.py compares it with what clients see
            picture = top.wait(r"^  step .*; load \d+%; in time [1-9]")
            line, = [line for line in picture if line.startswith("  step ")]
            seen.append((gauge, *map(int, re.search(r"load (\d+)%; in time (\d+) of (\d+)/s$", line).groups())))


def fits(gauge, shown, good, all_tokens):
    # What runs is in the one and not yet in the other.
    return gauge > 3 and shown == pytest.approx(100 * gauge, rel=0.15) and 0.5 * all_tokens < good <= 1.1 * all_tokens


def test_once_prints_plain_text_for_scripts(server):
    assert post(server, "/v1/chat/completions", {"messages": ASK})[0] == 200
    server.wait_idle()
    shown = once(server.target, "--interval=0.2")
    assert shown.returncode == 0 and shown.stderr == ""
    assert re.search(rf"^{server.target} +ready +0 +0 +0% ", shown.stdout, re.MULTILINE)
    assert "\x1b" not in shown.stdout and "refused  none" in shown.stdout


def test_speaks_tls_and_checks_the_certificate(start_server, start_top, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    server = start_server(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context())
    plain = start_server()
    ready, fast = rf"^{server.target} +ready +0 +0 +0% ", "--interval=0.1"
    for arguments in ([f"--tls-ca={authority.certificate}", server.target], [f"--tls-ca={authority.certificate}", server.url],
                      ["--insecure", server.target]):
        shown = once(*arguments, f"http://{plain.target}", fast)
        assert shown.returncode == 0, shown
        assert re.search(ready, shown.stdout, re.MULTILINE) and re.search(rf"^{plain.target} +ready", shown.stdout, re.MULTILINE)
    for arguments, reason in (([server.url], "self-signed certificate in certificate chain|unable to get local issuer certificate"),
                              ([server.target], "it speaks TLS: give --tls or https://"),
                              ([f"https://{plain.target}"], "TLS failed: ")):
        shown = once(*arguments, fast)
        assert shown.returncode == 1 and re.search(rf"^\S+ +AWAY .*({reason})", shown.stdout, re.MULTILINE), shown
    top = start_top(f"--tls-ca={authority.certificate}", server.target, "--interval=0.2")
    top.wait(rf"{server.target} +ready")


def test_once_fails_when_a_server_is_away(server):
    shown = once(server.target, "127.0.0.1:1", "--interval=0.1")
    assert shown.returncode == 1
    assert re.search(r"^127.0.0.1:1 +AWAY .*Connection refused$", shown.stdout, re.MULTILINE)
    assert re.search(rf"^{server.target} +ready", shown.stdout, re.MULTILINE)


def test_wrong_usage_is_explained(server):
    no_terminal = subprocess.run(command(server.target), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert no_terminal.returncode == 2 and "must be a terminal; --once" in no_terminal.stderr
    wrong = once("host:http")
    assert wrong.returncode == 2 and "'host:http'" in wrong.stderr
    missing = once("--tls-ca=/no/such/file.pem")
    assert missing.returncode == 2 and "--tls-ca: /no/such/file.pem" in missing.stderr
