# SPDX-License-Identifier: Apache-2.0
"""When a call is made again, and where: no I/O, so that one logic serves HTTP and gRPC, threads and asyncio."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from . import _checks
from ._errors import DeadlineExceeded
from ._targets import RetryOptions, Target, Targets

__all__ = ["Call", "Refusal", "RetryOptions", "Target", "Targets"]


@dataclass(frozen=True)
class Refusal:
    """What a server said when it did not take a call."""

    status: int                              # HTTP's, gRPC's codes mapped
    reason: Optional[str] = None
    retry_after: Optional[float] = None      # seconds
    should_retry: Optional[bool] = None      # None: it did not say
    ticket: Optional[str] = None
    held: bool = False                       # a place is kept for the time that was named

    @staticmethod
    def of_http(status: int, headers: Mapping[str, str]) -> Optional[Refusal]:
        """None: the call was taken, or failed in a way that concerns nobody but its caller."""
        if status not in (429, 502, 503, 504, 529):
            return None
        should = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
        return Refusal(status, headers.get("x-hadal-reason"), _seconds(headers), should, headers.get("x-hadal-ticket"),
                       headers.get("x-hadal-promise") == "held")

    @property
    def final(self) -> bool:
        """Another attempt is of no use. 504 of hadal: the deadline has passed in its queue."""
        return self.should_retry is False or (self.status == 504 and self.should_retry is None)


def _seconds(headers: Mapping[str, str]) -> Optional[float]:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


@dataclass
class _Return:
    at: float
    ticket: Optional[str]
    held: bool


class Call:
    """One call through all its attempts:

        call = Call(targets, deadline)
        while True:
            target = call.begin()                   # None: sleep call.wait() first; that None: give up
            ... attempt, with call.headers() ...    # without an answer after hedge_delay(): another beside it at call.hedge(), told apart by `at`
            call.served() | call.refused(refusal) | call.failed()
    """

    def __init__(self, targets: Targets, deadline: Optional[float] = None, draw: Callable[[], float] = random.random, only: Optional[Target] = None,
                 kind: Optional[str] = None):
        """`only`: the one server that it is for. `kind`: of its answer, as HedgeDelay tells them apart; None: it must not run twice."""
        self._targets = targets
        self._among = targets.all if only is None else [only]
        self._options = targets.options
        self._draw = draw
        self._explicit = deadline is not None
        if deadline is not None and _checks.seconds("deadline", deadline) <= 0:
            raise DeadlineExceeded(f"the deadline has passed before the first attempt: {deadline:g} s are left")
        self.deadline = targets.clock() + (targets.options.deadline if deadline is None else deadline)
        self.attempts = 0
        self.last: Optional[Refusal] = None
        self._tries: Dict[Target, int] = {}
        self._returns: Dict[Target, _Return] = {}
        self._given_up: List[Target] = []
        self._current: Optional[Target] = None
        self._kind = kind
        self._hedge_at: Optional[Target] = None  # while it is under way
        self._hedged = False
        self._asked = 0.0  # when the attempt began, not its hedge
        targets.count("calls")
        self._slot: Optional[Tuple[Target, float]] = None  # in a line
        self._late_for_lines = False
        self._no_budget = False

    def remaining(self) -> float:
        return self.deadline - self._targets.clock()

    def begin(self) -> Optional[Target]:
        """The server to call now, or None: none may be called yet."""
        if self._no_budget:
            return None
        now = self._targets.clock()
        if self.attempts == 0 and self._options.share_promises and self._slot is None:
            self._join_line(now)
        due = [target for target in self._open() if self._ready_at(target) <= now]
        promised = [target for target in due if target in self._returns and self._returns[target].held]
        target = self._targets.start_least_loaded(promised) or self._targets.start_least_loaded(due)
        if target is None:
            return None
        if self.attempts == 0:
            self._targets.budget.called()
        self._current = target
        self._asked = now
        self._count(target)
        return target

    def hedge_delay(self) -> Optional[float]:
        """Seconds without an answer after which there may be a hedge; None: there is none."""
        if self._kind is None or len(self._among) == 1 or not self._options.hedges:
            return None
        return self._targets.hedge_delay.seconds(self._kind)

    def hedge(self) -> Optional[Target]:
        """The server of a second attempt beside the one that is under way, once a call: one that it has not asked yet. None: no such server, or there have
        been enough."""
        if self._hedged or not self._options.hedges:
            return None
        target = self._targets.start_least_loaded([target for target in self._open() if target not in self._tries and target.state == "closed"])
        if target is None:
            return None
        if not self._targets.budget.take_hedge():
            target.finish()
            return None
        self._hedged = True
        self._hedge_at = target
        self._targets.count("hedges")
        self._count(target)
        return target

    def headers(self, at: Optional[Target] = None) -> Dict[str, str]:
        """What the attempt tells the server besides the request. The ticket counts once."""
        headers = {"x-stainless-retry-count": str(self.attempts - 1)}
        back = self._returns.pop(self._at(at), None)
        if back is not None and back.ticket:
            headers["x-hadal-ticket"] = back.ticket
        if self._explicit:
            headers["x-hadal-deadline-ms"] = str(max(1, int(self.remaining() * 1000)))
        return headers

    def wait(self) -> Optional[float]:
        """Seconds until the next attempt, or None: there will be none in time."""
        now = self._targets.clock()
        at = min((max(self._ready_at(target), target.available_at()) for target in self._open()), default=float("inf"))
        if self._no_budget or at >= self.deadline:
            return None
        return max(0.0, at - now)

    # ---- How an attempt ended: the one `at` that server, None: the one of begin. A hedge or its rival that is cancelled only ends with finish ----

    def served(self, at: Optional[Target] = None) -> None:
        target = self._at(at)
        target.answered()
        if target.line is not None:
            target.line.answered(self._targets.clock())
        self._targets.budget.served()
        if target is self._hedge_at:
            self._targets.count("hedges_won")
        if self._kind is not None:
            self._targets.hedge_delay.answered(self._kind, self._targets.clock() - self._asked)

    def refused(self, refusal: Refusal, at: Optional[Target] = None) -> None:
        target = self._ended(at)
        self.last = refusal
        if refusal.reason is None and refusal.status in (502, 504):
            target.failed()  # a proxy's word for a server that does not answer
        else:
            target.answered()
        if refusal.final:
            self._given_up = list(self._among)
            return
        self._plan_return(target, refusal.retry_after, refusal.ticket, refusal.held)

    def failed(self, at: Optional[Target] = None) -> None:
        """No answer came: the connection could not be made, or broke before one."""
        target = self._ended(at)
        target.failed()
        self._plan_return(target, None, None, False)

    # ---- Inside ----

    def _at(self, at: Optional[Target]) -> Target:
        target = at or self._current
        assert target is not None
        return target

    def _count(self, target: Target) -> None:
        self.attempts += 1
        self._targets.count("attempts")
        self._tries[target] = self._tries.get(target, 0) + 1

    def _ended(self, at: Optional[Target]) -> Target:
        target = self._at(at)
        target.finish()
        if target is self._hedge_at:
            self._hedge_at = None
        return target

    def _plan_return(self, target: Target, after: Optional[float], ticket: Optional[str], held: bool) -> None:
        tries = self._tries[target]
        if tries >= self._options.max_attempts:
            self._given_up.append(target)
        elif not held and not self._targets.budget.take():
            self._no_budget = True
        else:
            if after is None:
                ceiling = min(self._options.max_backoff, self._options.initial_backoff * 2.0 ** (tries - 1))
                after = self._draw() * ceiling
            self._returns[target] = _Return(self._targets.clock() + after, ticket, held)
            if held and target.line is not None:
                target.line.promised(self._returns[target].at)

    def _open(self) -> List[Target]:
        return [target for target in self._among if target not in self._given_up]

    def _ready_at(self, target: Target) -> float:
        back = self._returns.get(target)
        if back is not None:
            return back.at
        if target.line is None or self.attempts > 0 or self._late_for_lines:
            return 0.0
        if self._slot is not None:
            return self._slot[1] if self._slot[0] is target else float("inf")
        return target.line.next_at()

    def _join_line(self, now: float) -> None:
        """Of the server whose turn would come first, unless one may be asked now, or none in time."""
        lines = [(target.line.next_at(), target) for target in self._open() if target.line is not None]
        if not lines or min(at for at, _ in lines) <= now:
            return
        at, target = min(lines, key=lambda one: one[0])
        self._late_for_lines = at >= self.deadline
        if target.line is not None and not self._late_for_lines:
            self._slot = target, target.line.join(now)
