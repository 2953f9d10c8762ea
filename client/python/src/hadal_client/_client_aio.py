# SPDX-License-Identifier: Apache-2.0
"""Client over HTTP, for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncGenerator, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from . import _checks
from . import _http_calls as calls
from ._batches import Batch, answers_in
from ._cache import Cache
from ._download import Download, Progress, told
from ._errors import DeadlineExceeded, HadalError, ServerUnreachable, check_reached
from ._http import AsyncTransport
from ._http_calls import Base, Question, T
from ._http_messages import Lines, check_ended, deltas_of, error_of, lost, note_start, unreachable
from ._httpx import httpx
from ._retry import RetryOptions
from ._sharing import AsyncFlights, all_of, deadline_at, seconds_left
from ._stream import AsyncStream, Running
from ._types import Answer, Delta, Load, Messages, Model, Prompt

Servers = Union[str, Sequence[str]]


class AsyncClient(Base):
    """Client for asyncio: the same calls, awaited; `async for` over stream."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None, ca_file: Optional[str] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False, max_calls: Optional[int] = None, tcp_fast_open: bool = False):
        own = AsyncTransport(servers, retry, max_calls=max_calls, inner=transport, ca_file=ca_file, tcp_fast_open=tcp_fast_open)
        super().__init__(own, transport is not None, api_key, priority, timeout, cache, coalesce)
        self._flights = AsyncFlights(self._asker)
        self._http = httpx.AsyncClient(base_url=self._addresses[0], transport=self._transport)

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer(calls.chat(messages, fields), deadline, fields)

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncStream:
        running = Running()
        return AsyncStream(self._pieces(running, calls.chat_stream(messages, fields), deadline), running, self._end_thinking)

    async def _pieces(self, running: Running, question: Question[Any], deadline: Optional[float]) -> AsyncGenerator[Delta, None]:
        response = await self._send(question, deadline, stream=True)
        note_start(running, response)
        try:
            lines = Lines()
            async for chunk in response.aiter_bytes():
                for line in lines.of(chunk):
                    for delta in deltas_of(line, running):
                        yield delta
            for line in lines.last():
                for delta in deltas_of(line, running):
                    yield delta
            check_ended(running)
        except httpx.TransportError as error:
            raise lost(error, running) from error
        finally:
            await response.aclose()

    async def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer(calls.complete(prompt, fields), deadline, fields)

    async def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, **fields: Any) -> List[Answer]:
        answers: List[Answer] = []
        until = deadline_at(deadline)
        for question in calls.complete_all(prompts, fields):
            answers += await self._ask(question, seconds_left(until))
        return answers

    async def tokenize(self, text: str, **fields: Any) -> List[int]:
        return await self._ask(calls.tokenize(text, fields))

    async def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return await self._ask(calls.detokenize(tokens, fields))

    async def models(self) -> List[Model]:
        return await self._ask(calls.models())

    async def load(self) -> List[Load]:
        return await all_of(self._load_of(server) for server in self._addresses)

    async def _load_of(self, server: str) -> Load:
        try:
            return await self._ask(calls.load(server), calls.LOAD_TIMEOUT_S)
        except (DeadlineExceeded, ServerUnreachable) as error:
            raise ServerUnreachable(f"{server}: {error}") from error

    async def warm_up(self, timeout: float = 10.0) -> None:
        timeout = _checks.seconds("timeout", timeout, least=0.001)
        reached = await all_of(self._reaches(server, timeout) for server in self._addresses)
        check_reached([server for server, there in zip(self._addresses, reached) if not there], timeout)

    async def _reaches(self, server: str, timeout: float) -> bool:
        try:
            await self._ask(calls.sign_of_life(server), timeout)
        except (ServerUnreachable, DeadlineExceeded):
            return False
        except HadalError:
            pass  # whatever it says, it is there
        return True

    async def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        return await self._ask(await self._ask(calls.batch_file(questions, fields)))

    async def batch(self, batch: Union[str, Batch]) -> Batch:
        return await self._ask(self._of_batch(batch))

    async def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        return await self._ask(self._of_batch(batch, "POST", "/cancel"))

    async def batch_answers(self, batch: Batch, *, progress: Optional[Progress] = None) -> Dict[str, Union[Answer, HadalError]]:
        found: Dict[str, Union[Answer, HadalError]] = {}
        before = 0
        for file in batch.files:
            download = Download(self._transport.targets.options, told(progress), before)
            while not download.ended:
                try:
                    await self._download(file, batch, download)
                except HadalError as error:
                    await asyncio.sleep(download.broke_off(error))
            before += download.offset
            found.update(answers_in(download.content().decode()))
        return found

    async def _download(self, file: str, batch: Batch, download: Download) -> None:
        question = self._rest_of(file, batch, download)
        response = await self._send(question, None, stream=True)
        try:
            download.begins_http(response.status_code, response.headers)
            async for chunk in response.aiter_bytes():
                download.got(chunk)
        except httpx.TransportError as error:
            raise unreachable(error, response.request) from error
        finally:
            await response.aclose()
        download.ends()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def _end_thinking(self, running: Running) -> None:
        await self._ask(calls.end_thinking(running))

    async def _answer(self, question: Question[Answer], deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        return await self._flights.ask(self._key(question, fields), deadline, lambda left: self._ask(question, left))

    async def _ask(self, question: Question[T], deadline: Optional[float] = None) -> T:
        return question.read(await self._send(question, deadline))

    async def _send(self, question: Question[T], deadline: Optional[float], stream: bool = False) -> Any:
        request = self._build(self._http, question, deadline)
        try:
            response = await self._http.send(request, stream=stream)
            if response.status_code not in (200, 206):
                await response.aread()
                raise error_of(response)
        except httpx.TransportError as error:
            raise unreachable(error, request) from error
        return response
