# SPDX-License-Identifier: Apache-2.0
"""Transports for httpx that make refused calls again: for this package's clients, and for others that take an httpx client (openai, anthropic)."""

from __future__ import annotations

import asyncio
import time
from typing import Any, AsyncIterator, Awaitable, Callable, Iterator, Optional, Sequence, Union

from ._errors import ServerUnreachable
from ._httpx import httpx
from ._retry import Call, Refusal, RetryOptions, Target, Targets

# A request may ask for a deadline of its own by this extension: {"extensions": {"hadal_deadline": seconds}}.
DEADLINE = "hadal_deadline"

# The connection was not made, or broke before an answer began. Generation leaves nothing behind, so that it may be asked for again.
_UNANSWERED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


def _addresses(servers: Union[str, Sequence[str]]) -> Sequence[str]:
    listed = [servers] if isinstance(servers, str) else list(servers)
    for server in listed:
        if not server.startswith(("http://", "https://")):
            raise ValueError(f"a server is http://HOST:PORT or https://HOST, found {server!r}")
    return [server.rstrip("/") for server in listed]


def _routed(request: Any, target: Target, call: Call) -> Any:
    """The request as it goes to that server in this attempt."""
    to = httpx.URL(target.address)
    # The path of the request is kept: a base path of the server goes before it.
    request.url = request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)
    request.headers["host"] = to.netloc.decode("ascii")
    request.headers.pop("x-hadal-ticket", None)
    request.headers.update(call.headers())
    return request


def _none_left(call: Call, error: Optional[Exception]) -> Exception:
    if error is not None:
        return error
    return ServerUnreachable("no server may be called before the deadline: all circuits are open")


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer; its server is free of the call when it ends."""

    def __init__(self, inner: Any, target: Target):
        self._inner = inner
        self._target: Optional[Target] = target

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    def _finish(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.finish()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._finish()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._finish()


class Transport(httpx.BaseTransport):
    """Sends each request to the least loaded of `servers` (a URL or several), whatever host its URL names, and makes it again as RetryOptions say.
    An answer that has begun is final. Thread-safe."""

    def __init__(self, servers: Union[str, Sequence[str]], options: RetryOptions = RetryOptions(), *,
                 inner: Optional[httpx.BaseTransport] = None, sleep: Callable[[float], None] = time.sleep):
        self.targets = Targets(_addresses(servers), options)
        self._inner = inner if inner is not None else httpx.HTTPTransport()
        self._sleep = sleep

    def handle_request(self, request: Any) -> Any:
        request.read()
        call = Call(self.targets, request.extensions.get(DEADLINE))
        error: Optional[Exception] = None
        answer = None  # the last refusal
        while True:
            target = call.begin()
            if target is None:
                wait = call.wait()
                if wait is None:
                    if answer is not None:
                        return answer
                    raise _none_left(call, error)
                self._sleep(wait)
                continue
            try:
                response = self._inner.handle_request(_routed(request, target, call))
            except _UNANSWERED as caught:
                error = caught
                call.failed()
                continue
            except BaseException:
                target.finish()
                raise
            refusal = Refusal.of_http(response.status_code, response.headers)
            if refusal is None:
                call.served()
                response.stream = _Body(response.stream, target)
                return response
            response.read()  # the connection can be used again
            response.close()
            answer = response
            call.refused(refusal)

    def close(self) -> None:
        self._inner.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """Transport for asyncio."""

    def __init__(self, servers: Union[str, Sequence[str]], options: RetryOptions = RetryOptions(), *,
                 inner: Optional[httpx.AsyncBaseTransport] = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep):
        self.targets = Targets(_addresses(servers), options)
        self._inner = inner if inner is not None else httpx.AsyncHTTPTransport()
        self._sleep = sleep

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        call = Call(self.targets, request.extensions.get(DEADLINE))
        error: Optional[Exception] = None
        answer = None
        while True:
            target = call.begin()
            if target is None:
                wait = call.wait()
                if wait is None:
                    if answer is not None:
                        return answer
                    raise _none_left(call, error)
                await self._sleep(wait)
                continue
            try:
                response = await self._inner.handle_async_request(_routed(request, target, call))
            except _UNANSWERED as caught:
                error = caught
                call.failed()
                continue
            except BaseException:
                target.finish()
                raise
            refusal = Refusal.of_http(response.status_code, response.headers)
            if refusal is None:
                call.served()
                response.stream = _Body(response.stream, target)
                return response
            await response.aread()
            await response.aclose()
            answer = response
            call.refused(refusal)

    async def aclose(self) -> None:
        await self._inner.aclose()
