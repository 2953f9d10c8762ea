# SPDX-License-Identifier: Apache-2.0
"""Between this package's types and the messages of the gRPC API: no calls are made here."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

import grpc

from . import _inference_pb2 as pb
from ._errors import KEY_HINT, DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable, after_attempts
from ._retry import Call, Refusal
from ._stream import Running
from ._types import Answer, Delta, Load, Model, Usage

_FINISH = {pb.FINISH_REASON_STOP: "stop", pb.FINISH_REASON_LENGTH: "length", pb.FINISH_REASON_TOOL_CALLS: "tool_calls",
           pb.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE: "insufficient_system_resource"}
HTTP_STATUS = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "FAILED_PRECONDITION": 409, "RESOURCE_EXHAUSTED": 429,
           "CANCELLED": 499, "INTERNAL": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}


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


# Where HTTP has a status of its own, and gRPC one code for several reasons.
_STATUS_OF_REASON = {"OUT_OF_RANGE": 422, "BODY_TOO_LARGE": 413, "STORAGE_FULL": 507}


def _status_of(error: Any, reason: Optional[str]) -> int:
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in (error.details() or ""):
        return 413  # gRPC's own word for it: there is room, but not for this one
    return _STATUS_OF_REASON.get(reason or "", HTTP_STATUS.get(error.code().name, 500))


def refusal_of(error: Any) -> Tuple[Optional[Refusal], str]:
    """What the trailers say, or None when another attempt is of no use; and the request's id."""
    trailers = dict(error.trailing_metadata() or ())
    pushback = trailers.get("grpc-retry-pushback-ms")
    reason = _reason(trailers)
    status = _status_of(error, reason)
    request_id = trailers.get("x-request-id", "")
    if status not in (429, 503):
        return None, request_id
    after = float(pushback) / 1000 if pushback is not None else None
    ticket = trailers.get("x-hadal-ticket")
    final = after is not None and after < 0
    # A ticket without a promise is no harm: the server knows what it has promised.
    return Refusal(status, reason, None if final else after, False if final else None, ticket, ticket is not None), request_id


def _not_hadals(error: Any) -> bool:
    """Nothing of hadal's is in the trailers: the error is the library's or a gateway's."""
    return "x-request-id" not in dict(error.trailing_metadata() or ())


def unanswered(error: Any) -> bool:
    """The connection could not be made, or broke."""
    return error.code() == grpc.StatusCode.UNAVAILABLE and _not_hadals(error)


def _lost(error: Any) -> bool:
    """The server of a stream was lost. Gateways cut its stream off then, and what the library makes of that is not UNAVAILABLE."""
    return error.code() == grpc.StatusCode.UNAVAILABLE or error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and _not_hadals(error)


def error_of(error: Any, call: Call) -> HadalError:
    refusal, request_id = refusal_of(error)
    message = error.details() or error.code().name
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(message)
    if unanswered(error):
        return ServerUnreachable(message + after_attempts(call.attempts))
    reason = _reason(dict(error.trailing_metadata() or ()))
    status = _status_of(error, reason)
    if refusal is None:
        return RequestError(message + (KEY_HINT if status == 401 else ""), status=status, reason=reason, request_id=request_id)
    return ServerBusy(message, status=status, reason=reason, request_id=request_id, retry_after=refusal.retry_after, attempts=call.attempts)


def broken(error: Any, running: Running) -> HadalError:
    """What the reader of a stream gets that has begun."""
    message = error.details() or error.code().name
    trailers = dict(error.trailing_metadata() or ())
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(running.broke_off(message))
    if _lost(error):
        return running.interrupted(message)
    reason = _reason(trailers)
    return RequestError(running.broke_off(message), status=_status_of(error, reason), reason=reason, request_id=trailers.get("x-request-id", ""))


def _call_delta(one: Any) -> Dict[str, Any]:
    """In the form of the HTTP API: what a piece does not say is not in it."""
    named = {"id": one.id, "type": "function"} if one.id else {}
    return {"index": one.index, **named, "function": {**({"name": one.name} if one.name else {}), "arguments": one.arguments}}


def _usage_of(used: Any) -> Usage:
    return Usage(used.prompt_tokens, used.completion_tokens, used.prompt_cache_hit_tokens, used.reasoning_tokens)


def delta_of(response: Any, running: Running) -> Optional[Delta]:
    if response.HasField("usage"):
        running.usage = _usage_of(response.usage)
    running.finished(response.index, _FINISH.get(response.finish_reason))
    calls = [_call_delta(one) for one in response.tool_calls]
    if response.text or response.reasoning or calls:
        return running.got(Delta(response.text, response.reasoning, calls, response.index))
    return None


def models_of(response: Any) -> List[Model]:
    return [Model(one.id, one.max_model_len) for one in response.models]


def load_of(response: Any, address: str) -> Load:
    return Load(address, response.requests_running, response.requests_waiting, response.queue_tokens, response.kv_cache_usage_ratio,
                response.memory_budget_bytes, response.memory_committed_bytes, response.predicted_wait_seconds, response.ready, response.draining,
                response.queue_limit_requests)


class WholeAnswer:
    """The whole answer, from the pieces of its first choice."""

    def __init__(self) -> None:
        self.answer = Answer()

    def add(self, response: Any) -> None:
        answer = self.answer
        answer.model = response.model or answer.model
        answer.request_id = response.request_id or answer.request_id
        if response.HasField("usage"):
            answer.usage = _usage_of(response.usage)
        if response.index != 0:
            return
        answer.text += response.text
        answer.reasoning += response.reasoning
        answer.finish_reason = _FINISH.get(response.finish_reason, answer.finish_reason)
        for piece in response.tool_calls:
            while len(answer.tool_calls) <= piece.index:
                answer.tool_calls.append({"index": len(answer.tool_calls), "id": "", "type": "function", "function": {"name": "", "arguments": ""}})
            tool = answer.tool_calls[piece.index]
            tool["id"] += piece.id
            tool["function"]["name"] += piece.name
            tool["function"]["arguments"] += piece.arguments
