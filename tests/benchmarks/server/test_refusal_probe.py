# SPDX-License-Identifier: Apache-2.0
"""The probe's clock is the kernel's: it sees what the server takes, and not how late its own process is."""

import contextlib
import os
import pathlib
import socket
import sys
import threading
import time

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
sys.path.insert(0, str(SOURCE / "benchmarks/server"))
from refusal_probe import RefusalProbe, StampedConnection, chat_request  # noqa: E402

REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class SlowServer(threading.Thread):
    """Reads a request, takes its time, and answers; each connection on a thread of its own."""

    def __init__(self, takes_s, answers):
        super().__init__(daemon=True)
        self.takes_s, self.answers, self.asked, self.sent_at = takes_s, answers, 0, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(ConnectionError):
            while connection.recv(1 << 16):
                answer = self.answers[self.asked % len(self.answers)]
                self.asked += 1
                time.sleep(self.takes_s)
                connection.sendall(answer)
                self.sent_at.append(time.monotonic())


def test_a_late_reader_measures_the_server_and_not_itself():
    server = SlowServer(0.02, [REFUSAL])
    connection = StampedConnection(server.port)
    measured = []
    for number in range(5):
        began = time.monotonic()
        connection.send(chat_request(1))
        while len(server.sent_at) <= number:
            time.sleep(0.01)
        time.sleep(0.5)  # the answer lies in the socket for this
        status, seconds = connection.receive()
        assert status == 503
        measured.append((seconds, server.sent_at[number] - began))
    connection.close()
    # The kernel begins to stamp a little after it was asked to.
    assert measured[-1][0] is not None
    assert all(0.02 <= seconds <= took + 0.1 for seconds, took in measured if seconds is not None), measured


def test_the_probe_keeps_its_rate_and_times_refusals_only():
    server = SlowServer(0.05, [REFUSAL, ANSWER])
    probe = RefusalProbe(server.port, 50, chat_request(1))
    deadline = time.monotonic() + 60
    while (len(probe.refused_s) < 10 or probe.served < 10) and time.monotonic() < deadline:
        time.sleep(0.01)
    probe.stop()
    assert len(probe.refused_s) >= 10 and probe.served >= 10
    assert min(probe.refused_s) >= 0.05
