# SPDX-License-Identifier: Apache-2.0
"""Starts a real hadal process for end-to-end tests and stops it again."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

LISTENING = re.compile(r"hadal listening on https?://(\S+):(\d+)")
# Seconds that anything may take which comes by itself. It measures nothing: on a busy machine a process may not run for many seconds,
# and a test that waits for what is certain to come loses only by giving up early.
PATIENCE = 120


def fill(server, headers=None):
    """Connections of one request that runs and one that waits, which end with them: full with --max-batch-size=1 --max-queue-requests=1.
    The first is as long as the context allows: it must still run when a test on a busy machine has done what it does meanwhile."""
    # Else what an earlier request left in a level could be taken for these.
    server.wait_idle()
    connections = []
    context = next((int(flag.split("=")[1]) for flag in server.command if flag.startswith("--max-model-len=")), 2048)
    for metric in ("hadal_requests_running", "hadal_requests_waiting"):
        if server.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE, context=server.tls)
        else:
            connection = http.client.HTTPConnection(server.host, server.port, timeout=PATIENCE)
        body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": context - 48, "ignore_eos": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json", **(headers or {})})
        connections.append(connection)
        server.wait_metric(metric, 1)
    return connections


@contextlib.contextmanager
def filled(server, headers=None):
    """The server is full until the block ends, and empty behind it."""
    connections = fill(server, headers)
    yield connections
    for connection in connections:
        connection.close()
    server.wait_idle()


def descriptors(server):
    """How many files and sockets the process has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


class HadalProcess:
    """`hadal serve` on a free port. Use as a context manager; leaving it stops the server and checks its exit code."""

    def __init__(self, *flags, model=None, env=None, wait_ready=True, expect_exit=0, open_files=None, tls=None, binary=None,
                 log_format="text"):
        """`open_files`: (soft, hard) limit of file descriptors. `tls`: an ssl.SSLContext to ask the server with. `binary`: instead of
        HADAL_BINARY."""
        command = self.command_of(*flags, model=model, binary=binary, log_format=log_format)
        self.command = command
        self.expect_exit = expect_exit
        self.tls = tls
        self.output = []
        self.host, self.port = "127.0.0.1", None
        self._announced = threading.Event()
        clean = self.clean_environment()
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env={**clean, **(env or {})},
                                        preexec_fn=open_files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, open_files)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            if not self._announced.wait(PATIENCE) or self.port is None:
                raise RuntimeError(f"no listening line from {' '.join(command)}:\n{self.text()}")
            if wait_ready:
                self.wait_ready()
        except BaseException:  # nobody else knows of it
            self.process.kill()
            self.process.wait()
            raise

    @staticmethod
    def demo_model():
        return os.environ.get("HADAL_DEMO_MODEL", os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo"))

    @classmethod
    def command_of(cls, *flags, model=None, binary=None, log_format="text"):
        binary = binary or os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
        return [binary, "serve", "--port=0", f"--model=hadal-demo={model or cls.demo_model()}", f"--log-format={log_format}", *flags]

    @staticmethod
    def clean_environment():
        """Without what the tests set for themselves."""
        return {k: v for k, v in os.environ.items() if not k.startswith("HADAL_") or k == "HADAL_DEMO_MODEL"}

    def _read(self):
        for line in self.process.stdout:
            self.output.append(line)
            match = LISTENING.search(line)
            if match:
                self.port = int(match.group(2))
                if match.group(1).startswith("127."):
                    self.host = match.group(1)
                self._announced.set()
        self._announced.set()

    def text(self):
        return "".join(self.output)

    def wait_text(self, wanted, timeout=PATIENCE):
        """The log is written by a thread of its own: a line may come later than the answer that it is about."""
        deadline = time.monotonic() + timeout
        while wanted not in self.text():
            assert time.monotonic() < deadline, f"{wanted!r} is not in the output:\n{self.text()}"
            time.sleep(0.01)

    @property
    def grpc_port(self):
        """The port of its own that gRPC has with --grpc-port."""
        return int(re.search(r"gRPC on port (\d+)", self.text()).group(1))

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def target(self):
        return f"{self.host}:{self.port}"

    def get(self, path, timeout=60):
        """(status, body) of a GET; error statuses are returned, not raised."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout, context=self.tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"hadal ended with {self.process.returncode}:\n{self.text()}")
            if self.get("/health/ready")[0] == 200:
                return time.monotonic() - self.started_at
            time.sleep(0.01)
        raise RuntimeError(f"not ready after {timeout} s:\n{self.text()}")

    def metric(self, name):
        """Sum of all series of a metric whose line starts with `name`, which may hold a label part."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                total += float(line.rsplit(" ", 1)[1])
        return total

    def wait_metric(self, name, value, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while (now := self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {now}, expected {value}"
            time.sleep(0.02)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def wait_idle(self, timeout=PATIENCE):
        """Everything was given back: nothing runs or waits, no KV block is leased."""
        for name in ("hadal_requests_running", "hadal_requests_waiting", 'hadal_kv_blocks{state="leased"}'):
            self.wait_metric(name, 0, timeout)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, timeout=PATIENCE):
        if self.process.poll() is None:
            self.signal()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"hadal did not end within {timeout} s after SIGTERM:\n{self.text()}")
        self._reader.join(PATIENCE)
        return code

    def __enter__(self):
        return self

    def __exit__(self, error_type, error, trace):
        code = self.stop()
        if error_type is None and self.expect_exit is not None:
            assert code == self.expect_exit, f"exit code {code}:\n{self.text()}"
