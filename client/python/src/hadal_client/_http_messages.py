# SPDX-License-Identifier: Apache-2.0
"""Between this package's types and the bodies of the HTTP API: no calls are made here."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional, Sequence
from urllib.parse import quote

from ._errors import DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable
from ._http import DEADLINE, SERVER
from ._httpx import httpx
from ._retry import Refusal
from ._stream import Running
from ._types import Answer, Delta, Messages, Model, Prompt, Usage

_CONNECT_S = 10.0


def headers_of(api_key: Optional[str], priority: Optional[str]) -> Dict[str, str]:
    headers = {}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if priority:
        headers["x-hadal-priority"] = priority
    return headers


def chat_body(messages: Messages, stream: bool, fields: Dict[str, Any]) -> Dict[str, Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"messages": list(messages), **fields}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return body


def error_of(response: Any) -> HadalError:
    """The error that a read response stands for."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status_code}: {response.text[:200]}"
    facts = {"status": response.status_code, "reason": response.headers.get("x-hadal-reason"),
             "request_id": response.headers.get("x-request-id")}
    refusal = Refusal.of_http(response.status_code, response.headers)
    if refusal is None:
        return RequestError(message, **facts)
    if response.status_code == 504:
        return DeadlineExceeded(message)
    attempts = int(response.request.headers.get("x-stainless-retry-count", "0")) + 1
    return ServerBusy(message, retry_after=refusal.retry_after, attempts=attempts, **facts)


def unreachable(error: Exception) -> HadalError:
    kind = DeadlineExceeded if isinstance(error, httpx.TimeoutException) else ServerUnreachable
    return kind(f"{type(error).__name__}: {error}")


def usage_of(raw: Optional[Dict[str, Any]]) -> Usage:
    raw = raw or {}
    return Usage(raw.get("prompt_tokens", 0), raw.get("completion_tokens", 0),
                 (raw.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
                 (raw.get("completion_tokens_details") or {}).get("reasoning_tokens", 0))


def answer_of(raw: Dict[str, Any], request_id: str) -> Answer:
    choice = raw["choices"][0]
    message = choice.get("message") or {"content": choice.get("text")}
    return Answer(message.get("content") or "", message.get("reasoning_content") or "", choice.get("finish_reason") or "",
                  message.get("tool_calls") or [], usage_of(raw.get("usage")), raw.get("model", ""), request_id)


def deltas_of(line: str, running: Running) -> Iterator[Delta]:
    """The pieces in one line of a stream. An error event is raised: the answer ended early."""
    if not line.startswith("data:"):
        return
    data = line[5:].strip()
    if data == "[DONE]":
        return
    event = json.loads(data)
    if "error" in event:
        raise RequestError(event["error"].get("message", data), status=200, reason=event["error"].get("code"))
    running.answer_id = event.get("id", "")
    for choice in event.get("choices", []):
        delta = choice.get("delta") or {"content": choice.get("text")}
        piece = Delta(delta.get("content") or "", delta.get("reasoning_content") or "", delta.get("tool_calls") or [], choice.get("index", 0))
        if piece.text or piece.reasoning or piece.tool_calls:
            yield piece


def note_start(running: Running, response: Any) -> None:
    running.server = response.extensions[SERVER]
    running.request_id = response.headers.get("x-request-id", "")


END_THINKING = {"action": "reasoning_end"}


def control_path(running: Running) -> str:
    return f"/v1/chat/completions/{quote(running.answer_id, safe='')}/control"


# How many prompts a call of /v1/completions may have.
MAX_PROMPTS = 128


def batches_of(prompts: Sequence[Prompt], fields: Dict[str, Any]) -> List[List[Prompt]]:
    """The prompts of each call; ValueError for what one call cannot have."""
    if fields.get("n") not in (None, 1):
        raise ValueError(f"n is {fields['n']!r}; complete_all gives one answer to each prompt")
    if len({isinstance(prompt, str) for prompt in prompts}) > 1:
        raise ValueError("prompts: either all are texts or all are token ids")
    return [list(prompts[at:at + MAX_PROMPTS]) for at in range(0, len(prompts), MAX_PROMPTS)]


def answers_of(raw: Dict[str, Any], request_id: str) -> List[Answer]:
    """One for each prompt; the usage of all stands in the first one."""
    choices = sorted(raw["choices"], key=lambda choice: choice["index"])
    answers = [answer_of({**raw, "choices": [choice], "usage": None}, request_id) for choice in choices]
    answers[0].usage = usage_of(raw.get("usage"))
    return answers


def models_of(raw: Dict[str, Any]) -> List[Model]:
    return [Model(one["id"], one.get("max_model_len", 0)) for one in raw["data"]]


class Base:
    """What both clients have: who calls, and how."""

    def __init__(self, api_key: Optional[str], priority: Optional[str], timeout: float):
        self._headers = headers_of(api_key, priority)
        # Between two pieces of an answer; a whole call is bounded by its deadline.
        self._timeout = timeout

    def _build(self, http: Any, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float],
               server: Optional[str] = None, **content: Any) -> Any:
        most = self._timeout if deadline is None else min(deadline, self._timeout)
        timeout = httpx.Timeout(most, connect=min(most, _CONNECT_S))
        extensions = {name: value for name, value in ((DEADLINE, deadline), (SERVER, server)) if value is not None}
        return http.build_request(method, path, json=body, headers=self._headers, timeout=timeout, extensions=extensions, **content)
