# SPDX-License-Identifier: Apache-2.0
"""A call over gRPC that waits for long is watched to its end: its server is asked for signs of life."""

import asyncio
import socket
import threading

import pytest

import hadal_client
from hadal_client import _grpc_channels

PREFACE, HEADER, SETTINGS, PING, ACK = 24, 9, 4, 6, 1


def frame(kind, flags, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + payload


class SilentServer:
    """Takes a call, and says nothing but its signs of life."""

    def __init__(self):
        self.enough = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as incoming:
            connection.sendall(frame(SETTINGS, 0))
            incoming.read(PREFACE)
            pings = 0
            while len(header := incoming.read(HEADER)) == HEADER:
                payload = incoming.read(int.from_bytes(header[:3], "big"))
                kind, answers = header[3], header[4] & ACK
                if kind in (SETTINGS, PING) and not answers:
                    connection.sendall(frame(kind, ACK, payload if kind == PING else b""))
                    pings += kind == PING
                if pings == 4:  # gRPC by itself stops after two where nothing is sent
                    self.enough.set()

    def close(self):
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def silent(monkeypatch):
    monkeypatch.setattr(_grpc_channels, "OPTIONS", [(name, 500 if name == "grpc.keepalive_time_ms" else value) for name, value in _grpc_channels.OPTIONS])
    server = SilentServer()
    yield server
    server.close()


def test_of_a_thread(silent):
    with hadal_client.GrpcClient(silent.target) as client:
        call = threading.Thread(target=lambda: pytest.raises(hadal_client.HadalError, client.chat, "x", deadline=60))
        call.start()
        assert silent.enough.wait(30)
        client.close()
        call.join(30)
        assert not call.is_alive()


def test_of_asyncio(silent):
    async def wait():
        async with hadal_client.AsyncGrpcClient(silent.target) as client:
            call = asyncio.ensure_future(client.chat("x", deadline=60))
            seen = await asyncio.get_running_loop().run_in_executor(None, silent.enough.wait, 30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return seen

    assert asyncio.run(wait())
