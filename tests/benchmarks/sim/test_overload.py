# SPDX-License-Identifier: Apache-2.0
"""The goals of docs/overload.md on the virtual clock: a short run of benchmarks/sim/overload.py meets them, and the committed table does."""

import copy
import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
SCRIPT = SOURCE / "benchmarks/sim/overload.py"
sys.path.insert(0, str(SOURCE / "benchmarks/sim"))
import goals  # noqa: E402


def overload(path, *flags):
    return subprocess.run([sys.executable, SCRIPT, "--short", "--check", f"--output={path}", *flags], capture_output=True, text=True, timeout=600)


def test_a_short_run_meets_the_goals(tmp_path):
    path = tmp_path / "short.json"
    done = overload(path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())["metrics"]
    assert set(goals.CHECKS) <= set(metrics) and goals.check_result(metrics, short=True).checked > 35


def test_a_server_without_wait_limits_misses_them(tmp_path):
    done = overload(tmp_path / "bad.json", "--only=step", "--wait-limits=none", "--seeds=1")
    assert done.returncode == 1 and "late tokens after the step" in done.stderr, done.stderr


@pytest.fixture(name="committed")
def committed_result():
    return json.loads((SOURCE / "benchmarks/results/overload_sim.json").read_text(encoding="utf-8"))["metrics"]


def test_the_committed_table_meets_the_goals(committed):
    check = goals.check_result(committed, short=False)
    assert check.misses == [] and check.checked > 35


@pytest.mark.parametrize("table, row, figure, value, said", [
    ("goodput", "poisson/hadal/5", "of_peak_ratio", 0.9, "goodput at 5x"), ("goodput", "cv13/hadal/2", "of_attainable_ratio", 0.5, "in bursts"),
    ("goodput", "poisson/hadal/10", "evenness_ratio", 0.6, "least over most favoured"), ("goodput", "cv13/hadal/2", "false_refusals_ratio", 0.03, "false refusals"),
    ("goodput", "poisson/fifo/2", "of_peak_ratio", 0.9, "collapses"), ("classes", "batch/5", "success_ratio", 0.99, "high class beside batch"),
    ("classes", "low/2", "ttft_p99_s", 2, "TTFT p99 beside low"), ("tenants", "10", "success_ratio", 0.9, "quiet tenant"), ("step", "", "last_miss_s", 70, "after a step"),
    ("retries", "obey, deny/5", "first_return_ratio", 0.8, "first returns"), ("storm", "hadal/backoff/low", "success_ratio", 0.99, "patient callers"),
    ("batches", "64 lines/0.5", "itl_p99_of_alone_ratio", 1.5, "itl p99 beside a batch")])
def test_each_goal_can_be_missed(committed, table, row, figure, value, said):
    worse = copy.deepcopy(committed)
    rows = worse[table]
    if table == "goodput":
        name, load = row.rsplit("/", 1)
        rows = rows[name]
        row = load
    (rows[row] if row else rows)[figure] = {"median": value, "min": value, "max": value}
    assert any(said in miss for miss in goals.check_result(worse, short=False).misses)
