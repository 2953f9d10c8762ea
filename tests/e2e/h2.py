# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames by hand, for clients that no library would be: ones that stop in mid-message, open streams and say
nothing, or do not keep to the server's settings."""

import select
import socket
import struct
import time

from hadal_process import PATIENCE

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    """A literal header field without indexing."""
    name, value = name.encode(), value.encode()
    assert len(name) < 127 and len(value) < 127
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def request_headers(path, **more):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "t", "te": "trailers",
              "content-type": "application/grpc", **{k.replace("_", "-"): v for k, v in more.items()}}
    return b"".join(field(k, v) for k, v in fields.items())


def binary_trailer(block, name):
    """Value of a "-bin" field that a header block of the gRPC library holds for the first time on its connection, or None."""
    at = block.find(name.encode())
    if at < 0:
        return None
    at += len(name)
    size = block[at] & 0x7F
    assert not block[at] & 0x80, "a Huffman code"
    at += 1
    if size == 0x7F:
        shift = 0
        while True:
            size += (block[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not block[at - 1] & 0x80:
                break
    assert block[at] == 0, "true binary values begin with a zero"
    return block[at + 1:at + size]


class H2Client:
    """One connection. Keeps to flow control; acknowledges settings only when told to."""

    def __init__(self, port, acknowledge=True, window=65535, true_binary=False, receive_buffer=0):
        """`window`: how many bytes of a stream the server may send. `true_binary`: gRPC's binary metadata come as they are.
        `receive_buffer`: of the socket, in bytes."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.acknowledge = acknowledge
        self.buffer = b""
        self.window = 65535
        self.initial_window = 65535
        self.windows = {}
        self.next_stream = 1
        self.ended = {}  # stream: the last frame's payload, when the server has ended or reset it
        self.goaway = None
        self.closed = False
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, payload=struct.pack(">HI", 4, window) + (struct.pack(">HI", 0xfe03, 1) if true_binary else b"")))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def open_stream(self, path, **headers):
        stream = self.next_stream
        self.next_stream += 2
        self.windows[stream] = self.initial_window
        self.send(frame(HEADERS, END_HEADERS, stream, request_headers(path, **headers)))
        return stream

    def open_silent_streams(self, count, path, **headers):
        """Many streams at once, in large writes."""
        block = request_headers(path, **headers)
        for begin in range(0, count, 500):
            if self.closed:
                return
            frames = []
            for _ in range(min(500, count - begin)):
                frames.append(frame(HEADERS, END_HEADERS, self.next_stream, block))
                self.next_stream += 2
            self.send(b"".join(frames))

    def read(self, seconds):
        """Handles what arrives within that time."""
        deadline = time.monotonic() + seconds
        while not self.closed:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                self.closed = True
                return
            self.buffer += data
            self._handle()

    def read_until(self, condition, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while not condition() and not self.closed and time.monotonic() < deadline:
            self.read(0.02)
        return condition()

    def _handle(self):
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            if kind == SETTINGS and not flags & ACK:
                for at in range(0, size, 6):
                    key, value = struct.unpack(">HI", payload[at:at + 6])
                    if key == 4:
                        self.initial_window = value
                if self.acknowledge:
                    self.send(frame(SETTINGS, ACK))
            elif kind == PING and not flags & ACK:
                self.send(frame(PING, ACK, 0, payload))
            elif kind == WINDOW_UPDATE:
                more = int.from_bytes(payload, "big")
                if stream == 0:
                    self.window += more
                else:
                    self.windows[stream] = self.windows.get(stream, self.initial_window) + more
            elif kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
                self.ended.setdefault(stream, payload)
            elif kind == GOAWAY:
                self.goaway = payload[8:]

    def send_data(self, stream, data, seconds=PATIENCE, end=False):
        """As much of `data` as the server lets through in that time, and the stream's end; returns how many bytes."""
        deadline = time.monotonic() + seconds
        sent = 0
        while sent < len(data) and not self.closed and stream not in self.ended and time.monotonic() < deadline:
            room = min(self.window, self.windows[stream], 16384, len(data) - sent)
            if room <= 0:
                self.read(0.02)
                continue
            self.send(frame(DATA, 0, stream, data[sent:sent + room]))
            sent += room
            self.window -= room
            self.windows[stream] -= room
            self.read(0)
        if end:
            self.send(frame(DATA, END_STREAM, stream))
        return sent

    def close(self):
        self.socket.close()
