# SPDX-License-Identifier: Apache-2.0
"""What both HTTP clients share: who calls, and what is asked. Nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Generic, Iterable, Iterator, List, Mapping, Optional, Sequence, TypeVar, Union
from urllib.parse import quote

from . import _checks
from ._batches import Batch, batch_of, id_of, keeper_of, lines_of, submission_of
from ._cache import Cache
from ._download import Download
from ._http import DEADLINE, SERVER
from ._http_messages import answer_of, answers_of, chat_body, load_of
from ._httpx import httpx
from ._sharing import Asker
from ._stream import Running
from ._types import Answer, CallCounts, Load, Messages, Model, Prompt

_CONNECT_S = 10.0
LOAD_TIMEOUT_S = 5.0

# How many prompts a call of /v1/completions may have.
_MAX_PROMPTS = 128

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Question(Generic[T]):
    """A request that has one answer."""

    method: str
    path: str
    body: Optional[Dict[str, Any]]
    read: Callable[[Any], T]                                # what its caller gets of the response
    server: Optional[str] = None                            # that it is for alone
    content: Mapping[str, Any] = field(default_factory=dict)  # instead of a JSON body
    headers: Mapping[str, str] = field(default_factory=dict)  # besides those of every request


def chat(messages: Messages, fields: Dict[str, Any]) -> Question[Answer]:
    return Question("POST", "/v1/chat/completions", chat_body(messages, False, _checks.no_stream(fields)), _answer_in)


def chat_stream(messages: Messages, fields: Dict[str, Any]) -> Question[Any]:
    return Question("POST", "/v1/chat/completions", chat_body(messages, True, fields), lambda response: response)


def complete(prompt: Prompt, fields: Dict[str, Any]) -> Question[Answer]:
    return Question("POST", "/v1/completions", {"prompt": _checks.prompt(prompt), **_checks.no_stream(_checks.spelled(fields))}, _answer_in)


def complete_all(prompts: Sequence[Prompt], fields: Dict[str, Any]) -> Iterator[Question[List[Answer]]]:
    """ValueError for what one call cannot have."""
    if fields.get("n") not in (None, 1):
        raise ValueError(f"n is {fields['n']!r}; complete_all gives one answer to each prompt")
    prompts, fields = _checks.prompts(prompts), _checks.no_stream(_checks.spelled(fields))
    if len({isinstance(prompt, str) for prompt in prompts}) > 1:
        raise ValueError("prompts: either all are texts or all are token ids")
    for at in range(0, len(prompts), _MAX_PROMPTS):
        yield Question("POST", "/v1/completions", {"prompt": prompts[at:at + _MAX_PROMPTS], **fields}, _answers_in)


def tokenize(text: str, fields: Dict[str, Any]) -> Question[List[int]]:
    return Question("POST", "/tokenize", {"prompt": _checks.text("text", text), **fields}, lambda response: list(response.json()["tokens"]))


def detokenize(tokens: Iterable[int], fields: Dict[str, Any]) -> Question[str]:
    return Question("POST", "/detokenize", {"tokens": _checks.token_ids("tokens", tokens), **fields}, lambda response: str(response.json()["prompt"]))


def models() -> Question[List[Model]]:
    return Question("GET", "/v1/models", None, lambda response: [Model(one["id"], one.get("max_model_len", 0)) for one in response.json()["data"]])


def load(server: str) -> Question[Load]:
    """By the metrics: no other route says all of it."""
    return Question("GET", "/metrics", None, lambda response: load_of(response.text, server), server)


def sign_of_life(server: str) -> Question[None]:
    """Wants no key, and no room."""
    return Question("GET", "/health/live", None, lambda response: None, server)


def end_thinking(running: Running) -> Question[None]:
    return Question("POST", f"/v1/chat/completions/{quote(running.answer_id, safe='')}/control", {"action": "reasoning_end"}, lambda response: None, running.server)


def batch_file(questions: Mapping[str, Messages], fields: Dict[str, Any]) -> Question[Question[Batch]]:
    """Its answer is the next question: to the server that has the file now."""
    file = {"data": {"purpose": "batch"}, "files": {"file": ("questions.jsonl", lines_of(questions, fields))}}
    return Question("POST", "/v1/files", None, lambda response: _batch("POST", "", response.extensions[SERVER], submission_of(response.json()["id"])), content=file)


def _batch(method: str, path: str, server: str, body: Optional[Dict[str, Any]] = None) -> Question[Batch]:
    return Question(method, "/v1/batches" + path, body, lambda response: batch_of(response.json(), server), server)


def _answer_in(response: Any) -> Answer:
    return answer_of(response.json(), response.headers.get("x-request-id", ""))


def _answers_in(response: Any) -> List[Answer]:
    return answers_of(response.json(), response.headers.get("x-request-id", ""))


class Base:
    """What both clients have: who calls, whom, and how."""

    def __init__(self, transport: Any, private: bool, api_key: Optional[str], priority: Optional[str], timeout: float, cache: Optional[Cache], coalesce: bool):
        self._transport = transport
        self._addresses = [target.address for target in transport.targets.all]
        for address in self._addresses:
            if address.endswith("/v1"):
                raise ValueError(f"a server is given without the /v1 of its routes, found {address!r}")
        self._asker = Asker("http", self._addresses, api_key, private, cache, coalesce)
        self._headers: Dict[str, str] = {}
        key = _checks.api_key(api_key)
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        if priority is not None:
            self._headers["x-hadal-priority"] = _checks.priority(priority)
        # Between two pieces of an answer; a whole call is bounded by its deadline.
        self._timeout = _checks.seconds("timeout", timeout, least=0.001)

    def counts(self) -> CallCounts:
        """What the client has done so far."""
        counts: CallCounts = self._transport.targets.counts()
        return counts

    def _build(self, http: Any, question: Question[T], deadline: Optional[float]) -> Any:
        most = self._timeout if deadline is None else min(_checks.seconds("deadline", deadline), self._timeout)
        timeout = httpx.Timeout(most, connect=min(most, _CONNECT_S))
        extensions = {name: value for name, value in ((DEADLINE, deadline), (SERVER, question.server)) if value is not None}
        return http.build_request(question.method, question.path, json=question.body, headers={**self._headers, **question.headers}, timeout=timeout, extensions=extensions,
                                  **question.content)

    def _key(self, question: Question[Answer], fields: Dict[str, Any]) -> Optional[str]:
        return self._asker.key(question.path, fields, question.body)

    def _of_batch(self, batch: Union[str, Batch], method: str = "GET", action: str = "") -> Question[Batch]:
        return _batch(method, f"/{id_of(batch)}{action}", keeper_of(batch, self._addresses))

    def _rest_of(self, file: str, batch: Batch, download: Download) -> Question[Any]:
        return Question("GET", f"/v1/files/{file}/content", None, lambda response: response, keeper_of(batch, self._addresses), headers=download.headers())
