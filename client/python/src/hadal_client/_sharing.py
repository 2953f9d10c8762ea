# SPDX-License-Identifier: Apache-2.0
"""Asking once: for what is in the cache, and for equal calls at the same time."""

from __future__ import annotations

import asyncio
import copy
import secrets
import threading
import time
from concurrent import futures
from typing import Any, Awaitable, Callable, Dict, Iterable, List, Optional, Sequence, TypeVar

from . import _checks
from ._cache import Cache, determined, key_of
from ._errors import DeadlineExceeded, HadalError
from ._types import Answer


T = TypeVar("T")


class _Abandoned(Exception):
    """Who made the call could not wait for its answer; others may."""


class Asker:
    """Who asks what is determined once. `private`: the caller shows who it is in a way that the key of the cache cannot hold, so that its answers are for
    this client alone."""

    def __init__(self, kind: str, servers: Sequence[str], api_key: Optional[str], private: bool, cache: Optional[Cache], coalesce: bool):
        self.cache = cache
        self.coalesce = coalesce
        self._identity = [kind, sorted(servers), api_key or "", secrets.token_hex(16) if private else ""]

    def key(self, method: str, fields: Dict[str, Any], request: Any) -> Optional[str]:
        """None: this call is made by itself. `request`: all that is sent, as JSON would have it."""
        if (self.cache is None and not self.coalesce) or not determined(fields):
            return None
        return key_of(self._identity, method, request)

    def kept(self, key: Optional[str]) -> Optional[Answer]:
        return self.cache.find(key) if self.cache is not None and key is not None else None

    def keep(self, key: Optional[str], answer: Answer) -> Answer:
        if self.cache is not None and key is not None:
            self.cache.add(key, answer)
        return answer


def seconds_left(until: Optional[float]) -> Optional[float]:
    return None if until is None else max(0.0, until - time.monotonic())


def deadline_at(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else time.monotonic() + _checks.seconds("deadline", seconds)


async def all_of(coroutines: Iterable[Awaitable[T]]) -> List[T]:
    """What comes of them, at the same time; when one fails, or their caller goes, none of the others runs on."""
    running = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


_LATE = "the deadline passed while an equal call was under way"


class Flights:
    """Equal calls of several threads at the same time: the first one is made, the others wait for its answer, or its error."""

    def __init__(self, asker: Asker):
        self._asker = asker
        self._lock = threading.Lock()
        self._under_way: Dict[str, futures.Future[Answer]] = {}

    def ask(self, key: Optional[str], deadline: Optional[float], make: Callable[[Optional[float]], Answer]) -> Answer:
        """`make` makes the call within so many seconds."""
        kept = self._asker.kept(key)
        if kept is not None:
            return kept
        if key is None or not self._asker.coalesce:
            return self._asker.keep(key, make(deadline))
        until = deadline_at(deadline)
        while True:
            with self._lock:
                flight = self._under_way.get(key)
                if flight is None:
                    mine = self._under_way[key] = futures.Future()
                    break
            try:
                return copy.deepcopy(flight.result(seconds_left(until)))
            except futures.TimeoutError:
                raise DeadlineExceeded(_LATE) from None
            except _Abandoned:
                continue
        return self._lead(key, mine, lambda: make(seconds_left(until)))

    def _lead(self, key: str, mine: futures.Future[Answer], make: Callable[[], Answer]) -> Answer:
        try:
            answer = self._asker.keep(key, make())
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            # Who else waits has a deadline of its own.
            final = isinstance(error, HadalError) and not isinstance(error, DeadlineExceeded)
            mine.set_exception(error if final else _Abandoned())
            raise
        with self._lock:
            del self._under_way[key]
        mine.set_result(answer)
        return answer


class _Flight:
    def __init__(self, task: asyncio.Task[Answer]):
        self.task = task
        self.waiting = 0


class AsyncFlights:
    """Flights for asyncio. The call goes on while anybody waits for it, be it the one that began it or not."""

    def __init__(self, asker: Asker):
        self._asker = asker
        self._under_way: Dict[str, _Flight] = {}

    async def ask(self, key: Optional[str], deadline: Optional[float], make: Callable[[Optional[float]], Awaitable[Answer]]) -> Answer:
        kept = self._asker.kept(key)
        if kept is not None:
            return kept
        if key is None or not self._asker.coalesce:
            return self._asker.keep(key, await make(deadline))
        until = deadline_at(deadline)
        while True:
            flight = self._under_way.get(key)
            first = flight is None
            if flight is None:
                flight = self._under_way[key] = _Flight(asyncio.ensure_future(self._make(key, make, deadline)))
            try:
                return await self._wait(key, flight, seconds_left(until))
            except DeadlineExceeded:
                left = seconds_left(until)
                if first or left == 0:
                    raise
                deadline = left  # the first one's was shorter

    async def _make(self, key: str, make: Callable[[Optional[float]], Awaitable[Answer]], deadline: Optional[float]) -> Answer:
        return self._asker.keep(key, await make(deadline))

    async def _wait(self, key: str, flight: _Flight, seconds: Optional[float]) -> Answer:
        flight.waiting += 1
        try:
            return copy.deepcopy(await asyncio.wait_for(asyncio.shield(flight.task), seconds))
        except asyncio.TimeoutError:
            raise DeadlineExceeded(_LATE) from None
        finally:
            flight.waiting -= 1
            if flight.task.done() or flight.waiting == 0:
                flight.task.cancel()
                if self._under_way.get(key) is flight:
                    del self._under_way[key]
