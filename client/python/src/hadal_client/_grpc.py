# SPDX-License-Identifier: Apache-2.0
"""Clients over gRPC. They want `pip install hadal-client[grpc]`; gRPC's own retries are off, since they know no tickets."""

from __future__ import annotations

import asyncio
import time
from typing import Any, AsyncGenerator, Dict, Generator, Iterator, List, Optional, Sequence, Tuple, Union

import grpc
import grpc.aio

from . import _inference_pb2 as pb
from ._errors import ServerUnreachable
from ._grpc_messages import HTTP_STATUS, PRIORITIES, WholeAnswer, chat_messages, delta_of, error_of, fill, models_of, refusal_of, unanswered
from ._retry import Call, Refusal, RetryOptions, Target, Targets
from ._stream import AsyncStream, Running, Stream
from ._types import Answer, Delta, Messages, Model

_SERVICE = "/hadal.v1.Inference/"
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 60_000), ("grpc.max_receive_message_length", 64 << 20)]


class _Base:
    def __init__(self, servers: Union[str, Sequence[str]], retry: RetryOptions, api_key: Optional[str], priority: Optional[str]):
        if priority is not None and priority not in PRIORITIES:
            raise ValueError(f"priority: expected {', '.join(PRIORITIES)}, found {priority!r}")
        listed = [servers] if isinstance(servers, str) else list(servers)
        self.targets = Targets([server[len("grpc://"):] if server.startswith("grpc://") else server for server in listed], retry)
        self._key = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._priority = priority

    def _metadata(self, call: Call) -> List[Tuple[str, str]]:
        # The deadline is the call's own, by grpc-timeout.
        given = [(name, value) for name, value in call.headers().items() if name != "x-hadal-deadline-ms"]
        return self._key + given

    def _chat(self, messages: Messages, fields: Dict[str, Any]) -> Any:
        request = fill(pb.ChatRequest(messages=chat_messages(messages)), fields)
        if self._priority:
            request.priority = PRIORITIES[self._priority]
        return request

    def _generate(self, prompt: Union[str, Sequence[int]], fields: Dict[str, Any]) -> Any:
        request = pb.GenerateRequest(text=prompt) if isinstance(prompt, str) else pb.GenerateRequest(token_ids=pb.TokenIds(ids=prompt))
        if self._priority:
            request.priority = PRIORITIES[self._priority]
        return fill(request, fields)

    def _ended(self, call: Call, error: Any) -> None:
        """An attempt came to nothing; raises when that is final."""
        if unanswered(error):
            call.failed()
            return
        refusal, _ = refusal_of(error)
        if refusal is None:
            call.refused(Refusal(HTTP_STATUS.get(error.code().name, 500), should_retry=False))
            raise error_of(error, call) from error
        call.refused(refusal)


def _stub(channel: Any, method: str, request: Any, response: Any, streams: bool) -> Any:
    make = channel.unary_stream if streams else channel.unary_unary
    return make(_SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString)


class GrpcClient(_Base):
    """Client over gRPC, with the same calls and the same behaviour; `servers` are HOST:PORT. Thread-safe. `credentials` of grpc make it TLS."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None):
        super().__init__(servers, retry, api_key, priority)
        self._channels = {target: grpc.secure_channel(target.address, credentials, _OPTIONS) if credentials
                          else grpc.insecure_channel(target.address, _OPTIONS) for target in self.targets.all}

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._whole("Chat", self._chat(messages, fields), deadline)

    def complete(self, prompt: Union[str, Sequence[int]], *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._whole("Generate", self._generate(prompt, fields), deadline)

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Stream:
        """The answer as it is written; the first piece asks for it."""
        running = Running()
        return Stream(self._pieces(running, self._chat(messages, fields), deadline), running, self._end_thinking)

    def _pieces(self, running: Running, request: Any, deadline: Optional[float]) -> Generator[Delta, None, None]:
        for response in self._responses("Chat", request, deadline, running):
            delta = delta_of(response)
            if delta is not None:
                yield delta

    def _end_thinking(self, running: Running) -> None:
        self._unary("EndThinking", pb.EndThinkingRequest(request_id=running.answer_id), pb.EndThinkingResponse, running.server)

    def tokenize(self, text: str) -> List[int]:
        return list(self._unary("Tokenize", pb.TokenizeRequest(text=text), pb.TokenizeResponse).token_ids)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return str(self._unary("Detokenize", pb.DetokenizeRequest(token_ids=tokens), pb.DetokenizeResponse).text)

    def models(self) -> List[Model]:
        return models_of(self._unary("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse))

    def load(self) -> List[Any]:
        """GetLoadResponse of each server."""
        return [_stub(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False)(pb.GetLoadRequest(), timeout=10, metadata=self._key)
                for channel in self._channels.values()]

    def warm_up(self, timeout: float = 10.0) -> None:
        """Resolves names and opens the connections ahead of the first call."""
        for channel in self._channels.values():
            grpc.channel_ready_future(channel).result(timeout)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _whole(self, method: str, request: Any, deadline: Optional[float]) -> Answer:
        whole = WholeAnswer()
        for response in self._responses(method, request, deadline, Running()):
            whole.add(response)
        return whole.answer

    def _begin(self, call: Call, error: Any) -> Target:
        while True:
            target = call.begin()
            if target is not None:
                return target
            wait = call.wait()
            if wait is None:
                raise error_of(error, call) if error is not None else ServerUnreachable("no server may be called before the deadline")
            time.sleep(wait)

    def _responses(self, method: str, request: Any, deadline: Optional[float], running: Running) -> Iterator[Any]:
        call = Call(self.targets, deadline)
        error: Any = None
        while True:
            target = self._begin(call, error)
            stream = _stub(self._channels[target], method, type(request), pb.GenerateResponse, True)(
                request, timeout=call.remaining(), metadata=self._metadata(call))
            try:
                first = next(stream)
            except StopIteration:
                call.served()
                target.finish()
                return
            except grpc.RpcError as caught:
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
                yield from stream
                return
            except grpc.RpcError as caught:
                raise error_of(caught, call) from caught
            finally:
                stream.cancel()
                target.finish()

    def _unary(self, method: str, request: Any, response: Any, only: Optional[Target] = None) -> Any:
        call = Call(self.targets, only=only)
        error: Any = None
        while True:
            target = self._begin(call, error)
            try:
                answer = _stub(self._channels[target], method, type(request), response, False)(
                    request, timeout=call.remaining(), metadata=self._metadata(call))
            except grpc.RpcError as caught:
                error = caught
                self._ended(call, caught)
                continue
            except BaseException:  # its caller has gone
                target.finish()
                raise
            call.served()
            target.finish()
            return answer


class AsyncGrpcClient(_Base):
    """GrpcClient for asyncio."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None):
        super().__init__(servers, retry, api_key, priority)
        self._channels = {target: grpc.aio.secure_channel(target.address, credentials, _OPTIONS) if credentials
                          else grpc.aio.insecure_channel(target.address, _OPTIONS) for target in self.targets.all}

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._whole("Chat", self._chat(messages, fields), deadline)

    async def complete(self, prompt: Union[str, Sequence[int]], *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._whole("Generate", self._generate(prompt, fields), deadline)

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
        return await _stub(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False)(pb.GetLoadRequest(), timeout=10, metadata=self._key)

    async def warm_up(self, timeout: float = 10.0) -> None:
        for channel in self._channels.values():
            await asyncio.wait_for(channel.channel_ready(), timeout)

    async def aclose(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    async def __aenter__(self) -> AsyncGrpcClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def _whole(self, method: str, request: Any, deadline: Optional[float]) -> Answer:
        whole = WholeAnswer()
        async for response in self._responses(method, request, deadline, Running()):
            whole.add(response)
        return whole.answer

    async def _begin(self, call: Call, error: Any) -> Target:
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
                answer = await _stub(self._channels[target], method, type(request), response, False)(
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
            stream = _stub(self._channels[target], method, type(request), pb.GenerateResponse, True)(
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
