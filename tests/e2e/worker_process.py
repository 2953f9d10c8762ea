# SPDX-License-Identifier: Apache-2.0
"""Starts a real `hadal worker` for end-to-end tests and stops it again."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request


class WorkerProcess:
    """`hadal worker` on a free port, or on `port`. Use as a context manager; leaving it kills what still runs."""

    def __init__(self, key_file, *flags, model=None, port=0):
        source = os.environ["HADAL_SOURCE_DIR"]
        binary = os.environ.get("HADAL_BINARY", os.path.join(source, "build/release/hadal"))
        model = model or os.environ.get("HADAL_DEMO_MODEL", os.path.join(source, "models/demo"))
        command = [binary, "worker", f"--port={port}", f"--model={model}", f"--pipeline-key-file={key_file}", "--threads=1", "--log-format=text", *flags]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HADAL_")}
        self.output = []
        self.port = None
        self.http_port = None  # with --http-port
        self._announced = threading.Event()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._announced.wait(30) or self.port is None:
            self.process.kill()
            raise RuntimeError(f"no listening line from {' '.join(command)}:\n{self.text()}")

    def _read(self):
        for line in self.process.stdout:
            self.output.append(line)
            match = re.search(r"hadal worker listening on \S+:(\d+)(?: \(health and metrics on port (\d+)\))?$", line)
            if match:
                self.port = int(match.group(1))
                self.http_port = match.group(2) and int(match.group(2))
                self._announced.set()
        self._announced.set()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def get(self, path, timeout=30):
        """(status, body) of a GET of --http-port; error statuses are returned, not raised."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_stage(self, wanted, timeout=30):
        deadline = time.monotonic() + timeout
        while (stage := json.loads(self.get("/health/ready")[1])["stage"]) != wanted:
            assert time.monotonic() < deadline, f"the stage is {stage}, expected {wanted}"
            time.sleep(0.02)

    def text(self):
        return "".join(self.output)

    def wait_text(self, wanted, timeout=30, count=1):
        deadline = time.monotonic() + timeout
        while self.text().count(wanted) < count:
            assert time.monotonic() < deadline, f"{wanted!r} is not in the output:\n{self.text()}"
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.kill()
