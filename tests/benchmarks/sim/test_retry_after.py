# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/sim/retry_after.py makes of its runs; and the table of docs/overload.md is that of its results."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "benchmarks/sim"))
import retry_after  # noqa: E402

RESULTS = [SOURCE / "benchmarks/results/retry_after_sim.json", SOURCE / "benchmarks/results/retry_after_wall_clock.json"]


def test_the_table_of_the_docs_is_that_of_the_results():
    done = subprocess.run([sys.executable, SOURCE / "benchmarks/sim/retry_after.py", "--table", *RESULTS], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("\n") > 10
    assert done.stdout in (SOURCE / "docs/overload.md").read_text(encoding="utf-8")


# Explained in docs/overload.md, "What falls short".
KNOWN_MISSES = {f"memory/deny/{client}/2: {figure}" for client in ("obey", "anonymous") for figure in ("estimate_error_ratio", "false_refusals_ratio")}


def test_the_virtual_clock_misses_no_further_goal():
    """A result that falls short has to be explained in docs/overload.md first."""
    found = {miss.split(" is ")[0] for miss in retry_after.misses(json.loads(RESULTS[0].read_text(encoding="utf-8")))}
    assert found == KNOWN_MISSES


@pytest.mark.parametrize("buckets, median", [
    ([], None), ([[0.1, 0], [None, 0]], None), ([[0.1, 5], [0.2, 10], [None, 10]], 0.1), ([[0.1, 0], [0.2, 10], [None, 10]], 0.15),
    ([[0.1, 1], [5, 2], [None, 10]], 5)])
def test_the_median_of_buckets(buckets, median):
    assert retry_after.median_of_buckets(buckets) == (None if median is None else pytest.approx(median))


def report(returned, admitted, served, tries, errors, ghosts=100, false_refusals=1):
    verdicts = {"estimate_errors": [[0.1, errors], [0.5, 10], [None, 10]], "ghosts": ghosts, "false_refusals": false_refusals}
    to_rest = {"estimate_errors": [[0.1, errors], [0.5, errors], [None, 30]], "ghosts": 2 * ghosts, "false_refusals": 8 * false_refusals}
    return {"promises": {"made": returned + 1, "returned": returned, "admitted": admitted, "served": served, "tries_of_served_mean": tries if served else None,
                         "admitted_ratio": admitted / returned if returned else None},
            "under_load": verdicts, **to_rest, "refusals": {"WAIT_LIMIT": 5}}


def test_seeds_are_pooled_and_the_worst_is_named():
    row = retry_after.virtual_row([report(100, 90, 10, 1.5, 5), report(300, 300, 30, 1.1, 5), report(0, 0, 0, None, 5)])
    assert row["returns"] == 400 and row["promises_kept_ratio"] == 0.975 and row["promises_kept_ratio_min"] == 0.9
    assert row["attempts_of_served_mean"] == 1.2 and row["estimate_error_ratio"] == 0.1 and row["false_refusals_ratio"] == 0.01
    assert row["refusals"] == {"WAIT_LIMIT": 15}
    assert row["to_rest"] == {"estimate_error_ratio": 0.5, "estimates": 90, "false_refusals_ratio": 0.04, "refusals_followed": 600}


def test_each_goal_can_be_missed():
    good = {"returns": 9, "promises_kept_ratio": 0.95, "attempts_of_served_mean": 1.1, "estimate_error_ratio": 0.1, "false_refusals_ratio": 0.01}
    result = {"metrics": {"slots/capacity": {}, "slots/deny/obey/2": good}}
    assert retry_after.misses(result) == []
    for figure, value in (("promises_kept_ratio", 0.8), ("attempts_of_served_mean", 1.3), ("estimate_error_ratio", 0.3), ("estimate_error_ratio", None), ("false_refusals_ratio", 0.03)):
        result["metrics"]["slots/deny/obey/2"] = {**good, figure: value}
        assert len(retry_after.misses(result)) == 1, figure
    result["metrics"] = {"slots/deny/grpc/5": {**good, "returns": 0, "promises_kept_ratio": None}}  # nobody returned
    assert retry_after.misses(result) == []
    result["metrics"] = {"slots/once/obey/2": {**good, "attempts_of_served_mean": 1.9}}  # a surplus return is no promise
    assert retry_after.misses(result) == []
