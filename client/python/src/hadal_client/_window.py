# SPDX-License-Identifier: Apache-2.0
"""How many calls of a client are under way at once."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, Callable, Deque, Optional

from ._errors import DeadlineExceeded


class Place:
    """Of a call that is under way. It is left once, however often leave is called."""

    def __init__(self, window: Optional[Window] = None):
        self._window = window

    def leave(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.leave()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: Any) -> None:
        self.leave()


class Window:
    """Lets `max_calls` be under way at once, None: any number; the others wait in order. Thread-safe."""

    def __init__(self, max_calls: Optional[int]):
        if max_calls is not None and (not isinstance(max_calls, int) or max_calls < 1):
            raise ValueError(f"max_calls is {max_calls!r}; it must be a number from 1 on, or None for any number of calls at once")
        self._max_calls = max_calls
        self._lock = threading.Lock()
        self._calls = 0
        self._waiting: Deque[Callable[[], None]] = deque()  # whose turn comes is told by it

    def take(self, seconds: float) -> Place:
        """Waits for a place; DeadlineExceeded when it has not come after so many seconds."""
        come = threading.Event()
        turn = come.set
        if self._enter(turn):
            return Place(self)
        try:
            come.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        except BaseException:  # Ctrl-C
            self._go(turn)
            raise
        return self._taken(turn)

    async def take_async(self, seconds: float) -> Place:
        """take, for asyncio."""
        come: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def turn() -> None:
            come.set_result(None)

        if self._enter(turn):
            return Place(self)
        try:
            await asyncio.wait([come], timeout=max(seconds, 0.0))
        except BaseException:  # its caller has gone
            self._go(turn)
            raise
        return self._taken(turn)

    def leave(self) -> None:
        with self._lock:
            turn = self._waiting.popleft() if self._waiting else None  # that call has the place now
            if turn is None:
                self._calls -= 1
        if turn is not None:
            turn()

    def _enter(self, turn: Callable[[], None]) -> bool:
        with self._lock:
            if self._max_calls is not None and self._calls >= self._max_calls:
                self._waiting.append(turn)
                return False
            self._calls += 1
            return True

    def _withdraw(self, turn: Callable[[], None]) -> bool:
        """Whether it still waited."""
        with self._lock:
            try:
                self._waiting.remove(turn)
            except ValueError:
                return False
            return True

    def _go(self, turn: Callable[[], None]) -> None:
        if not self._withdraw(turn):
            self.leave()

    def _taken(self, turn: Callable[[], None]) -> Place:
        if self._withdraw(turn):
            raise DeadlineExceeded(f"the deadline passed while the call waited for one of max_calls = {self._max_calls} of this client")
        return Place(self)
