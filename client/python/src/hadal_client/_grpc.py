# SPDX-License-Identifier: Apache-2.0
"""Clients over gRPC. They want `pip install hadal-client[grpc]`; gRPC's own retries are off, since they know no tickets."""

from __future__ import annotations

import asyncio
import time
from typing import Any, AsyncGenerator, AsyncIterator, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import grpc
import grpc.aio

from . import _inference_pb2 as pb
from ._errors import DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable
from ._retry import Call, Refusal, RetryOptions, Target, Targets
from ._types import Answer, Delta, Messages, Model, Usage

_SERVICE = "/hadal.v1.Inference/"
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 60_000), ("grpc.max_receive_message_length", 64 << 20)]
_FINISH = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length", pb.FINISH_REASON_TOOL_CALLS: "tool_calls",
           pb.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE: "insufficient_system_resource"}
_PRIORITY = {"high": pb.PRIORITY_HIGH, "normal": pb.PRIORITY_NORMAL, "low": pb.PRIORITY_LOW, "batch": pb.PRIORITY_BATCH}
_STATUS = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429,
           "CANCELLED": 499, "INTERNAL": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}

# Where a field of the HTTP API has another place in the messages.
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "seed")
_STOPPING = ("max_tokens", "ignore_eos", "min_tokens")


def _fill(request: Any, fields: Dict[str, Any]) -> Any:
    """Sets what the caller gave by the names of the HTTP API, or raises ValueError that names what there is no place for."""
    for name, value in fields.items():
        if value is None:
            continue
        if name in _SAMPLING:
            setattr(request.sampling, name, value)
        elif name == "stop":
            request.stopping.stop.extend([value] if isinstance(value, str) else value)
        elif name == "stop_token_ids":
            request.stopping.stop_token_ids.extend(value)
        elif name in _STOPPING:
            setattr(request.stopping, name, value)
        elif name == "documents" and hasattr(request, "documents"):
            request.documents.extend(value)
        elif name in request.DESCRIPTOR.fields_by_name and isinstance(value, (str, int, float)):
            setattr(request, name, value)
        else:
            raise ValueError(f"{name}: not a field that this client sends over gRPC; use Client, over HTTP")
    return request


def _messages(messages: Messages) -> List[Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return [pb.ChatMessage(**message) for message in messages]


def _fields(data: bytes) -> Iterator[Tuple[int, Any]]:
    """(number, value) of a Protobuf message's fields; values are integers or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            yield key >> 3, data[at:at + size]
            at += size
        else:
            return


def _reason(trailers: Dict[str, Any]) -> Optional[str]:
    """The reason in google.rpc.ErrorInfo. By hand: the modules of google.rpc are often there in another version, and may be loaded once only."""
    try:
        for number, detail in _fields(trailers.get("grpc-status-details-bin", b"")):
            packed = dict(_fields(detail)) if number == 3 else {}
            if packed.get(1, b"").endswith(b"/google.rpc.ErrorInfo"):
                return str(dict(_fields(packed[2]))[1], "utf-8")
    except (IndexError, KeyError, TypeError, UnicodeDecodeError):
        pass
    return None


def _refusal(error: Any) -> Tuple[Optional[Refusal], str]:
    """What the trailers say, or None when another attempt is of no use; and the request's id."""
    trailers = dict(error.trailing_metadata() or ())
    pushback = trailers.get("grpc-retry-pushback-ms")
    status = _STATUS.get(error.code().name, 500)
    request_id = trailers.get("x-request-id", "")
    if status not in (429, 503) or (pushback is None and status == 429):
        return None, request_id
    after = float(pushback) / 1000 if pushback is not None else None
    ticket = trailers.get("x-hadal-ticket")
    final = after is not None and after < 0
    # A ticket without a promise is no harm: the server knows what it has promised.
    return Refusal(status, _reason(trailers), None if final else after, False if final else None, ticket, ticket is not None), request_id


def _unanswered(error: Any) -> bool:
    """The connection could not be made, or broke: nothing of hadal's is in the trailers."""
    return error.code() == grpc.StatusCode.UNAVAILABLE and "x-request-id" not in dict(error.trailing_metadata() or ())


def _raise(error: Any, call: Call) -> HadalError:
    refusal, request_id = _refusal(error)
    message = error.details() or error.code().name
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    if _unanswered(error):
        return ServerUnreachable(message)
    status = _STATUS.get(error.code().name, 500)
    reason = _reason(dict(error.trailing_metadata() or ()))
    if refusal is None:
        return RequestError(message, status=status, reason=reason, request_id=request_id)
    return ServerBusy(message, status=status, reason=reason, request_id=request_id, retry_after=refusal.retry_after, attempts=call.attempts)


def _delta(response: Any) -> Optional[Delta]:
    calls = [{"index": one.index, "id": one.id or None, "function": {"name": one.name or None, "arguments": one.arguments}}
             for one in response.tool_calls]
    if response.text or response.reasoning or calls:
        return Delta(response.text, response.reasoning, calls, response.index)
    return None


class _Whole:
    """The whole answer, from the pieces of its first choice."""

    def __init__(self) -> None:
        self.answer = Answer()

    def add(self, response: Any) -> None:
        answer = self.answer
        answer.model = response.model or answer.model
        answer.request_id = response.request_id or answer.request_id
        if response.HasField("usage"):
            used = response.usage
            answer.usage = Usage(used.prompt_tokens, used.completion_tokens, used.prompt_cache_hit_tokens, used.reasoning_tokens)
        if response.index != 0:
            return
        answer.text += response.text
        answer.reasoning += response.reasoning
        answer.finish_reason = _FINISH.get(response.finish_reason, answer.finish_reason)
        for piece in response.tool_calls:
            while len(answer.tool_calls) <= piece.index:
                answer.tool_calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
            tool = answer.tool_calls[piece.index]
            tool["id"] += piece.id
            tool["function"]["name"] += piece.name
            tool["function"]["arguments"] += piece.arguments


class _Base:
    def __init__(self, servers: Union[str, Sequence[str]], retry: RetryOptions, api_key: Optional[str], priority: Optional[str]):
        if priority is not None and priority not in _PRIORITY:
            raise ValueError(f"priority: expected {', '.join(_PRIORITY)}, found {priority!r}")
        listed = [servers] if isinstance(servers, str) else list(servers)
        self.targets = Targets([server[len("grpc://"):] if server.startswith("grpc://") else server for server in listed], retry)
        self._key = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._priority = priority

    def _metadata(self, call: Call) -> List[Tuple[str, str]]:
        # The deadline is the call's own, by grpc-timeout.
        given = [(name, value) for name, value in call.headers().items() if name != "x-hadal-deadline-ms"]
        return self._key + given

    def _chat(self, messages: Messages, fields: Dict[str, Any]) -> Any:
        request = _fill(pb.ChatRequest(messages=_messages(messages)), fields)
        if self._priority:
            request.priority = _PRIORITY[self._priority]
        return request

    def _generate(self, prompt: Union[str, Sequence[int]], fields: Dict[str, Any]) -> Any:
        request = pb.GenerateRequest(text=prompt) if isinstance(prompt, str) else pb.GenerateRequest(token_ids=pb.TokenIds(ids=prompt))
        if self._priority:
            request.priority = _PRIORITY[self._priority]
        return _fill(request, fields)

    def _ended(self, call: Call, error: Any) -> None:
        """An attempt came to nothing; raises when that is final."""
        if _unanswered(error):
            call.failed()
            return
        refusal, _ = _refusal(error)
        if refusal is None:
            call.refused(Refusal(_STATUS.get(error.code().name, 500), should_retry=False))
            raise _raise(error, call) from error
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

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Iterator[Delta]:
        """The answer as it is written. To leave the loop early cancels the call."""
        for response in self._responses("Chat", self._chat(messages, fields), deadline):
            delta = _delta(response)
            if delta is not None:
                yield delta

    def tokenize(self, text: str) -> List[int]:
        return list(self._unary("Tokenize", pb.TokenizeRequest(text=text), pb.TokenizeResponse).token_ids)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return str(self._unary("Detokenize", pb.DetokenizeRequest(token_ids=tokens), pb.DetokenizeResponse).text)

    def models(self) -> List[Model]:
        return [Model(one.id, one.max_model_len) for one in self._unary("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse).models]

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
        whole = _Whole()
        for response in self._responses(method, request, deadline):
            whole.add(response)
        return whole.answer

    def _begin(self, call: Call, error: Any) -> Target:
        while True:
            target = call.begin()
            if target is not None:
                return target
            wait = call.wait()
            if wait is None:
                raise _raise(error, call) if error is not None else ServerUnreachable("no server may be called before the deadline")
            time.sleep(wait)

    def _responses(self, method: str, request: Any, deadline: Optional[float]) -> Iterator[Any]:
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
            call.served()
            try:
                yield first
                yield from stream
                return
            except grpc.RpcError as caught:
                raise _raise(caught, call) from caught
            finally:
                stream.cancel()
                target.finish()

    def _unary(self, method: str, request: Any, response: Any) -> Any:
        call = Call(self.targets)
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

    async def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncIterator[Delta]:
        responses = self._responses("Chat", self._chat(messages, fields), deadline)
        try:
            async for response in responses:
                delta = _delta(response)
                if delta is not None:
                    yield delta
        finally:
            await responses.aclose()  # a loop that is left early does not close it in time

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
        whole = _Whole()
        async for response in self._responses(method, request, deadline):
            whole.add(response)
        return whole.answer

    async def _begin(self, call: Call, error: Any) -> Target:
        while True:
            target = call.begin()
            if target is not None:
                return target
            wait = call.wait()
            if wait is None:
                raise _raise(error, call) if error is not None else ServerUnreachable("no server may be called before the deadline")
            await asyncio.sleep(wait)

    async def _responses(self, method: str, request: Any, deadline: Optional[float]) -> AsyncGenerator[Any, None]:
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
            call.served()
            try:
                yield first
                async for response in responses:
                    yield response
                return
            except grpc.aio.AioRpcError as caught:
                raise _raise(caught, call) from caught
            finally:
                stream.cancel()
                target.finish()
