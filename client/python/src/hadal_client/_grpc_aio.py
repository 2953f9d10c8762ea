# SPDX-License-Identifier: Apache-2.0
"""Client over gRPC, for asyncio."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, AsyncGenerator, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, Union

import grpc
import grpc.aio

from . import _checks
from . import _grpc_batches as batches
from . import _grpc_calls as calls
from . import _inference_pb2 as pb
from ._batches import Batch, answers_in, id_of
from ._cache import Cache
from ._download import Download, Progress, told
from ._errors import DeadlineExceeded, HadalError, ServerUnreachable, check_reached
from ._grpc_attempts import Attempt, Attempts
from ._grpc_calls import Base, Question, T, note_load
from ._grpc_messages import delta_of
from ._hedging import first_of_async
from ._retry import RetryOptions, Target
from ._sharing import AsyncFlights, all_of, deadline_at, seconds_left
from ._stream import AsyncStream, Running
from ._types import Answer, Delta, Load, Messages, Model, Prompt


class AsyncGrpcClient(Base):
    """GrpcClient for asyncio."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None, ca_file: Optional[str] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False, max_calls: Optional[int] = None):
        super().__init__(grpc.aio, servers, retry, api_key, priority, credentials, ca_file, cache, coalesce, max_calls)
        self._flights = AsyncFlights(self._asker)
        self._loads: Set[asyncio.Future[Any]] = set()

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer(self._chat(messages, fields), deadline, fields)

    async def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer(self._generate(prompt, fields), deadline, fields)

    async def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, max_in_flight: int = 32, **fields: Any) -> List[Answer]:
        until = deadline_at(deadline)
        bound = asyncio.Semaphore(max(1, max_in_flight))

        async def one(prompt: Prompt) -> Answer:
            async with bound:
                return await self.complete(prompt, deadline=seconds_left(until), **fields)

        return await all_of(one(prompt) for prompt in calls.one_each(prompts, fields))

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncStream:
        running = Running()
        return AsyncStream(self._pieces(running, self._chat(messages, fields), deadline), running, self._end_thinking)

    async def _pieces(self, running: Running, request: Any, deadline: Optional[float]) -> AsyncGenerator[Delta, None]:
        responses = self._responses(self._generation(request, deadline, running))
        try:
            async for response in responses:
                delta = delta_of(response, running)
                if delta is not None:
                    yield delta
            running.check_whole()
        finally:
            await responses.aclose()  # a loop that is left early does not close it in time

    async def _end_thinking(self, running: Running) -> None:
        await self._ask(calls.end_thinking(running), running.server)

    async def tokenize(self, text: str, **fields: Any) -> List[int]:
        return await self._ask(calls.tokenize(text, fields))

    async def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return await self._ask(calls.detokenize(tokens, fields))

    async def models(self) -> List[Model]:
        return await self._ask(calls.models())

    async def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        file, keeper = await self._ask_whom(batches.upload(questions, fields))
        return await self._ask(batches.creation(file, keeper.address), keeper)

    async def batch(self, batch: Union[str, Batch]) -> Batch:
        keeper = self._keeper(batch)
        return await self._ask(batches.state(id_of(batch), keeper.address), keeper)

    async def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        keeper = self._keeper(batch)
        return await self._ask(batches.cancelling(id_of(batch), keeper.address), keeper)

    async def batch_answers(self, batch: Batch, *, progress: Optional[Progress] = None) -> Dict[str, Union[Answer, HadalError]]:
        found: Dict[str, Union[Answer, HadalError]] = {}
        before = 0
        for file in batch.files:
            download = Download(self.targets.options, told(progress), before)
            while not download.ended:
                try:
                    async for piece in self._responses(self._rest_of(file, self._keeper(batch), download)):
                        download.got_message(piece)
                    download.ends()
                except HadalError as error:
                    await asyncio.sleep(download.broke_off(error))
            before += download.offset
            found.update(answers_in(download.content().decode()))
        return found

    async def load(self) -> List[Load]:
        return await all_of(self._load_of(target) for target in self._channels)

    async def _load_of(self, target: Target) -> Load:
        try:
            return await self._ask(calls.load(target.address), target, calls.LOAD_TIMEOUT_S)
        except (DeadlineExceeded, ServerUnreachable) as error:
            raise ServerUnreachable(f"{target.address}: {error}") from error

    async def _ask_for_load(self, channel: Any) -> Any:
        return await self._load_stub(channel)(pb.GetLoadRequest(), **self._load_options())

    async def warm_up(self, timeout: float = 10.0) -> None:
        timeout = _checks.seconds("timeout", timeout, least=0.001)
        ready = {target: asyncio.ensure_future(channel.channel_ready()) for target, channel in self._channels.items()}
        try:
            await asyncio.wait(ready.values(), timeout=timeout)
            check_reached([target.address for target, one in ready.items() if not one.done()], timeout)
        finally:
            for one in ready.values():
                one.cancel()

    async def aclose(self) -> None:
        for asked in list(self._loads):
            asked.cancel()
        for channel in self._channels.values():
            await channel.close(None)

    async def __aenter__(self) -> AsyncGrpcClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def _answer(self, request: Any, deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        async def make(left: Optional[float]) -> Answer:
            attempts = self._generation(request, left)
            async for _ in self._responses(attempts):
                pass
            return attempts.answer

        return await self._flights.ask(self._answer_key(request, fields), deadline, make)

    async def _begin(self, attempts: Attempts) -> Attempt:
        for target in self.targets.to_ask_for_load():
            asked = asyncio.ensure_future(self._ask_for_load(self._channels[target]))
            self._loads.add(asked)  # a loop holds its tasks weakly
            asked.add_done_callback(self._loads.discard)
            asked.add_done_callback(functools.partial(note_load, target))
        while True:
            attempt = attempts.begin()
            if attempt is not None:
                return attempt
            await asyncio.sleep(attempts.wait())

    async def _answered(self, attempts: Attempts) -> Attempt:
        while True:
            attempt = await first_of_async(_wait, await self._begin(attempts), attempts.hedge, attempts.call.hedge_delay())
            if attempt is not None:
                return attempt

    async def _responses(self, attempts: Attempts) -> AsyncGenerator[Any, None]:
        with await attempts.take_async():
            while True:
                attempt = await self._answered(attempts)
                try:
                    response = attempt.first
                    while response is not None:
                        yield attempts.received(response)
                        response = await _next(attempt.call)
                    attempt.note_load(await attempt.call.trailing_metadata())
                    return
                except grpc.RpcError as error:
                    attempt.failed(error)
                finally:
                    attempt.cancel()

    async def _ask(self, question: Question[T], only: Optional[Target] = None, deadline: Optional[float] = None) -> T:
        return (await self._ask_whom(question, only, deadline))[0]

    async def _ask_whom(self, question: Question[T], only: Optional[Target] = None, deadline: Optional[float] = None) -> Tuple[T, Target]:
        attempts = self._question(question, only, deadline)
        with await attempts.take_async():
            attempt = await self._answered(attempts)
            attempt.note_load(await attempt.call.trailing_metadata())
            attempt.cancel()
            return question.read(attempt.first), attempt.target


async def _next(call: Any) -> Any:
    """The next piece; None: that was the last one."""
    piece = await call.read()
    return None if piece is grpc.aio.EOF else piece


async def _wait(attempt: Attempt) -> None:
    """Until its answer begins, or there is none."""
    try:
        attempt.first = await (_next(attempt.call) if attempt.streams else attempt.call)
    except grpc.RpcError as error:
        attempt.error = error
