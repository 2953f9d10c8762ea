# SPDX-License-Identifier: Apache-2.0
"""How long a refusal takes, by the kernel's clock: from the last byte of the request on its way to the server until the last byte of the
answer is in the socket of the client.

Both moments are software time stamps that Linux puts on the packets (SO_TIMESTAMPING). So the figure holds what the server needs to be woken,
to decide and to write, and nothing of how late this process runs: a load generator on a busy core measures its own lag as well.
"""
import contextlib
import json
import select
import socket
import struct
import threading
import time

SO_TIMESTAMPING = 37
TX_SOFTWARE, RX_SOFTWARE, REPORT_SOFTWARE, OPT_TSONLY = 1 << 1, 1 << 3, 1 << 4, 1 << 11


def _stamp(ancillary):
    """Seconds of the software stamp, or None: the kernel starts to stamp a little after it was asked to."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            seconds, nanoseconds = struct.unpack_from("qq", data)
            return seconds + nanoseconds * 1e-9 if seconds else None
    return None


class StampedConnection:
    """A keep-alive connection that knows when its last request left and when its answer came."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | RX_SOFTWARE | REPORT_SOFTWARE | OPT_TSONLY)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer, self._left = b"", None

    def send(self, request):
        self._answer, self._left = b"", None
        self.socket.sendall(request)

    def receive(self):
        """(status, seconds or None) when the answer is whole, None before. Only when there is something to read."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 16, 1 << 10)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return None
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return None
        self.read_departure()
        came = _stamp(ancillary)
        return int(head.split(b" ", 2)[1]), came - self._left if came and self._left else None

    def read_departure(self):
        """Takes the stamps of packets that went out from the error queue; the last one counts, and a small request is one packet."""
        with contextlib.suppress(BlockingIOError):
            while True:
                _, ancillary, _, _ = self.socket.recvmsg(0, 1 << 10, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                self._left = _stamp(ancillary) or self._left

    def close(self):
        self.socket.close()


def chat_request(max_tokens):
    body = json.dumps({"model": "hadal-demo", "messages": [{"role": "user", "content": "What is 17 + 25?"}], "max_tokens": max_tokens,
                       "ignore_eos": True}).encode()
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: probe\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(body)).encode() + b"\r\n\r\n" + body)


class RefusalProbe(threading.Thread):
    """Sends so many requests a second, whatever becomes of them, until `stop`. `refused_s` and `served` say what did."""

    def __init__(self, port, per_second, request):
        super().__init__(daemon=True)
        self.port, self.interval_s, self.request = port, 1 / per_second, request
        self.refused_s, self.served = [], 0
        self._stopped = threading.Event()
        self.start()

    def run(self):
        idle, waiting, poll = [], {}, select.poll()
        due = time.monotonic()
        while not self._stopped.is_set():
            for descriptor, events in poll.poll(max(0.0, due - time.monotonic()) * 1000):
                connection = waiting[descriptor]
                connection.read_departure()  # which is an event as well
                answer = connection.receive() if events & select.POLLIN else None
                if answer is None:
                    continue
                poll.unregister(descriptor)
                idle.append(waiting.pop(descriptor))
                self._count(*answer)
            if time.monotonic() < due:
                continue
            due += self.interval_s
            connection = idle.pop() if idle else StampedConnection(self.port)
            connection.send(self.request)
            waiting[connection.socket.fileno()] = connection
            poll.register(connection.socket, select.POLLIN)
        for connection in [*idle, *waiting.values()]:
            connection.close()

    def _count(self, status, seconds):
        if status == 503:
            if seconds is not None:
                self.refused_s.append(seconds)
        else:
            self.served += 1

    def stop(self):
        self._stopped.set()
        self.join()
