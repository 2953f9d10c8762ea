# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of a loaded server compute from their runs."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "benchmarks"))
import load  # noqa: E402

BURN = "import time\nwhile time.process_time() < 0.5: pass"


def test_rounds_become_median_and_range():
    assert load.median_and_range([{"a_s": 3.0}, {"a_s": 1.0}, {"a_s": 2.0, "b": 5}]) == {
        "a_s": 2.0, "a_s_min": 1.0, "a_s_max": 3.0, "b": 5.0, "b_min": 5.0, "b_max": 5.0}
    assert load.median_and_range([{"a": 1.23456}]) == {"a": 1.235}


def test_evenness_leaves_out_classes_that_are_chance():
    def run(*classes):
        return {"groups": {"length": [{"offered": offered, "admission_ratio": ratio} for offered, ratio in classes]}}
    assert load.evenness(run((100, 0.4), (100, 0.5), (load.MIN_CLASS - 1, 0.1))) == pytest.approx(0.8)
    assert load.evenness(run((3, 0.5))) is None


def test_attainable_is_the_offer_until_the_server_is_full():
    def run(*offered):
        return {"warmup": {"seconds": 1}, "measured_s": len(offered) - 1, "windows": [{"from_s": i, "offered_tokens": n} for i, n in enumerate(offered)]}
    assert load.attainable_tokens_per_s(run(500, 500, 500, 500, 500), 1000, 2) == 500
    assert load.attainable_tokens_per_s(run(0, 2000, 2000, 2000, 2000), 1000, 2) == 1000
    # Of a burst of 20,000 tokens a second's worth is computed at once and two more are kept; the rest of the time is idle.
    assert load.attainable_tokens_per_s(run(0, 20000, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1000, 2) == 300
    # What the warm-up leaves behind is served in the measured part, and what comes behind it is not.
    assert load.attainable_tokens_per_s({**run(3000, 0, 0, 9000), "measured_s": 2}, 1000, 2) == 1000


def test_counts_add_up():
    def result(refusals, failures):
        return {"runs": [{"refusals": refusals, "failures": failures}]}
    assert load.attempts_by_reason([result({"WAIT_LIMIT": 2}, {}), result({"WAIT_LIMIT": 1, "other": 4}, {"timeout": 1})]) == {
        "refusals": {"WAIT_LIMIT": 3, "other": 4}, "failures": {"timeout": 1}}


def test_the_meter_knows_whose_processor_time_it_was():
    with subprocess.Popen([sys.executable, "-c", BURN + "\nimport sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        with load.Meter(process.pid) as meter:
            deadline = time.monotonic() + 60
            while load.cpu_s(process.pid) < 0.4 and time.monotonic() < deadline:
                time.sleep(0.02)
        process.stdin.close()
    assert meter.used_s > 0.2  # interpreter start-up may fall before the meter's


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for it")
def test_real_time_is_for_what_starts_in_the_block():
    with load.realtime():
        with subprocess.Popen(["sleep", "60"]) as inside:
            try:
                assert os.sched_getscheduler(inside.pid) == os.SCHED_FIFO
            finally:
                inside.kill()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    with load.realtime(wanted=False):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_disturbed_run_is_repeated_and_the_last_try_counts():
    runs = []
    outcome, meter = load.quiet(lambda: runs.append(1) or len(runs), noise=-1)
    assert outcome == load.TRIES == len(runs)
    assert meter.others >= 0
    assert load.quiet(lambda: "once", noise=1e9)[0] == "once"
