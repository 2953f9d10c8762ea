# SPDX-License-Identifier: Apache-2.0
"""After which silence a call is asked for at a second server: a fixed time, or what the last answers took. No I/O."""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import Deque, Dict, Optional

_ANSWERS = 256  # that the quantile is of
_FEWEST = 20

_GENERATIONS = ("/completions", "/responses", "/messages")
_STREAMS = re.compile(rb'"stream"\s*:\s*true')  # no text within the request: its quotes have a backslash before them


def kind_of(path: str, body: bytes) -> str:
    """Of a request over HTTP: the first piece of a stream comes early, a whole text begins when it is complete."""
    if not path.endswith(_GENERATIONS):
        return "question"
    return "stream" if _STREAMS.search(body) else "whole"


class HedgeDelay:
    """`least`: seconds, None: no least one. `quantile`: the share of the last answers that had begun by then; None: always `least`. Answers of different
    kinds (a stream, a whole text, a question) say nothing of each other. Thread-safe."""

    def __init__(self, least: Optional[float], quantile: Optional[float]):
        self._least = least
        self._quantile = quantile
        self._lock = threading.Lock()
        self._answers: Dict[str, Deque[float]] = {}

    def answered(self, kind: str, seconds: float) -> None:
        """An answer began so long after it was first asked for."""
        if self._quantile is None:
            return
        with self._lock:
            self._answers.setdefault(kind, deque(maxlen=_ANSWERS)).append(seconds)

    def seconds(self, kind: str) -> Optional[float]:
        """None: calls of that kind are not hedged, or not yet."""
        if self._quantile is None:
            return self._least
        with self._lock:
            last = sorted(self._answers.get(kind, ()))
        if len(last) < _FEWEST:
            return None
        found = last[int(self._quantile * len(last))]
        return found if self._least is None else max(found, self._least)
