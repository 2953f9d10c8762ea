#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a request and a token cost the server, beside an earlier commit: features that are off must cost nothing that can be measured.

Usage: paired_cost.py [--reference COMMIT] [--instructions] [--rounds 15] [--requests 3000] [--tokens 2000] [--output FILE.json]

Builds the reference in a work tree of its own (or takes a binary, --reference PATH), runs both with default flags on a model that computes nothing, one
core for the server and one for the callers, and takes turns: a round measures a new process of both, each first in every other round. What
counts is the ratio of the two of a round: its median, and an interval that holds it in 95 of 100 cases. Cost is the processor time of all of
the server's threads, as the kernel's scheduler counts it: it does not depend on how busy the machine is, its caches do. The default reference is the last
commit before the APIs of other tools, the response cache, batches and upstreams came.

With --instructions, both run in valgrind's callgrind, and cost is the instructions of the server's own code and libraries, without the kernel's.
That repeats to one in a hundred on any machine, so that three rounds are enough, but says nothing of caches. The wait forecast is left out there: its
thread works ten times a second, and where requests take fifty times as long, that is fifty times as much for each of them.
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import math
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402

SERVER = ("--load-format=null:1ms", "--max-batch-size=16", "--wait-limits=none")
CALLERS = 8
# A function of the thread whose work depends on time alone.
TIMED = "AdmissionController::UpdateForecast"
FIRST_NEW_FILE = "server/http/messages_codec.cc"


def git(*args):
    return subprocess.run(["git", "-C", str(lib.ROOT), *args], capture_output=True, text=True, check=True).stdout.strip()


def default_reference():
    return git("log", "--diff-filter=A", "--format=%H", "--", FIRST_NEW_FILE).splitlines()[-1] + "^"


@contextlib.contextmanager
def binary_of(reference):
    """(commit, path of hadal) of a binary that is there, or of a commit, which is built."""
    if pathlib.Path(reference).is_file():
        yield reference, reference
        return
    commit = git("rev-parse", "--short=12", reference)
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / commit
        git("worktree", "add", "--detach", str(tree), commit)
        try:
            (tree / ".deps").symlink_to(lib.ROOT / ".deps")
            build = ". scripts/lib/common.sh; use_ccache; configure release -DHADAL_TESTS=OFF -DHADAL_BENCHMARKS=OFF && ninja -C build/release hadal"
            subprocess.run(["bash", "-ec", build], cwd=tree, check=True, stdout=sys.stderr)
            yield commit, str(tree / "build/release/hadal")
        finally:
            git("worktree", "remove", "--force", str(tree))


def cpu_ns(pid):
    """Of all threads that live."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total


def call(port, requests, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(requests):
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"paired_cost: {answer.status} {text[:200]}")
    connection.close()


class ProcessorTime:
    """Counts microseconds of all of the server's threads."""

    unit = "us"

    @contextlib.contextmanager
    def launcher(self, binary):
        yield binary

    @contextlib.contextmanager
    def counted(self, pid):
        before, count = cpu_ns(pid), []
        yield count
        count.append((cpu_ns(pid) - before) / 1000)


class Instructions:
    """Counts instructions under callgrind, which is switched on for the calls alone."""

    unit = "instructions"

    def __init__(self):
        if not shutil.which("valgrind"):
            raise SystemExit("paired_cost: --instructions needs valgrind (Debian package valgrind)")

    @contextlib.contextmanager
    def launcher(self, binary):
        with tempfile.TemporaryDirectory() as folder:
            self.counts = pathlib.Path(folder) / "counts"
            script = pathlib.Path(folder) / "hadal"
            script.write_text(f'#!/bin/sh\nexec valgrind -q --tool=callgrind --instr-atstart=no --separate-threads=yes --callgrind-out-file={self.counts} {binary} "$@"\n')
            script.chmod(0o755)
            yield str(script)

    @contextlib.contextmanager
    def counted(self, pid):
        count = []
        self.control(pid, "-z")
        self.control(pid, "-i", "on")
        yield count
        self.control(pid, "-i", "off")
        self.control(pid, "-d")
        # counts.DUMP-THREAD, and a summary without a thread.
        dumps = [(int(match[1]), path) for path in self.counts.parent.iterdir() if (match := re.fullmatch(r"counts\.(\d+)-\d+", path.name))]
        newest = max(number for number, _ in dumps)
        texts = [path.read_text(encoding="utf-8") for number, path in dumps if number == newest]
        self.texts = [text for text in texts if TIMED not in text]
        count.append(sum(int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1]) for text in self.texts))

    @staticmethod
    def control(pid, *command):
        subprocess.run(["callgrind_control", *command, str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def at_once(work):
    """work(number) of each caller."""
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(work, range(CALLERS)))


def cost(counter, server, requests, tokens, stream):
    """Of the server for a request, when so many come over CALLERS connections."""
    body = json.dumps({"model": "hadal-demo", "prompt": "17 + 25", "max_tokens": tokens, "ignore_eos": True, "stream": stream})
    with counter.counted(server.process.pid) as count:
        at_once(lambda _: call(server.port, requests // CALLERS, body))
    return count[0] / (requests // CALLERS * CALLERS)


def measure(counter, binary, cores, args):
    """Figures of a process of its own: where its memory happens to lie makes a few per cent."""
    with counter.launcher(binary) as launcher:
        with load.on_cores(cores[0]):
            server = load.HadalProcess(*SERVER, binary=launcher)
        with server, load.on_cores(cores[1]):
            cost(counter, server, max(CALLERS, args.requests // 4), 4, stream=True)  # to warm up
            request = cost(counter, server, args.requests, 1, stream=False)
            stream = cost(counter, server, CALLERS, args.tokens, stream=True)
    return {f"request_{counter.unit}": request, f"token_{counter.unit}": (stream - request) / (args.tokens - 1)}


def interval(values):
    """Bounds of the median that hold it in 95 of 100 cases, by the ranks of the binomial distribution."""
    values, count = sorted(values), len(values)
    rank = 0
    while rank < count // 2 and sum(math.comb(count, k) for k in range(rank + 1)) / 2**count <= 0.025:
        rank += 1
    rank = max(rank - 1, 0)
    return values[rank], values[count - 1 - rank]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="commit, or the binary of one")
    parser.add_argument("--instructions", action="store_true", help="count those, in callgrind, not processor time")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--tokens", type=int, default=2000, help="of a stream; eight run at a time")
    parser.add_argument("--output")
    args = parser.parse_args()
    cores = load.server_and_client_cores(False)
    counter = Instructions() if args.instructions else ProcessorTime()
    with binary_of(args.reference or default_reference()) as (commit, reference):
        binaries = {"reference": reference, "now": str(load.BUILD / "hadal")}
        rounds = {name: [] for name in binaries}
        for number in range(args.rounds):
            for name in sorted(binaries, reverse=number % 2 == 0):
                rounds[name].append(measure(counter, binaries[name], cores, args))
            print(f"paired_cost: round {number + 1}: reference {rounds['reference'][-1]}, now {rounds['now'][-1]}", file=sys.stderr)
    metrics = {name: load.median_and_range(figures) for name, figures in rounds.items()}
    for name in ("request", "token"):
        key = f"{name}_{counter.unit}"
        ratios = [now[key] / before[key] for now, before in zip(rounds["now"], rounds["reference"])]
        low, high = interval(ratios)
        row = {"median": load.round_off(statistics.median(ratios)), "low": load.round_off(low), "high": load.round_off(high)}
        metrics[f"{name}_of_reference_ratio"] = row
        print(f"paired_cost: {name}: {row['median']} of the reference, {row['low']} to {row['high']}", file=sys.stderr)
    settings = {"reference": commit, "unit": counter.unit, "server": " ".join(SERVER), "callers": CALLERS, "rounds": args.rounds,
                "requests": args.requests, "tokens": args.tokens, **load.placement(*cores)}
    lib.write(lib.result("paired_cost", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
