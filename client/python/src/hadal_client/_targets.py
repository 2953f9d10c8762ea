# SPDX-License-Identifier: Apache-2.0
"""The servers of a client: how often they are asked, how loaded and how well they are. No I/O."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, List, Optional, Sequence

from . import _checks
from ._hedge_delay import HedgeDelay
from ._line import Line
from ._types import CallCounts

_PROBE_S = 0.1           # how often a call looks whether the one that tries a server has an answer
_REPORT_AGE_S = 10.0     # for how long a server's report counts
_REPORT_INTERVAL_S = 1.0
_HEDGES_IN_STOCK = 10.0  # after a time without any


@dataclass(frozen=True)
class RetryOptions:
    """How calls are retried. A call that is refused for capacity goes to another server that has not refused it yet, and when all have, returns to
    one at the time that it named, with the ticket that it gave. Where none names a time, back-off with full jitter: a random wait up to
    `initial_backoff` * 2^n, at most `max_backoff` seconds."""

    max_attempts: int = 5           # at each server; 1: no retries
    initial_backoff: float = 0.5
    max_backoff: float = 30.0
    deadline: float = 3600.0        # seconds of a whole call, all attempts together, unless the call has its own
    budget: float = 100.0           # retries in stock; each costs one, unless the server has promised a place
    budget_refill: float = 0.5      # what a served call puts back
    breaker_failures: int = 5       # in a row, until a server's circuit opens; refusals for capacity are no failures
    breaker_pause: float = 1.0      # seconds until one call may try again; doubles up to max_backoff
    # Seconds without any of an answer after which another server is asked, too; who answers first is heard, and the other one is cancelled. None: never.
    # A hedge costs a retry of the budget. Refusals start none, and what must not run twice (batches, files) has none.
    hedge_after: Optional[float] = None
    # Instead of a fixed time the one within which such a share of the last 256 answers of the kind had begun: 0.95, say. From the 20th answer on; at least
    # `hedge_after` where that is set, too.
    hedge_quantile: Optional[float] = None
    hedge_share: float = 0.1        # of the calls that may be hedged, and one besides; after a time without any up to ten at once
    # Calls that would come to a server which has just promised others of this client places for later wait on this side until then, each in its turn,
    # instead of asking to be refused. That spares the server an attempt, and forgoes the place that it would have promised them.
    share_promises: bool = False

    def __post_init__(self) -> None:
        if self.hedge_after is not None:
            _checks.seconds("hedge_after", self.hedge_after, least=0)
        if self.hedge_quantile is not None:
            _checks.share("hedge_quantile", self.hedge_quantile)
        for name, least in (("max_attempts", 1), ("initial_backoff", 0), ("max_backoff", 0), ("deadline", 0), ("budget", 0), ("budget_refill", 0),
                            ("breaker_failures", 1), ("breaker_pause", 0), ("hedge_share", 0)):
            _checks.number(name, getattr(self, name), least)


    @property
    def hedges(self) -> bool:
        return self.hedge_after is not None or self.hedge_quantile is not None


class RetryBudget:
    """A stock of retries that all calls share, so that a failing server is not flooded by them. Thread-safe."""

    def __init__(self, options: RetryOptions):
        self._full = self._stock = options.budget
        self._refill = options.budget_refill
        self._hedge_share = options.hedge_share
        self._hedges = 1.0
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self._stock < 1:
                return False
            self._stock -= 1
            return True

    def served(self) -> None:
        with self._lock:
            self._stock = min(self._full, self._stock + self._refill)

    def called(self) -> None:
        """A call begins, and may be hedged in its turn."""
        with self._lock:
            self._hedges = min(_HEDGES_IN_STOCK, self._hedges + self._hedge_share)

    def take_hedge(self) -> bool:
        """Of the share of hedges and of the retries."""
        with self._lock:
            if self._hedges < 1 or self._stock < 1:
                return False
            self._hedges -= 1
            self._stock -= 1
            return True


class Target:
    """A server: its load, and its circuit. Closed: calls go there. Open, after `breaker_failures` in a row: none for a pause.
    Half open: one call tries. Thread-safe."""

    def __init__(self, address: str, options: RetryOptions, clock: Callable[[], float] = time.monotonic):
        self.address = address
        self.line = Line() if options.share_promises else None
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._failures = 0
        self._open_until = 0.0
        self._probing = False
        self._reported = 0.0
        self._in_flight_at_report = 0
        self._reported_at = self._asked_at = float("-inf")

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def load(self) -> float:
        """Requests that the server has, as far as is known: what it reported in the last ten seconds, and what this client has sent there since;
        without a report this client's calls alone."""
        with self._lock:
            if self._clock() - self._reported_at > _REPORT_AGE_S:
                return self._in_flight
            return max(self._reported + self._in_flight - self._in_flight_at_report, 0.0)

    def report(self, requests: float, ended: int = 0) -> None:
        """It said how many requests it has, other clients' included. `ended`: calls of ours that it counts no more, though we still do."""
        with self._lock:
            self._reported = requests
            self._in_flight_at_report = self._in_flight - ended
            self._reported_at = self._clock()

    def should_ask_for_load(self) -> bool:
        """Whether it has not said it, nor been asked for it, for a second: answers bring it along."""
        with self._lock:
            now = self._clock()
            if self.state != "closed" or now - max(self._asked_at, self._reported_at) < _REPORT_INTERVAL_S:
                return False
            self._asked_at = now
            return True

    def has_no_reports(self) -> None:
        """It is not asked for one again."""
        with self._lock:
            self._asked_at = float("inf")

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        if self._failures < self._options.breaker_failures:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def available_at(self) -> float:
        """Clock time from which a call may go there; now or earlier: at once."""
        with self._lock:
            if self.state == "closed":
                return 0.0
            return self._clock() + _PROBE_S if self._probing else self._open_until

    def start(self) -> bool:
        """Whether a call may go there now; it ends with finish."""
        with self._lock:
            state = self.state
            if state == "open" or (state == "half-open" and self._probing):
                return False
            self._probing = state == "half-open"
            self._in_flight += 1
            return True

    def answered(self) -> None:
        """It is alive: it served, or said that it is busy."""
        with self._lock:
            self._failures = 0
            self._probing = False

    def failed(self) -> None:
        """It did not answer, or as no healthy server does."""
        with self._lock:
            self._failures += 1
            self._probing = False
            over = self._failures - self._options.breaker_failures
            if over >= 0:
                pause = min(self._options.breaker_pause * 2.0 ** min(over, 16), self._options.max_backoff)
                self._open_until = self._clock() + pause

    def finish(self) -> None:
        with self._lock:
            self._in_flight -= 1
            self._probing = False


class Targets:
    """The servers of a client. The one with the least load goes first. Thread-safe."""

    def __init__(self, addresses: Sequence[str], options: RetryOptions, clock: Callable[[], float] = time.monotonic):
        if not addresses:
            raise ValueError("a client needs at least one server")
        if not isinstance(options, RetryOptions):
            raise ValueError(f"retry: expected RetryOptions, found {options!r}")
        self.options = options
        self.clock = clock
        self.budget = RetryBudget(options)
        self.hedge_delay = HedgeDelay(options.hedge_after, options.hedge_quantile)
        self.counted = CallCounts()
        self._lock = threading.Lock()
        self.all = [Target(address, options, clock) for address in addresses]

    def count(self, what: str) -> None:
        """One more of a field of CallCounts."""
        with self._lock:
            setattr(self.counted, what, getattr(self.counted, what) + 1)

    def counts(self) -> CallCounts:
        with self._lock:
            return replace(self.counted)

    def at(self, address: str) -> Target:
        return next(target for target in self.all if target.address == address)

    def to_ask_for_load(self) -> List[Target]:
        """Where there is a choice: those that have not said it of late."""
        return [target for target in self.all if target.should_ask_for_load()] if len(self.all) > 1 else []

    def start_least_loaded(self, among: Sequence[Target]) -> Optional[Target]:
        """The chosen one, started, or None when none may be called now."""
        for target in sorted(among, key=lambda target: (target.load, random.random())):
            if target.start():
                return target
        return None
