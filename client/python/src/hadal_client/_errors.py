# SPDX-License-Identifier: Apache-2.0
"""What calls raise."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type

from ._checks import chat_messages
from ._types import Answer, Messages


def _made(kind: Type[HadalError], args: Tuple[Any, ...], facts: Dict[str, Any]) -> HadalError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class HadalError(Exception):
    """Base of all errors of this package. They can be pickled, as a process pool does with what its workers raise."""

    def __reduce__(self) -> Tuple[Any, ...]:
        # The exception's own way calls the class with its message alone, and a pool that cannot read an error breaks.
        return _made, (type(self), self.args, dict(self.__dict__))


class RequestError(HadalError):
    """The server answered with an error that another attempt cannot help: `status` is HTTP's (gRPC errors are mapped), `reason` the server's word
    for it, such as CONTEXT_LENGTH_EXCEEDED."""

    def __init__(self, message: str, *, status: int, reason: Optional[str] = None, request_id: Optional[str] = None):
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.request_id = request_id


class ServerBusy(RequestError):
    """Refused for capacity, and no attempt is left, or the next one would come after the deadline. `retry_after`: seconds until the time that the
    server named last, or None."""

    def __init__(self, message: str, *, status: int, reason: Optional[str] = None, request_id: Optional[str] = None,
                 retry_after: Optional[float] = None, attempts: int = 1):
        super().__init__(message, status=status, reason=reason, request_id=request_id)
        self.retry_after = retry_after
        self.attempts = attempts


class ServerUnreachable(HadalError):
    """No server answered: the connection was refused, broke before an answer, or every circuit is open."""


class AnswerInterrupted(ServerUnreachable):
    """The server was lost, or gave up, within a stream of which pieces had come. It is not asked for again, since they would come twice; that is for
    its caller to do. `answer`: what has come of it, without tool calls."""

    def __init__(self, message: str, answer: Answer):
        super().__init__(message)
        self.answer = answer

    def continued(self, messages: Messages) -> List[Mapping[str, Any]]:
        """The messages of the call with what came of its answer behind them, to go on there: client.stream(error.continued(messages))."""
        asked = chat_messages(messages)
        if not self.answer.text and not self.answer.reasoning:
            return asked
        return [*asked, {"role": "assistant", "content": self.answer.text, "reasoning_content": self.answer.reasoning, "prefix": True}]


class DeadlineExceeded(HadalError):
    """The call's deadline passed, all attempts together."""


KEY_HINT = " (the client's api_key)"


def after_attempts(count: int) -> str:
    """For the message of an error."""
    return f" (after {count} attempts)" if count > 1 else ""


def check_reached(away: Sequence[str], timeout: float) -> None:
    """ServerUnreachable for the servers without a connection."""
    if away:
        raise ServerUnreachable(f"no connection after {timeout:g} s to {', '.join(away)}")


for _public in (HadalError, RequestError, ServerBusy, ServerUnreachable, AnswerInterrupted, DeadlineExceeded):
    _public.__module__ = "hadal_client"  # where programs find it, and so what a traceback is to say
