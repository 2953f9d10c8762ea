# SPDX-License-Identifier: Apache-2.0
"""A network that takes its time: a proxy that passes bytes on after a delay, in order, and can cut connections off."""

import asyncio
import contextlib
import random
import socket
import struct
import threading


class SlowNetwork:
    """Passes on to `target_port` what comes to `port`; every piece arrives `delay` seconds later, give or take `jitter`."""

    def __init__(self, target_port, delay, jitter, seed=1):
        self._target_port, self._delay, self._jitter = target_port, delay, jitter
        self._random = random.Random(seed)
        self._connections = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _accept(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        connection = (writer, there_writer)
        self._connections.append(connection)
        await asyncio.gather(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer))
        if connection in self._connections:
            self._connections.remove(connection)

    async def _pass_on(self, reader, writer):
        pieces = asyncio.Queue()

        async def deliver():
            with contextlib.suppress(OSError):
                while (piece := await pieces.get())[1]:
                    await asyncio.sleep(piece[0] - self._loop.time())
                    writer.write(piece[1])
                    await writer.drain()
            writer.close()

        delivery = asyncio.create_task(deliver())
        data = b"."
        while data:
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            delay = self._random.uniform(self._delay - self._jitter, self._delay + self._jitter)
            pieces.put_nowait((self._loop.time() + delay, data))
        await delivery

    def cut(self, share):
        """Resets this share of the connections at both ends, as when hosts vanish; returns how many."""
        async def reset():
            chosen = self._connections[:round(len(self._connections) * share)]
            self._connections = self._connections[len(chosen):]
            for connection in chosen:
                for writer in connection:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
            return len(chosen)

        return asyncio.run_coroutine_threadsafe(reset(), self._loop).result(10)

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
