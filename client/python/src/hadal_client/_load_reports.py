# SPDX-License-Identifier: Apache-2.0
"""Load reports in ORCA's form (docs/api.md), which servers give with an answer when they are asked: one word for HTTP's header and gRPC's trailer."""

from __future__ import annotations

import json
import math
from typing import Optional

from ._retry import Target

ASK = ("endpoint-load-metrics-format", "JSON")
REPORT = "endpoint-load-metrics"

UNFIT = 1e9  # requests: one that is not ready, or drains, has more than any other


def requests_in(report: str) -> Optional[float]:
    """How many the server has; None: it is somebody else's report, or none."""
    kind, _, text = report.partition(" ")
    if kind != "JSON":
        return None
    try:
        named = json.loads(text)["named_metrics"]
        requests = float(named["num_requests_running"]) + float(named["num_requests_waiting"])
    except (ValueError, KeyError, TypeError):
        return None
    return requests if math.isfinite(requests) and requests >= 0 else None


def note(target: Target, report: str, runs: bool) -> None:
    """Of a call of ours that runs on, or has ended with its report."""
    requests = requests_in(report)
    if requests is not None:
        target.report(requests, 0 if runs else 1)
