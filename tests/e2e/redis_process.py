# SPDX-License-Identifier: Apache-2.0
"""redis-server for tests: a port of its own; stopped, killed, paused and started again as they need."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time

from hadal_process import PATIENCE
from ports import free_port


def wait_for(condition, timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Redis:
    """`flags` are redis-server's; `context` is a client's ssl context for one that speaks TLS."""

    def __init__(self, folder, *flags, context=None):
        self.port, self.context = free_port(), context
        self.folder, self.flags, self.process = folder, flags, None
        self.start()

    def start(self):
        port = ["--port", "0", "--tls-port", str(self.port)] if self.context else ["--port", str(self.port)]
        self.process = subprocess.Popen([shutil.which("redis-server"), *port, "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder), *self.flags],
                                        stdout=subprocess.DEVNULL)
        wait_for(self.answers)

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain:
            with self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, number=signal.SIGKILL):
        """SIGTERM lets it write its file first; killed, it may lose what waited for a sync (appendfsync everysec)."""
        self.process.send_signal(number)
        self.process.wait()
