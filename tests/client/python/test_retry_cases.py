# SPDX-License-Identifier: Apache-2.0
"""The table of cases that client/retry.h and _retry.py share, so that both stay one logic."""

import dataclasses
import json
import os
import pathlib

import pytest

from hadal_client._retry import Call, Refusal, RetryOptions, Targets

CASES = json.loads((pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "tests/client/retry_cases.json").read_text(encoding="utf-8"))


class Run:
    def __init__(self, case):
        self.now = 1000.0
        self.targets = Targets(case.get("servers", ["a"]), RetryOptions(**case.get("options", {})), lambda: self.now)
        self.calls, self.named, self.at = {}, {}, {}

    def step(self, step):
        (verb, name), *_ = step.items()
        getattr(self, verb)(name, step)

    def call(self, name, step):
        self.calls[name] = Call(self.targets, step.get("deadline", 3600), draw=lambda: step.get("draw", 0.5))

    def begin(self, name, step):
        target = self.calls[name].begin()
        if "server" in step and step["server"] is None:
            assert target is None
            return
        assert target is not None
        self.at[name] = target
        wanted = step.get("server")
        assert wanted is None or target.address in ([wanted] if isinstance(wanted, str) else wanted)
        assert "same" not in step or target.address == self.named[step["same"]]
        assert "not" not in step or target.address != self.named[step["not"]]
        if "as" in step:
            self.named[step["as"]] = target.address
        ticket = self.calls[name].headers().get("x-hadal-ticket", "")
        assert ticket == step.get("ticket", ticket)

    def hedge(self, name, step):
        target = self.calls[name].hedge()
        assert (target and target.address) == step["server"]

    def refusal(self, step):
        # A ticket with a time is gRPC's way to say what x-hadal-promise says over HTTP.
        held = "ticket" in step and "after" in step
        return Refusal(503, "WAIT_LIMIT", step.get("after"), False if step.get("final") else None, step.get("ticket"), held)

    def refused(self, name, step):
        self.calls[name].refused(self.refusal(step), self.server(step))

    def failed(self, name, step):
        self.calls[name].failed(self.server(step))

    def served(self, name, step):
        self.calls[name].served(self.server(step))
        (self.server(step) or self.at[name]).finish()

    def lost(self, name, step):
        self.server(step).finish()

    def server(self, step):
        return self.targets.at(step["at"]) if "at" in step else None

    def counts(self, wanted, step):
        counts = dataclasses.asdict(self.targets.counts())
        assert {name: counts[name] for name in ("calls", "attempts", "hedges")} == {"calls": 0, "attempts": 0, "hedges": 0, **wanted}

    def wait(self, name, step):
        assert self.calls[name].wait() == (None if step["seconds"] is None else pytest.approx(step["seconds"]))

    def sleep(self, seconds, step):
        self.now += seconds

    def report(self, server, step):
        self.targets.at(server).report(step["requests"])

    def state(self, server, step):
        assert self.targets.at(server).state == step["is"]

    def repeat(self, name, step):
        call, waits = self.calls[name], []
        while True:
            while call.begin() is not None:
                call.headers()
                call.refused(self.refusal(step))
            wait = call.wait()
            if wait is None:
                break
            waits.append(wait)
            self.now += wait
        assert waits == pytest.approx(step["waits"])


@pytest.mark.parametrize("case", CASES["cases"] + CASES["hedging"] + CASES["sharing"], ids=lambda case: case["name"])
def test_case(case):
    run = Run(case)
    for number, step in enumerate(case["steps"], 1):
        try:
            run.step(step)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {json.dumps(step)}: {error}") from error
