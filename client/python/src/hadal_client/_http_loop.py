# SPDX-License-Identifier: Apache-2.0
"""A transport for asyncio, for threads: a request that waits in a thread cannot be cancelled, and hedging cancels one of two."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Awaitable, Callable, Iterator, Optional, TypeVar

from ._httpx import httpx

T = TypeVar("T")


class LoopThread:
    """Runs the transport in a loop in a thread of its own, from the first request on until close. Thread-safe."""

    def __init__(self, transport: Any):
        self._transport = transport
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None
        self.closed = False

    def handle_request(self, request: Any) -> Any:
        response = self.wait(lambda: self._transport.handle_async_request(request))
        response.stream = _Body(response.stream, self)
        return response

    def wait(self, make: Callable[[], Awaitable[T]]) -> T:
        """What comes of it in the loop; it is cancelled when this thread is interrupted."""
        loop = self._running()

        async def run() -> T:
            return await make()

        future = asyncio.run_coroutine_threadsafe(run(), loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C
            future.cancel()
            raise

    def close(self) -> None:
        with self._lock:
            loop, self._loop, self.closed = self._loop, None, True
        if loop is None:
            return

        async def end() -> None:
            await self._transport.aclose()
            await asyncio.get_running_loop().shutdown_asyncgens()

        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        assert self._thread is not None
        self._thread.join()
        loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self.closed:
                raise RuntimeError("the client has been closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="hadal_client", daemon=True)
                self._thread.start()
            return self._loop


class _Body(httpx.SyncByteStream):
    """Of a response, as its caller's thread reads it."""

    def __init__(self, inner: Any, loop: LoopThread):
        self._inner = inner
        self._loop = loop

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._inner.__aiter__()

        async def following() -> Optional[bytes]:
            async for chunk in chunks:
                return bytes(chunk)
            return None

        while True:
            chunk = self._loop.wait(following)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        if not self._loop.closed:  # with its connections
            self._loop.wait(self._inner.aclose)
