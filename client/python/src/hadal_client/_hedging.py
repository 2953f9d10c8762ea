# SPDX-License-Identifier: Apache-2.0
"""A second attempt beside one that lets its caller wait: who answers first is heard, the other one is cancelled."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Awaitable, Callable, Dict, List, Optional, Protocol, Tuple, TypeVar


class Attempt(Protocol):
    def judge(self) -> bool:
        """Whether what it has got is the answer. It raises what ends the whole call."""

    def cancel(self) -> None:
        """It is of no use any more, be it that it has an answer: whoever waits for that in another thread is let go. A second time it is nothing."""


class AsyncAttempt(Protocol):
    def judge(self) -> bool: ...

    async def acancel(self) -> None: ...


S = TypeVar("S", bound=Attempt)
A = TypeVar("A", bound=AsyncAttempt)


async def first_of_async(make: Callable[[A], Awaitable[None]], attempt: A, hedge: Callable[[], Optional[A]], after: Optional[float]) -> Optional[A]:
    """The attempt that has an answer first; None: both ended without one. `make` waits until an attempt has got something, `hedge` gives the second attempt, if
    there may be one: it is asked for when there is no answer `after` so many seconds; None: never."""
    begun: List[A] = [attempt]
    won: Optional[A] = None
    waiting: Dict[asyncio.Future[None], A] = {}
    try:
        if after is None:
            await make(attempt)
            won = attempt if attempt.judge() else None
            return won
        waiting[asyncio.ensure_future(make(attempt))] = attempt
        done, _ = await asyncio.wait(waiting, timeout=after)
        second = None if done else hedge()
        if second is not None:
            begun.append(second)
            waiting[asyncio.ensure_future(make(second))] = second
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                one = waiting.pop(task)
                task.result()
                if one.judge():
                    won = one
                    return won
        return None
    finally:
        if waiting:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        for one in begun:
            if one is not won:
                await one.acancel()


def first_of(make: Callable[[S], None], attempt: S, hedge: Callable[[], Optional[S]], after: Optional[float]) -> Optional[S]:
    """first_of_async for threads."""
    begun: List[S] = [attempt]
    won: Optional[S] = None
    ends: queue.SimpleQueue[Tuple[S, Optional[BaseException]]] = queue.SimpleQueue()

    def wait(one: S) -> None:
        try:
            make(one)
            ends.put((one, None))
        except BaseException as error:  # its caller's
            ends.put((one, error))

    try:
        if after is None:
            make(attempt)
            won = attempt if attempt.judge() else None
            return won
        threading.Thread(target=wait, args=(attempt,), daemon=True).start()
        ended = 0
        timeout: Optional[float] = after
        while ended < len(begun):
            try:
                one, error = ends.get(timeout=timeout)
            except queue.Empty:
                second = hedge()
                if second is not None:
                    begun.append(second)
                    threading.Thread(target=wait, args=(second,), daemon=True).start()
            else:
                ended += 1
                if error is not None:
                    raise error
                if one.judge():
                    won = one
                    return won
            timeout = None
        return None
    finally:
        for one in begun:
            if one is not won:
                one.cancel()
