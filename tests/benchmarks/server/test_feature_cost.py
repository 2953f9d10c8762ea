# SPDX-License-Identifier: Apache-2.0
"""What features cost that are off: that a request runs none of their code, and that the count would notice it if it did."""

import argparse
import os
import pathlib
import shutil
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "benchmarks/server"))
import feature_cost  # noqa: E402

DUMP = """version: 1
events: Ir
fn=(1) first
3 10
+2 5
cfn=(2) second
calls=4 7
+1 300
* 2
fn=(2)
7 40
cfn=third
calls=1 9
9 11
totals: 368
"""


def test_a_functions_own_instructions_are_not_those_of_what_it_calls():
    assert feature_cost.functions(DUMP) == {"first": [0, 17], "second": [4, 40], "third": [1, 0]}


def test_ratios_are_those_of_the_rounds():
    rounds = [{"off": [{"x": 90}, {"x": 110}], "a, on": [{"x": 103}]}, {"off": [{"x": 200}, {"x": 200}], "a, on": [{"x": 202}]}]
    assert feature_cost.ratios(rounds, "x") == {"off": {"median": 1.111, "low": 1.0, "high": 1.222}, "a, on": {"median": 1.02, "low": 1.01, "high": 1.03}}


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_a_request_runs_no_code_of_what_is_off():
    def own_code(name):
        configuration = feature_cost.configurations()[name] if name else ((), (), ())
        return feature_cost.measure(feature_cost.Functions(), *configuration, feature_cost.load.server_and_client_cores(True), argparse.Namespace(requests=48, tokens=8))[1]

    off = own_code(None)
    # To see that a request has no header for the cache takes a look at what it has, and so does whether it may be passed on.
    assert off.pop("response cache") <= [1, 30] and off.pop("another server's answer") <= [1, 30]
    assert off == {name: [0, 0] for name in off} and len(off) == 5
    calls, instructions = own_code("response cache, used")["response cache"]
    assert calls > 10 and instructions > 1000
    calls, instructions = own_code("access log, used")["access log"]
    assert calls >= 1 and instructions > 100
