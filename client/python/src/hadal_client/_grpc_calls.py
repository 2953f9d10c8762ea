# SPDX-License-Identifier: Apache-2.0
"""What both gRPC clients share: what is asked, and by whom. Nothing is sent here, and nobody sleeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Generic, Iterable, List, Optional, Sequence, TypeVar, Union

import grpc

from . import _batches_pb2 as batches_pb
from . import _checks
from . import _inference_pb2 as pb
from . import _load_reports as load_reports
from ._batches import Batch, id_of, keeper_of
from ._cache import Cache
from ._download import Download
from ._grpc_attempts import Attempts, stub_of
from ._grpc_channels import Channels
from ._grpc_fields import PRIORITIES, chat_messages, fill
from ._grpc_messages import load_of, models_of
from ._retry import RetryOptions, Target
from ._sharing import Asker
from ._stream import Running
from ._types import Load, Messages, Model, Prompt

LOAD_TIMEOUT_S = 5.0  # a server that does not say its load by then is chosen by this client's calls alone

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Question(Generic[T]):
    """A call that has one answer."""

    method: str               # of hadal.v1.Inference; else the whole path
    request: Any              # with `sends` a function that gives the messages of one attempt
    response: Any             # its type
    read: Callable[[Any], T]  # what its caller gets of it
    sends: Any = None         # the type of the messages, where there are several
    once: bool = False        # an attempt without an answer may have been successful, and must not be so twice


def tokenize(text: str, fields: Dict[str, Any]) -> Question[List[int]]:
    request = fill(pb.TokenizeRequest(text=_checks.text("text", text)), fields)
    return Question("Tokenize", request, pb.TokenizeResponse, lambda response: list(response.token_ids))


def detokenize(tokens: Iterable[int], fields: Dict[str, Any]) -> Question[str]:
    request = fill(pb.DetokenizeRequest(token_ids=_checks.token_ids("tokens", tokens)), fields)
    return Question("Detokenize", request, pb.DetokenizeResponse, lambda response: str(response.text))


def one_each(prompts: Sequence[Prompt], fields: Dict[str, Any]) -> List[Prompt]:
    """The prompts of complete_all. ValueError for what it cannot have."""
    if fields.get("n") not in (None, 1):
        raise ValueError(f"n is {fields['n']!r}; complete_all gives one answer to each prompt")
    return _checks.prompts(prompts)


def models() -> Question[List[Model]]:
    return Question("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse, models_of)


def load(server: str) -> Question[Load]:
    return Question("GetLoad", pb.GetLoadRequest(), pb.GetLoadResponse, lambda response: load_of(response, server))


def end_thinking(running: Running) -> Question[None]:
    return Question("EndThinking", pb.EndThinkingRequest(request_id=running.answer_id), pb.EndThinkingResponse, lambda response: None)


class Base(Channels):
    """Who calls, and what."""

    def __init__(self, module: Any, servers: Union[str, Sequence[str]], retry: RetryOptions, api_key: Optional[str], priority: Optional[str],
                 credentials: Optional[grpc.ChannelCredentials], ca_file: Optional[str], cache: Optional[Cache], coalesce: bool, max_calls: Optional[int]):
        servers = _checks.addresses(servers)
        self._priority = None if priority is None else _checks.priority(priority)
        super().__init__(module, servers, retry, api_key, credentials, ca_file, max_calls)
        self._asker = Asker("grpc", servers, api_key, credentials is not None, cache, coalesce)

    def _answer_key(self, request: Any, fields: Dict[str, Any]) -> Optional[str]:
        return self._asker.key(_METHODS[type(request)], fields, request.SerializeToString(deterministic=True).hex())

    def _chat(self, messages: Messages, fields: Dict[str, Any]) -> Any:
        return fill(self._prioritized(pb.ChatRequest(messages=chat_messages(messages))), _checks.no_stream(fields))

    def _generate(self, prompt: Prompt, fields: Dict[str, Any]) -> Any:
        prompt = _checks.prompt(prompt)
        request = pb.GenerateRequest(text=prompt) if isinstance(prompt, str) else pb.GenerateRequest(token_ids=pb.TokenIds(ids=prompt))
        return fill(self._prioritized(request), _checks.no_stream(fields))

    def _prioritized(self, request: Any) -> Any:
        if self._priority:
            request.priority = PRIORITIES[self._priority]
        return request

    def _generation(self, request: Any, deadline: Optional[float], running: Optional[Running] = None) -> Attempts:
        """`running`: its pieces go to a caller; else it is read to its end first."""
        return Attempts(self, _METHODS[type(request)], request, pb.GenerateResponse, True, deadline, running, whole=running is None)

    def _question(self, question: Question[T], only: Optional[Target] = None, deadline: Optional[float] = None) -> Attempts:
        return Attempts(self, question.method, question.request, question.response, False, deadline, only=only, once=question.once, sends=question.sends)

    def _rest_of(self, file: str, keeper: Target, download: Download) -> Attempts:
        request = batches_pb.DownloadFileRequest(id=file, offset=download.asks())
        return Attempts(self, "/hadal.v1.Batches/DownloadFile", request, batches_pb.DownloadFileResponse, True, only=keeper)

    def _keeper(self, batch: Union[str, Batch]) -> Target:
        """The server that has it."""
        address = keeper_of(batch, [target.address for target in self.targets.all])
        for target in self.targets.all:
            if target.address == address:
                return target
        raise ValueError(f"batch {id_of(batch)!r} is kept by {address}, which is no server of this client")

    def _load_stub(self, channel: Any) -> Any:
        return stub_of(channel, "GetLoad", pb.GetLoadRequest, pb.GetLoadResponse, False)

    def _load_options(self) -> Dict[str, Any]:
        return {"timeout": LOAD_TIMEOUT_S, "metadata": self._key}


_METHODS = {pb.ChatRequest: "Chat", pb.GenerateRequest: "Generate"}


def note_load(target: Target, done: Any) -> None:
    """What came of asking for it."""
    if not done.cancelled() and done.exception() is None:
        load = done.result()
        target.report((0.0 if load.ready and not load.draining else load_reports.UNFIT) + load.requests_running + load.requests_waiting)
