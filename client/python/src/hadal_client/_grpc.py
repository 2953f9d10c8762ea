# SPDX-License-Identifier: Apache-2.0
"""Client over gRPC, for threads. It wants `pip install hadal-client[grpc]`; gRPC's own retries are off, since they know no tickets."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Generator, Iterator, List, Optional, Sequence, Tuple, Union

import grpc

from . import _inference_pb2 as pb
from ._cache import Cache
from ._errors import ServerUnreachable
from ._grpc_messages import HTTP_STATUS, PRIORITIES, WholeAnswer, chat_messages, delta_of, error_of, fill, models_of, refusal_of, unanswered
from ._retry import Call, Refusal, RetryOptions, Target, Targets
from ._sharing import Asker, Flights
from ._stream import Running, Stream
from ._types import Answer, Delta, Messages, Model, Prompt

LOAD_TIMEOUT_S = 5.0  # a server that does not say its load by then is chosen by this client's calls alone
_SERVICE = "/hadal.v1.Inference/"
# Signs of life are asked for as long as a call waits; gRPC by itself stops after two where nothing is sent.
OPTIONS = [("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 60_000), ("grpc.http2.max_pings_without_data", 0),
           ("grpc.max_receive_message_length", 64 << 20)]


class Base:
    def __init__(self, servers: Union[str, Sequence[str]], retry: RetryOptions, api_key: Optional[str], priority: Optional[str], private: bool,
                 cache: Optional[Cache], coalesce: bool):
        if priority is not None and priority not in PRIORITIES:
            raise ValueError(f"priority: expected {', '.join(PRIORITIES)}, found {priority!r}")
        listed = [servers] if isinstance(servers, str) else list(servers)
        self.targets = Targets([server[len("grpc://"):] if server.startswith("grpc://") else server for server in listed], retry)
        self._key = [("authorization", f"Bearer {api_key}")] if api_key else []
        self._priority = priority
        self._asker = Asker("grpc", [target.address for target in self.targets.all], api_key, private, cache, coalesce)

    def _answer_key(self, method: str, request: Any, fields: Dict[str, Any]) -> Optional[str]:
        return self._asker.key(method, fields, request.SerializeToString(deterministic=True).hex())

    def _metadata(self, call: Call) -> List[Tuple[str, str]]:
        # The deadline is the call's own, by grpc-timeout.
        given = [(name, value) for name, value in call.headers().items() if name != "x-hadal-deadline-ms"]
        return self._key + given

    def _chat(self, messages: Messages, fields: Dict[str, Any]) -> Any:
        request = fill(pb.ChatRequest(messages=chat_messages(messages)), fields)
        if self._priority:
            request.priority = PRIORITIES[self._priority]
        return request

    def _generate(self, prompt: Prompt, fields: Dict[str, Any]) -> Any:
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


def report_load(target: Target, done: Any) -> None:
    if not done.cancelled() and done.exception() is None:
        load = done.result()
        # One that is not ready, or drains, has more than any other.
        target.report((0.0 if load.ready and not load.draining else 1e9) + load.requests_running + load.requests_waiting)


def stub_of(channel: Any, method: str, request: Any, response: Any, streams: bool) -> Any:
    make = channel.unary_stream if streams else channel.unary_unary
    return make(_SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString)


class GrpcClient(Base):
    """Client over gRPC, with the same calls and the same behaviour; `servers` are HOST:PORT. Thread-safe. `credentials` of grpc make it TLS."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False):
        super().__init__(servers, retry, api_key, priority, credentials is not None, cache, coalesce)
        self._flights = Flights(self._asker)
        self._channels = {target: grpc.secure_channel(target.address, credentials, OPTIONS) if credentials
                          else grpc.insecure_channel(target.address, OPTIONS) for target in self.targets.all}

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._answer("Chat", self._chat(messages, fields), deadline, fields)

    def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._answer("Generate", self._generate(prompt, fields), deadline, fields)

    def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, max_in_flight: int = 32, **fields: Any) -> List[Answer]:
        """Continues many texts, or many batches of token ids, at most `max_in_flight` at once; gRPC has no call for several, and the server computes them
        in the same steps. The answers come in the order of the prompts; the first error is raised. `deadline` is of each one."""
        with ThreadPoolExecutor(max(1, max_in_flight)) as threads:
            calls = [threads.submit(self.complete, prompt, deadline=deadline, **fields) for prompt in prompts]
            try:
                return [call.result() for call in calls]
            finally:
                for call in calls:
                    call.cancel()  # those that have not begun

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
        return [stub_of(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False)(pb.GetLoadRequest(), timeout=LOAD_TIMEOUT_S, metadata=self._key)
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

    def _answer(self, method: str, request: Any, deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        def make(left: Optional[float]) -> Answer:
            return self._whole(method, request, left)

        return self._flights.ask(self._answer_key(method, request, fields), deadline, make)

    def _whole(self, method: str, request: Any, deadline: Optional[float]) -> Answer:
        whole = WholeAnswer()
        for response in self._responses(method, request, deadline, Running()):
            whole.add(response)
        return whole.answer

    def _refresh_loads(self) -> None:
        """Where there is a choice: asks servers whose last word is a second old. Does not wait."""
        if len(self._channels) == 1:
            return
        for target, channel in self._channels.items():
            if target.should_ask_for_load():
                question = stub_of(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False).future(
                    pb.GetLoadRequest(), timeout=LOAD_TIMEOUT_S, metadata=self._key)
                question.add_done_callback(lambda done, target=target: report_load(target, done))

    def _begin(self, call: Call, error: Any) -> Target:
        self._refresh_loads()
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
            stream = stub_of(self._channels[target], method, type(request), pb.GenerateResponse, True)(
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
                answer = stub_of(self._channels[target], method, type(request), response, False)(
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
