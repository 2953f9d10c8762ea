# SPDX-License-Identifier: Apache-2.0
"""Where calls of one client wait for a server that has just promised others of them places for later: asked now, it would refuse them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Deque

_ANSWERS = 32  # that the pace is taken from
_LONGEST_GAP_S = 1.0


class Line:
    """Of one server. Calls leave it one after another, behind the last promise, as fast as the server has answered of late. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Deque[float] = deque(maxlen=_ANSWERS)
        self._next = 0.0  # when the next call of the line may ask

    def answered(self, at: float) -> None:
        with self._lock:
            self._answers.append(at)

    def promised(self, at: float) -> None:
        """The server keeps a place for a call until then."""
        with self._lock:
            self._next = max(self._next, at)

    def next_at(self) -> float:
        """When a call that came now might ask."""
        with self._lock:
            return self._next

    def join(self, now: float) -> float:
        """The time of one more call."""
        with self._lock:
            at = max(self._next, now)
            self._next = at + self._gap()
            return at

    def _gap(self) -> float:
        if len(self._answers) < 2:
            return _LONGEST_GAP_S
        return min(_LONGEST_GAP_S, (self._answers[-1] - self._answers[0]) / (len(self._answers) - 1))
