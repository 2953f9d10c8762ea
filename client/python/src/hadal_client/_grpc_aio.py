# SPDX-License-Identifier: Apache-2.0
"""Client over gRPC, for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncGenerator, Dict, List, Optional, Sequence, Set, Union

import grpc
import grpc.aio

from . import _inference_pb2 as pb
from ._cache import Cache
from ._errors import ServerUnreachable
from ._grpc import LOAD_TIMEOUT_S, OPTIONS, Base, report_load, stub_of
from ._grpc_messages import WholeAnswer, delta_of, error_of, models_of
from ._retry import Call, RetryOptions, Target
from ._sharing import AsyncFlights
from ._stream import AsyncStream, Running
from ._types import Answer, Delta, Messages, Model, Prompt


class AsyncGrpcClient(Base):
    """GrpcClient for asyncio."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False):
        super().__init__(servers, retry, api_key, priority, credentials is not None, cache, coalesce)
        self._flights = AsyncFlights(self._asker)
        self._questions: Set[asyncio.Future[Any]] = set()
        self._channels = {target: grpc.aio.secure_channel(target.address, credentials, OPTIONS) if credentials
                          else grpc.aio.insecure_channel(target.address, OPTIONS) for target in self.targets.all}

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer("Chat", self._chat(messages, fields), deadline, fields)

    async def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer("Generate", self._generate(prompt, fields), deadline, fields)

    async def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, max_in_flight: int = 32, **fields: Any) -> List[Answer]:
        bound = asyncio.Semaphore(max(1, max_in_flight))

        async def one(prompt: Prompt) -> Answer:
            async with bound:
                return await self.complete(prompt, deadline=deadline, **fields)

        return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncStream:
        running = Running()
        return AsyncStream(self._pieces(running, self._chat(messages, fields), deadline), running, self._end_thinking)

    async def _pieces(self, running: Running, request: Any, deadline: Optional[float]) -> AsyncGenerator[Delta, None]:
        responses = self._responses("Chat", request, deadline, running)
        try:
            async for response in responses:
                delta = delta_of(response)
                if delta is not None:
                    yield delta
        finally:
            await responses.aclose()  # a loop that is left early does not close it in time

    async def _end_thinking(self, running: Running) -> None:
        await self._unary("EndThinking", pb.EndThinkingRequest(request_id=running.answer_id), pb.EndThinkingResponse, running.server)

    async def tokenize(self, text: str) -> List[int]:
        return list((await self._unary("Tokenize", pb.TokenizeRequest(text=text), pb.TokenizeResponse)).token_ids)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return str((await self._unary("Detokenize", pb.DetokenizeRequest(token_ids=tokens), pb.DetokenizeResponse)).text)

    async def models(self) -> List[Model]:
        return models_of(await self._unary("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse))

    async def load(self) -> List[Any]:
        return list(await asyncio.gather(*(self._load_of(channel) for channel in self._channels.values())))

    async def _load_of(self, channel: Any) -> Any:
        return await stub_of(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False)(
            pb.GetLoadRequest(), timeout=LOAD_TIMEOUT_S, metadata=self._key)

    async def warm_up(self, timeout: float = 10.0) -> None:
        for channel in self._channels.values():
            await asyncio.wait_for(channel.channel_ready(), timeout)

    async def aclose(self) -> None:
        for question in list(self._questions):
            question.cancel()
        for channel in self._channels.values():
            await channel.close(None)

    async def __aenter__(self) -> AsyncGrpcClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def _answer(self, method: str, request: Any, deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        async def make(left: Optional[float]) -> Answer:
            return await self._whole(method, request, left)

        return await self._flights.ask(self._answer_key(method, request, fields), deadline, make)

    async def _whole(self, method: str, request: Any, deadline: Optional[float]) -> Answer:
        whole = WholeAnswer()
        async for response in self._responses(method, request, deadline, Running()):
            whole.add(response)
        return whole.answer

    def _refresh_loads(self) -> None:
        if len(self._channels) == 1:
            return
        for target, channel in self._channels.items():
            if target.should_ask_for_load():
                question = asyncio.ensure_future(self._load_of(channel))
                self._questions.add(question)  # a loop holds its tasks weakly
                question.add_done_callback(self._questions.discard)
                question.add_done_callback(lambda done, target=target: report_load(target, done))

    async def _begin(self, call: Call, error: Any) -> Target:
        self._refresh_loads()
        while True:
            target = call.begin()
            if target is not None:
                return target
            wait = call.wait()
            if wait is None:
                raise error_of(error, call) if error is not None else ServerUnreachable("no server may be called before the deadline")
            await asyncio.sleep(wait)

    async def _unary(self, method: str, request: Any, response: Any, only: Optional[Target] = None) -> Any:
        call = Call(self.targets, only=only)
        error: Any = None
        while True:
            target = await self._begin(call, error)
            try:
                answer = await stub_of(self._channels[target], method, type(request), response, False)(
                    request, timeout=call.remaining(), metadata=self._metadata(call))
            except grpc.aio.AioRpcError as caught:
                error = caught
                self._ended(call, caught)
                continue
            except BaseException:  # its caller has gone
                target.finish()
                raise
            call.served()
            target.finish()
            return answer

    async def _responses(self, method: str, request: Any, deadline: Optional[float], running: Running) -> AsyncGenerator[Any, None]:
        call = Call(self.targets, deadline)
        error: Any = None
        while True:
            target = await self._begin(call, error)
            stream = stub_of(self._channels[target], method, type(request), pb.GenerateResponse, True)(
                request, timeout=call.remaining(), metadata=self._metadata(call))
            responses = stream.__aiter__()
            try:
                first = await responses.__anext__()
            except StopAsyncIteration:
                call.served()
                target.finish()
                return
            except grpc.aio.AioRpcError as caught:
                error = caught
                self._ended(call, caught)
                continue
            except BaseException:  # its caller has gone
                stream.cancel()
                target.finish()
                raise
            call.served()
            running.server = target
            running.request_id = running.answer_id = first.request_id
            try:
                yield first
                async for response in responses:
                    yield response
                return
            except grpc.aio.AioRpcError as caught:
                raise error_of(caught, call) from caught
            finally:
                stream.cancel()
                target.finish()
