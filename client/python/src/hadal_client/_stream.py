# SPDX-License-Identifier: Apache-2.0
"""Streamed answers: what the `stream` of each client returns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, List, Optional

from ._errors import AnswerInterrupted
from ._types import Answer, Delta, Usage


@dataclass
class Running:
    """A call whose answer has begun: where it runs, its names there, and what its caller has got of it."""

    server: Any = None     # address or target, for the client that made it
    request_id: str = ""   # as in its logs
    answer_id: str = ""    # as in its API
    pieces: int = 0
    text: List[str] = field(default_factory=list)       # of the first choice
    reasoning: List[str] = field(default_factory=list)
    ended: bool = False    # the server has said that this was all
    finish_reason: str = ""                             # of the first choice
    given_up: bool = False                              # a choice was ended by the server's shutdown
    usage: Usage = field(default_factory=Usage)

    def got(self, piece: Delta) -> Delta:
        self.pieces += 1
        if piece.choice == 0:
            self.text.append(piece.text)
            self.reasoning.append(piece.reasoning)
        return piece

    def finished(self, choice: int, reason: Optional[str]) -> None:
        if reason == "insufficient_system_resource":
            self.given_up = True
        if choice == 0 and reason:
            self.finish_reason = reason

    def check_whole(self) -> None:
        """After its end: an answer that the server has cut off to shut down looks no different from a whole one."""
        if self.given_up:
            raise self.interrupted("the server has given the answer up to shut down")

    def broke_off(self, why: str) -> str:
        """For the message of an error within the answer."""
        answer = self.answer()
        return (f"{why}; the answer broke off after {self.pieces} piece{'' if self.pieces == 1 else 's'} with {len(answer.text)} characters of text and "
                f"{len(answer.reasoning)} of reasoning, and was not asked for again: they would have come twice")

    def interrupted(self, why: str) -> AnswerInterrupted:
        return AnswerInterrupted(self.broke_off(why), self.answer())

    def answer(self) -> Answer:
        return Answer("".join(self.text), "".join(self.reasoning), self.finish_reason, usage=copy.copy(self.usage), request_id=self.request_id)


def _begun(running: Running) -> Running:
    if not running.answer_id:
        raise RuntimeError("end_thinking: the answer has not begun; ask for its first piece before")
    return running


class Stream(Iterator[Delta]):
    """An answer as it is written: iterate over its pieces. close(), the end of a `with` block or of the last reference cancels the call. One
    thread reads; another one may call end_thinking."""

    def __init__(self, pieces: Generator[Delta, None, None], running: Running, end_thinking: Callable[[Running], None]):
        self._pieces = pieces
        self._running = running
        self._end_thinking = end_thinking

    @property
    def request_id(self) -> str:
        """The server's name for the call; empty before the first piece."""
        return self._running.request_id

    @property
    def answer(self) -> Answer:
        """What has come so far of the first choice, without tool calls; behind the end with `finish_reason` and `usage`."""
        return self._running.answer()

    def end_thinking(self) -> None:
        """Ends the reasoning of a chat that was asked for with `reasoning_control=True`: the answer goes on behind it. RequestError with status 409
        when it is not in its reasoning, 404 without `reasoning_control`."""
        self._end_thinking(_begun(self._running))

    def __next__(self) -> Delta:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class AsyncStream(AsyncIterator[Delta]):
    """Stream for asyncio."""

    def __init__(self, pieces: AsyncGenerator[Delta, None], running: Running, end_thinking: Callable[[Running], Awaitable[None]]):
        self._pieces = pieces
        self._running = running
        self._end_thinking = end_thinking

    @property
    def request_id(self) -> str:
        return self._running.request_id

    @property
    def answer(self) -> Answer:
        return self._running.answer()

    async def end_thinking(self) -> None:
        await self._end_thinking(_begun(self._running))

    async def __anext__(self) -> Delta:
        return await self._pieces.__anext__()

    async def aclose(self) -> None:
        await self._pieces.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()
