#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each optional feature costs a request and a token: off, on without being asked for, and in use, all in one run.

Usage: feature_cost.py [--rounds 3] [--requests 800] [--tokens 300] [--output FILE.json]

Every server runs in valgrind's callgrind, on a model that computes nothing, and cost is the instructions of its own code and libraries, without the
kernel's (paired_cost.py says how, and what that leaves out). A round measures a new process with everything off at its beginning and at its end, and between
them one for each feature that is on and not asked for, and one for each in use. What counts is the ratio to the mean of the two of its round; the ratio of these two to each
other is what the method cannot tell from nothing.

"Off" is also looked at by itself: callgrind counts the calls and the instructions of each function, so the server with everything off shows how much of each feature's
own code (its namespace, its classes) a request runs. What the compiler has merged into its callers, such as the test whether there is a cache at all, does not appear there; no build
without the features exists to count that, and paired_cost.py compares with an earlier commit instead.
"""
import argparse
import collections
import contextlib
import dataclasses
import http.client
import json
import pathlib
import re
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402
import paired_cost  # noqa: E402

NOWHERE = "127.0.0.1:9"  # the port "discard", where nothing listens
CALLERS = paired_cost.CALLERS


@dataclasses.dataclass(frozen=True)
class Feature:
    """`code`: what the names of its functions begin with or contain. `flags` turn it on; `idle_flags` do, where it is the flags that put it to use. `headers` and `body` of a request ask for it."""
    code: tuple
    flags: tuple = ()
    idle_flags: tuple = None
    headers: tuple = ()
    body: tuple = ()
    idle: bool = True
    used: bool = True


FEATURES = {
    # Each answer is computed and stored: a hit would cost less than a request without the cache.
    "response cache": Feature(("hadal::response_cache::",), ("--response-cache=memory",), headers=(("x-hadal-cache", "no-cache"),), body=(("temperature", 0),)),
    "batches": Feature(("hadal::batches::",), ("--batch-store={folder}",), used=False),
    "another server's answer": Feature(("hadal::upstream::", "hadal::relay::"), (f"--fallback-upstream=http://{NOWHERE}",), used=False),
    # There is no flag: a request asks for it.
    "load reports": Feature(("MakeLoadReport", "FormatLoadReport", "SerializeLoadReport"), headers=(("endpoint-load-metrics-format", "JSON"),), idle=False),
    "traces": Feature(("hadal::trace::OtlpExporter", "hadal::trace::(anonymous"), (f"--otlp-traces-endpoint={NOWHERE}",),
                      idle_flags=(f"--otlp-traces-endpoint={NOWHERE}", "--trace-sample-ratio=0")),
    "access log": Feature(("AccessLog::",), ("--access-log=/dev/null",), idle=False),
    "cache events": Feature(("hadal::kv_events::",), ("--kv-events=tcp://127.0.0.1:*",), idle=False),
}


def functions(text):
    """{name: [calls, own instructions]} of a callgrind dump."""
    names, found = {}, collections.defaultdict(lambda: [0, 0])

    def name_of(word):
        match = re.fullmatch(r"(\(\d+\))(?: (.*))?", word)
        return names.setdefault(match[1], match[2]) if match else word

    current, inclusive = None, False
    for line in text.splitlines():
        if line.startswith("fn="):
            current = name_of(line[3:])
        elif line.startswith("cfn="):
            called = name_of(line[4:])
        elif line.startswith("calls="):
            found[called][0] += int(line[6:].split()[0])
            inclusive = True  # the next line is what the calls cost
        elif re.match(r"[+*-]?\d*(?: [+*-]?\d+)+$", line) and current is not None:
            if not inclusive:
                found[current][1] += int(line.split()[-1])
            inclusive = False
    return dict(found)


class Functions(paired_cost.Instructions):
    """Counts instructions, and keeps what each function had of the last count."""

    def __init__(self):
        super().__init__()
        self.last = {}

    @contextlib.contextmanager
    def counted(self, pid):
        with super().counted(pid) as count:
            yield count
        self.last = collections.defaultdict(lambda: [0, 0])
        for text in self.texts:
            for name, (calls, own) in functions(text).items():
                self.last[name][0] += calls
                self.last[name][1] += own

    def own_code(self, feature):
        """(calls, instructions) of a feature's own functions in the last count."""
        rows = [row for name, row in self.last.items() if any(part in name for part in feature.code)]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)


def call(port, requests, body, headers, caller):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in range(requests):
        text = json.dumps({**body, "prompt": f"{caller} + {number}"})
        connection.request("POST", "/v1/completions", text, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"feature_cost: {answer.status} {data[:200]}")
    connection.close()


def cost(counter, server, requests, tokens, stream, headers=(), extra=()):
    """Of the server for a request, when so many come over CALLERS connections."""
    body = {"model": "hadal-demo", "max_tokens": tokens, "ignore_eos": True, "stream": stream, **dict(extra)}
    each = requests // CALLERS
    with counter.counted(server.process.pid) as count:
        paired_cost.at_once(lambda caller: call(server.port, each, body, dict(headers), caller))
    return count[0] / (each * CALLERS)


def measure(counter, flags, headers, body, cores, args):
    """(figures, {feature: (calls, instructions) of its own code for a request}) of a process of its own."""
    with tempfile.TemporaryDirectory() as folder, counter.launcher(str(load.BUILD / "hadal")) as launcher:
        with load.on_cores(cores[0]):
            server = load.HadalProcess(*paired_cost.SERVER, *(flag.format(folder=folder) for flag in flags), binary=launcher)
        with server, load.on_cores(cores[1]):
            cost(counter, server, max(CALLERS, args.requests // 4), 4, True, headers, body)  # to warm up
            request = cost(counter, server, args.requests, 1, False, headers, body)
            own = {name: [part / args.requests for part in counter.own_code(feature)] for name, feature in FEATURES.items()}
            stream = cost(counter, server, CALLERS, args.tokens, True, headers, body)
    return {"request_instructions": request, "token_instructions": (stream - request) / (args.tokens - 1)}, own


def configurations():
    """{name: (flags, headers, body)}"""
    made = {}
    for name, feature in FEATURES.items():
        if feature.idle:
            made[f"{name}, on"] = (feature.flags if feature.idle_flags is None else feature.idle_flags, (), ())
        if feature.used:
            made[f"{name}, used"] = (feature.flags, feature.headers, feature.body)
    return made


def ratios(rounds, key):
    """Of the medians' sort: {configuration: [ratio of each round to everything off]}, with "off" for the two of each round."""
    found = collections.defaultdict(list)
    for figures in rounds:
        off = statistics.mean(row[key] for row in figures["off"])
        found["off"].append(figures["off"][1][key] / figures["off"][0][key])
        for name, rows in figures.items():
            if name != "off":
                found[name].append(rows[0][key] / off)
    return {name: {"median": load.round_off(statistics.median(values)), "low": load.round_off(min(values)), "high": load.round_off(max(values))}
            for name, values in found.items()}


def table(metrics):
    yield "| feature | its own code, everything off: calls for a request | on, not asked for: request | token | in use: request | token |"
    yield "|---|---|---|---|---|---|"

    def cell(name, key):
        row = metrics[key].get(name)
        return f"{row['median']:.3f}" if row else "-"

    for name in FEATURES:
        cells = [cell(f"{name}, {state}", f"{what}_of_off_ratio") for state in ("on", "used") for what in ("request", "token")]
        yield f"| {name} | {metrics['own_code_off'][name]['calls']:g} | {' | '.join(cells)} |"
    spread = [metrics[f"{what}_of_off_ratio"]["off"] for what in ("request", "token")]
    cells = [f"{row['low']:.3f} to {row['high']:.3f}" for row in spread]
    yield f"| *everything off, twice* | | {' | '.join(cells)} | | |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--tokens", type=int, default=300, help="of a stream; eight run at a time")
    parser.add_argument("--output")
    args = parser.parse_args()
    cores, counter = load.server_and_client_cores(False), Functions()
    rounds, own_off = [], []
    for number in range(args.rounds):
        figures, own = {}, {}

        def take(name, *configuration):
            row, own[name] = measure(counter, *configuration, cores, args)  # noqa: B023
            figures.setdefault(name, []).append(row)  # noqa: B023
            print(f"feature_cost: round {number + 1}: {name}: {row}", file=sys.stderr)  # noqa: B023

        take("off", (), (), ())
        own_off.append(own["off"])
        for name, configuration in configurations().items():
            take(name, *configuration)
            feature = FEATURES[name.rsplit(", ", 1)[0]]
            if name.endswith("used") and own[name][name.rsplit(", ", 1)[0]][0] == 0:
                raise SystemExit(f"feature_cost: {name}: none of {feature.code} ran, so that a count of 0 would say nothing")
        take("off", (), (), ())
        rounds.append(figures)
    metrics = {f"{what}_of_off_ratio": ratios(rounds, f"{what}_instructions") for what in ("request", "token")}
    metrics["off"] = load.median_and_range([row for figures in rounds for row in figures["off"]])
    metrics["own_code_off"] = {name: {"calls": max(own[name][0] for own in own_off), "instructions": load.round_off(max(own[name][1] for own in own_off))}
                               for name in FEATURES}
    print("\n".join(table(metrics)), file=sys.stderr)
    settings = {"unit": "instructions", "server": " ".join(paired_cost.SERVER), "callers": CALLERS, "rounds": args.rounds, "requests": args.requests,
                "tokens": args.tokens, **load.placement(*cores)}
    lib.write(lib.result("feature_cost", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
