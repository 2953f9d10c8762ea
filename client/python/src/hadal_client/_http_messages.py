# SPDX-License-Identifier: Apache-2.0
"""Between this package's types and the bodies of the HTTP API: no calls are made here."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional

from . import _checks
from ._errors import KEY_HINT, DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable, after_attempts
from ._http import ATTEMPTS, SERVER
from ._httpx import httpx
from ._retry import Refusal
from ._stream import Running
from ._types import Answer, Delta, Load, Messages, Usage


def chat_body(messages: Messages, stream: bool, fields: Dict[str, Any]) -> Dict[str, Any]:
    body = {"messages": _checks.chat_messages(messages), **_checks.spelled(fields)}
    if isinstance(body.get("thinking"), bool):  # as over gRPC
        body["thinking"] = {"type": "enabled" if body["thinking"] else "disabled"}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return body


def error_of(response: Any) -> HadalError:
    """The error that a read response stands for."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status_code}: {response.text[:200]}"
    if response.status_code == 401:
        message += KEY_HINT
    facts = {"status": response.status_code, "reason": response.headers.get("x-hadal-reason"),
             "request_id": response.headers.get("x-request-id")}
    refusal = Refusal.of_http(response.status_code, response.headers)
    if refusal is None:
        return RequestError(message, **facts)
    if response.status_code == 504:
        return DeadlineExceeded(message)
    attempts = int(response.request.headers.get("x-stainless-retry-count", "0")) + 1
    return ServerBusy(message, retry_after=refusal.retry_after, attempts=attempts, **facts)


def unreachable(error: Exception, request: Any) -> HadalError:
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(_told(error))
    return ServerUnreachable(_told(error) + after_attempts(request.extensions.get(ATTEMPTS, 1)))


def _told(error: Exception) -> str:
    request = getattr(error, "_request", None)  # whose property raises where there is none
    where = "" if request is None else f"{request.url.netloc.decode('ascii')}: "
    return f"{where}{type(error).__name__}: {error}"


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


def answers_of(raw: Dict[str, Any], request_id: str) -> List[Answer]:
    """One for each prompt; the usage of all stands in the first one."""
    choices = sorted(raw["choices"], key=lambda choice: choice["index"])
    answers = [answer_of({**raw, "choices": [choice], "usage": None}, request_id) for choice in choices]
    answers[0].usage = usage_of(raw.get("usage"))
    return answers


def load_of(metrics: str, server: str) -> Load:
    """From the server's metrics (docs/metrics.md)."""
    values: Dict[str, float] = {}
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("hadal_"):
            values[name] = float(value)
    try:
        return Load(server, int(values["hadal_requests_running"]), int(values["hadal_requests_waiting"]),
                    int(sum(value for name, value in values.items() if name.startswith("hadal_queue_tokens{"))), values["hadal_kv_cache_usage_ratio"],
                    int(values["hadal_memory_budget_bytes"]), int(values["hadal_memory_committed_bytes"]),
                    values['hadal_predicted_wait_seconds{class="normal"}'], values["hadal_ready"] == 1, values["hadal_draining"] == 1)
    except KeyError as error:
        raise RequestError(f"{server}: its metrics lack {error.args[0]}, which hadal's have", status=200) from None


class Lines:
    """The lines of a stream, from its bytes. httpx and str.splitlines end a line at letters, too, that a JSON text may hold, such as U+2028."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, chunk: bytes) -> List[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def last(self) -> List[str]:
        """Without an end of its own."""
        return self.of(b"\n")


def deltas_of(line: str, running: Running) -> Iterator[Delta]:
    """The pieces in one line of a stream. An error event is raised: the answer broke off."""
    if not line.startswith("data:"):
        return
    data = line[5:].strip()
    if data == "[DONE]":
        running.ended = True
        return
    try:
        event = json.loads(data)
    except ValueError:
        raise running.interrupted(f"an event of the stream is not JSON: {data[:100]!r}") from None
    if "error" in event:
        raise _broken(event["error"], data, running)
    running.answer_id = event.get("id", "")
    if event.get("usage"):
        running.usage = usage_of(event["usage"])
    for choice in event.get("choices", []):
        delta = choice.get("delta") or {"content": choice.get("text")}
        piece = Delta(delta.get("content") or "", delta.get("reasoning_content") or "", delta.get("tool_calls") or [], choice.get("index", 0))
        if piece.text or piece.reasoning or piece.tool_calls:
            yield running.got(piece)
        running.finished(piece.choice, choice.get("finish_reason"))


def _broken(error: Any, data: str, running: Running) -> HadalError:
    """What an error event says."""
    error = error if isinstance(error, dict) else {}
    message, reason = error.get("message") or data, error.get("code")
    if error.get("type") == "timeout_error":
        return DeadlineExceeded(running.broke_off(message))
    if error.get("type") == "overloaded_error" or reason == "UPSTREAM_FAILED":
        return running.interrupted(message)
    return RequestError(running.broke_off(message), status=200, reason=reason, request_id=running.request_id)


def lost(error: Exception, running: Running) -> HadalError:
    """The connection broke within the answer."""
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(running.broke_off(_told(error)))
    return running.interrupted(_told(error))


def check_ended(running: Running) -> None:
    """After the last line: a stream that ends in the middle looks no different."""
    if not running.ended:
        raise running.interrupted("the connection ended before the stream")
    running.check_whole()


def note_start(running: Running, response: Any) -> None:
    running.server = response.extensions[SERVER]
    running.request_id = response.headers.get("x-request-id", "")
