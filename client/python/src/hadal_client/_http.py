# SPDX-License-Identifier: Apache-2.0
"""Transports for httpx that make refused calls again: for this package's clients, and for others that take an httpx client (openai, anthropic)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from typing import Any, AsyncIterator, Awaitable, Callable, Iterator, List, Optional, Sequence, Set, Union

from . import _checks, _fast_open
from . import _load_reports as load_reports
from ._errors import ServerUnreachable
from ._hedge_delay import kind_of
from ._hedging import first_of_async
from ._http_loop import LoopThread
from ._httpx import httpx
from ._retry import Call, Refusal, RetryOptions, Target, Targets
from ._types import CallCounts
from ._window import Place, Window

# A request may ask for a deadline of its own by this extension: {"extensions": {"hadal_deadline": seconds}}.
DEADLINE = "hadal_deadline"
# A request for one server alone: its address. Responses name there the server that they are from.
SERVER = "hadal_server"
# How many attempts were made at a request that has failed.
ATTEMPTS = "hadal_attempts"

# The connection was not made, or broke before an answer began. Generation leaves nothing behind, so that it may be asked for again; a batch may have
# been taken by a server whose answer was lost, and is not to run twice.
_UNCONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNANSWERED = (*_UNCONNECTED, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
_LEAVE_SOMETHING = ("/v1/batches", "/v1/files")
# What is about a call that has a place, and may be the one that makes room; and what asks how a server is.
_WITHOUT_PLACE = ("/control", "/metrics", "/health/live")

# httpx's own 100 would make calls wait on this side, where no server knows of them. Idle connections are kept for the next burst.
_LOAD_TIMEOUT_S = 5.0  # a server that does not say its load by then is chosen by this client's calls alone
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


def _addresses(servers: Union[str, Sequence[str]]) -> Sequence[str]:
    listed = _checks.addresses(servers)
    for server in listed:
        try:
            url = httpx.URL(server)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or not (url.port is None or 0 < url.port < 65536):
            raise ValueError(f"a server is http://HOST:PORT or https://HOST, found {server!r}")
    return [server.rstrip("/") for server in listed]


def _verify(ca_file: Optional[str], inner: Any) -> Union[bool, ssl.SSLContext]:
    """What httpx checks certificates with."""
    if ca_file is None:
        return True
    if inner is not None:
        raise ValueError("ca_file: a transport of your own has its own, by its `verify`")
    _checks.ca_file(ca_file)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"ca_file: cannot use {ca_file!r}: {error}") from None


def _routed(request: Any, target: Target, call: Call, several: bool) -> Any:
    """The request as it goes to that server in this attempt."""
    to = httpx.URL(target.address)
    # The path of the request is kept: a base path of the server goes before it.
    request.url = request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port)
    request.headers["host"] = to.netloc.decode("ascii")
    request.headers.pop("x-hadal-ticket", None)
    request.headers.update(call.headers(target))
    if DEADLINE in request.extensions:
        left = max(0.001, call.remaining())
        waits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {what: left if wait is None else min(wait, left) for what, wait in waits.items()}
    if several:
        request.headers.setdefault(*load_reports.ASK)
    return request


def _note_load(target: Target, response: Any) -> None:
    load_reports.note(target, response.headers.get(load_reports.REPORT, ""), runs=response.headers.get("content-type", "").startswith("text/event-stream"))


def _load_question(target: Target) -> Any:
    """How an idle server is: a route without a key, whose answer is small."""
    url = httpx.URL(target.address)
    return httpx.Request("GET", url.copy_with(path=url.path.rstrip("/") + "/health/ready"), headers=dict([load_reports.ASK]),
                         extensions={"timeout": {what: _LOAD_TIMEOUT_S for what in ("connect", "read", "write", "pool")}})


def _note_idle_load(target: Target, response: Any) -> None:
    requests = load_reports.requests_in(response.headers.get(load_reports.REPORT, ""))
    if requests is None:
        target.has_no_reports()
    else:
        target.report(requests + (0.0 if response.status_code == 200 else load_reports.UNFIT))


class _Attempts:
    """The attempts at one request; whoever sends them only sends, reads and sleeps."""

    def __init__(self, targets: Targets, request: Any):
        only = request.extensions.get(SERVER)
        self.several = len(targets.all) > 1
        self.leaves_something = request.method == "POST" and request.url.path.endswith(_LEAVE_SOMETHING)
        kind = None if self.leaves_something or only is not None or not targets.options.hedges else kind_of(request.url.path, request.content)
        self.call = Call(targets, request.extensions.get(DEADLINE), only=None if only is None else targets.at(only), kind=kind)
        self.error: Optional[BaseException] = None
        self.refused: Any = None  # the last refusal
        self.place = Place()  # until the end of the answer
        self._targets = targets
        self._chooses = only is None
        self._request = request

    def needs_place(self) -> bool:
        return not self._request.url.path.endswith(_WITHOUT_PLACE)

    def remaining(self) -> float:
        """Seconds, of all attempts together."""
        return self.call.remaining()

    def to_ask_for_load(self) -> List[Target]:
        """Those that have not said it of late, where there is a choice."""
        return self._targets.to_ask_for_load() if self._chooses else []

    def begin(self) -> Optional[_Attempt]:
        """The attempt that may be made now, or None: sleep for wait() first."""
        target = self.call.begin()
        return None if target is None else _Attempt(self, target, _routed(self._request, target, self.call, self.several))

    def hedge(self) -> Optional[_Attempt]:
        """A second attempt beside the one that is under way, if there may be one."""
        target = self.call.hedge()
        if target is None:
            return None
        first = self._request  # its body has been read, and both may send it
        request = httpx.Request(first.method, first.url, headers=first.headers, stream=first.stream, extensions=dict(first.extensions))
        return _Attempt(self, target, _routed(request, target, self.call, True), hedge=True)

    def wait(self) -> Optional[float]:
        """Seconds until the next attempt, or None: the answer is given_up()."""
        return self.call.wait()

    def given_up(self) -> Any:
        """The last refusal; without one it raises what kept the request from every server."""
        self.place.leave()
        self._request.extensions[ATTEMPTS] = self.call.attempts
        if self.refused is not None:
            return self.refused
        raise self.error or ServerUnreachable("no server may be called before the deadline: all circuits are open")


class _Attempt:
    """One of them, at one server."""

    def __init__(self, whole: _Attempts, target: Target, request: Any, hedge: bool = False):
        self.request = request
        self.response: Any = None
        self.error: Optional[BaseException] = None
        self._whole = whole
        self._target: Optional[Target] = target
        self._hedge = hedge

    def judge(self) -> bool:
        """Whether the response is the answer. A refusal has been read and closed, so that its connection can be used again."""
        whole, target, response = self._whole, self._target, self.response
        assert target is not None
        if self.error is not None:
            return self._failed(self.error)
        _note_load(target, response)
        refusal = Refusal.of_http(response.status_code, response.headers)
        if refusal is not None:
            self._target = None
            whole.refused = response
            whole.call.refused(refusal, target)
            return False
        if self._hedge and response.status_code >= 400:
            return False  # the attempt beside it tells its caller
        self._target = None
        whole.call.served(target)
        response.stream = _Body(response.stream, target, whole.place)
        response.extensions[SERVER] = target.address
        return True

    def leave(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.finish()

    async def acancel(self) -> None:
        self.leave()
        if self.response is not None:
            await self.response.aclose()

    def _failed(self, error: BaseException) -> bool:
        whole, target = self._whole, self._target
        if isinstance(error, _UNCONNECTED if whole.leaves_something else _UNANSWERED):
            self._target = None
            whole.error = error if not self._hedge else whole.error or error
            whole.call.failed(target)
            return False
        self.leave()
        if self._hedge and isinstance(error, httpx.TransportError):
            return False
        raise error


def _is_refusal(response: Any) -> bool:
    return Refusal.of_http(response.status_code, response.headers) is not None


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer; when it ends, its server is free of the call, and another one may have its place."""

    def __init__(self, inner: Any, target: Target, place: Place):
        self._inner = inner
        self._target: Optional[Target] = target
        self._place = place

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    def _finish(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.finish()
        self._place.leave()

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
    An answer that has begun is final. `max_calls` are under way at once; the others wait on this side, within their deadlines.
    `ca_file`: authorities in PEM that sign the certificates of https servers, instead of the well-known ones. `tcp_fast_open`: connections that are made
    again save a round trip where the kernel and the server have it. Thread-safe."""

    def __init__(self, servers: Union[str, Sequence[str]], options: RetryOptions = RetryOptions(), *,
                 max_calls: Optional[int] = None, inner: Optional[httpx.BaseTransport] = None, ca_file: Optional[str] = None,
                 tcp_fast_open: bool = False, sleep: Callable[[float], None] = time.sleep):
        self._in_loop: Optional[LoopThread] = None
        if isinstance(options, RetryOptions) and options.hedges:
            if inner is not None and not isinstance(inner, httpx.AsyncBaseTransport):
                raise ValueError("hedge_after, hedge_quantile: a transport of your own must be one for asyncio, whose requests can be cancelled")
            hedging = AsyncTransport(servers, options, max_calls=max_calls, inner=inner, ca_file=ca_file, tcp_fast_open=tcp_fast_open)
            self.targets = hedging.targets
            self._in_loop = LoopThread(hedging)
            return
        verify = _verify(ca_file, inner)
        self.targets = Targets(_addresses(servers), options)
        self._window = Window(max_calls)
        self._inner = inner if inner is not None else httpx.HTTPTransport(limits=_LIMITS, verify=verify)
        if tcp_fast_open:
            _fast_open.use(self._inner if inner is None else None, _fast_open.Backend())
        self._sleep = sleep

    def handle_request(self, request: Any) -> Any:
        request.read()
        if self._in_loop is not None:
            return self._in_loop.handle_request(request)
        attempts = _Attempts(self.targets, request)
        if attempts.needs_place():
            attempts.place = self._window.take(attempts.remaining())
        try:
            return self._answer(attempts)
        except BaseException:
            attempts.place.leave()
            raise

    def _answer(self, attempts: _Attempts) -> Any:
        for target in attempts.to_ask_for_load():
            threading.Thread(target=self._ask_for_load, args=(target,), daemon=True).start()
        while True:
            attempt = attempts.begin()
            if attempt is None:
                wait = attempts.wait()
                if wait is None:
                    return attempts.given_up()
                self._sleep(wait)
                continue
            try:
                attempt.response = self._inner.handle_request(attempt.request)
                if _is_refusal(attempt.response):
                    attempt.response.read()
                    attempt.response.close()
            except BaseException as error:
                attempt.error = error
            if attempt.judge():
                return attempt.response

    def counts(self) -> CallCounts:
        """What it has done so far."""
        return self.targets.counts()

    def _ask_for_load(self, target: Target) -> None:
        with contextlib.suppress(Exception):  # whoever calls it will see
            response = self._inner.handle_request(_load_question(target))
            response.read()
            response.close()
            _note_idle_load(target, response)

    def close(self) -> None:
        if self._in_loop is not None:
            self._in_loop.close()
        else:
            self._inner.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """Transport for asyncio."""

    def __init__(self, servers: Union[str, Sequence[str]], options: RetryOptions = RetryOptions(), *,
                 max_calls: Optional[int] = None, inner: Optional[httpx.AsyncBaseTransport] = None, ca_file: Optional[str] = None,
                 tcp_fast_open: bool = False, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep):
        verify = _verify(ca_file, inner)
        self.targets = Targets(_addresses(servers), options)
        self._window = Window(max_calls)
        self._inner = inner if inner is not None else httpx.AsyncHTTPTransport(limits=_LIMITS, verify=verify)
        if tcp_fast_open:
            _fast_open.use(self._inner if inner is None else None, _fast_open.AsyncBackend())
        self._asking: Set[asyncio.Future[None]] = set()
        self._sleep = sleep

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        attempts = _Attempts(self.targets, request)
        if attempts.needs_place():
            attempts.place = await self._window.take_async(attempts.remaining())
        try:
            return await self._answer(attempts)
        except BaseException:
            attempts.place.leave()
            raise

    async def _answer(self, attempts: _Attempts) -> Any:
        for target in attempts.to_ask_for_load():
            asking = asyncio.ensure_future(self._ask_for_load(target))
            self._asking.add(asking)  # a loop holds its tasks weakly
            asking.add_done_callback(self._asking.discard)
        while True:
            attempt = attempts.begin()
            if attempt is None:
                wait = attempts.wait()
                if wait is None:
                    return attempts.given_up()
                await self._sleep(wait)
                continue
            won = await first_of_async(self._make, attempt, attempts.hedge, attempts.call.hedge_delay())
            if won is not None:
                return won.response

    async def _make(self, attempt: _Attempt) -> None:
        try:
            attempt.response = await self._inner.handle_async_request(attempt.request)
            if _is_refusal(attempt.response):
                await attempt.response.aread()
                await attempt.response.aclose()
        except Exception as error:
            attempt.error = error

    def counts(self) -> CallCounts:
        """What it has done so far."""
        return self.targets.counts()

    async def _ask_for_load(self, target: Target) -> None:
        with contextlib.suppress(Exception):
            response = await self._inner.handle_async_request(_load_question(target))
            await response.aread()
            await response.aclose()
            _note_idle_load(target, response)

    async def aclose(self) -> None:
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._inner.aclose()
