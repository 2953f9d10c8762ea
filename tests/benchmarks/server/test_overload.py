# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/server/overload.py makes of its runs: loads take turns, and bursts are judged by what could be served in them."""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
SCRIPT = SOURCE / "benchmarks/server/overload.py"
# benchmarks/sim has a module of this name, too.
spec = importlib.util.spec_from_file_location("wall_clock_overload", SCRIPT)
overload = importlib.util.module_from_spec(spec)
spec.loader.exec_module(overload)


class Lab:
    """A server that computes 1,000 tokens a second. A run has five seconds; bursts come in the first one."""

    def __init__(self, rounds=2):
        self.args = argparse.Namespace(rounds=rounds, seconds=5)
        self.runs = []

    def run(self, server, rate, *flags, **times):
        del server
        self.runs.append((rate, times["seed"], flags))
        offered = [int(rate * 50), 0, 0, 0, 0] if "--cv=13" in flags else [int(rate * 10)] * 5
        run = {"warmup": {"seconds": 0}, "measured_s": 5, "refusals": {}, "failures": {},
               "windows": [{"from_s": i, "offered_tokens": tokens} for i, tokens in enumerate(offered)]}
        served = min(sum(offered), 3000 if "--cv=13" in flags else 5000) / 5
        return {"runs": [run]}, {"goodput_tokens_per_s": served}


def test_loads_take_turns_and_are_relative_to_the_peak_below():
    lab = Lab()
    table = overload.in_turns(lab, None, 100, [*overload.BELOW, 2.0], "--x")
    assert [rate for rate, seed, _ in lab.runs if seed == 1] == [80, 90, 100, 110, 200] == [rate for rate, seed, _ in lab.runs if seed == 2]
    assert all("--client=none" in flags and "--x" in flags for _, _, flags in lab.runs)
    relative = overload.relative(table, overload.peak_of(table))
    assert relative["0.8"]["of_peak_ratio"] == 0.8 and relative["2"]["of_peak_ratio"] == 1 and "of_attainable_ratio" not in relative["2"]


def test_bursts_are_relative_to_what_is_attainable():
    lab = Lab()
    table = overload.relative(overload.in_turns(lab, None, 100, [2.0], "--cv=13", peak=1000), 1000)
    # A burst of 10,000 tokens: one second's worth is computed at once, two more can wait.
    assert table["2"]["of_peak_ratio"] == 0.6 and table["2"]["of_attainable_ratio"] == pytest.approx(1)


def test_nonsense_is_named():
    done = subprocess.run([sys.executable, SCRIPT, "--only=burst"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "there are load, bursts, storm" in done.stderr
