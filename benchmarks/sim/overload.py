#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/overload.md on the virtual clock: runs hadal-sim over loads, policies and callers.

Usage: overload.py [--short] [--check] [--seeds 20] [--duration 120s] [--only goodput,classes] [--output FILE.json]

Every point is a median over seeds, three for the policies that are compared, with its range. Loads are multiples of the capacity: the highest goodput that the server
reaches at any load below, found first. The whole table takes a quarter of an hour on two cores; --short is a look at it with three
seeds of 80 s, without the highest loads of some tables. --check exits 1 and names each goal (goals.py) that was missed. Writes one result in the form of benchmarks/README.md; plot.py draws it.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import goals  # noqa: E402
import lib  # noqa: E402

BINARY = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", ROOT / "build/release")) / "hadal-sim"
# Set to the service level, as an operator does who knows it: 2 s to the first token, less what the prompt itself takes.
# The level of 2 s less what the longest prompt, 16,000 tokens, takes beside a full batch (0.6 s), and less a step (50 ms).
LIMITS = ["--wait-limits", "high=1s,normal=1350ms,low=30s"]
# The demo model on one core, with what benchmarks/server/overload.py sends to it and its limits.
DEMO = ["--device", "demo", "--length-scale", 0.1, "--max-prompt-tokens", 1500, "--max-tokens", 400]
DEMO_LIMITS = ["--wait-limits", "high=1s,normal=500ms,low=30s"]
DEMO_CAPACITY = 160  # requests a second, as the table `demo` finds it
LOADS = [0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.5, 2, 3, 5, 10]
SHORT_LOADS = [0.9, 1.0, 2, 5, 10]


class Runner:
    """Runs points, two at a time, each over all seeds."""

    def __init__(self, seeds, duration, jobs, short=False):
        self.short = short
        self.loads = SHORT_LOADS if short else LOADS
        self.seeds = seeds
        self.duration = duration
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)

    def submit(self, *flags, seeds=None):
        times = [] if "--duration" in flags else ["--duration", self.duration]
        return self.pool.submit(self._run, ["--seeds", str(min(seeds or self.seeds, self.seeds)), *times, *(str(flag) for flag in flags)])

    def _run(self, flags):
        done = subprocess.run([BINARY, *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(flags)}: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def look_up(report, path):
    for key in path.split("/"):
        report = report.get(key) if isinstance(report, dict) else None
        if report is None:
            return None
    return report


def spread(reports, path):
    """Median, least and most over the seeds of one figure, or None."""
    values = [value for value in (look_up(report, path) for report in reports) if value is not None]
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def row(reports, **paths):
    return {name: spread(reports, path) for name, path in paths.items()}


def total_ratio(reports, part, whole):
    """Of counts that are rare in one run: the sum over the seeds."""
    count = sum(report[whole] for report in reports)
    return {"median": sum(report[part] for report in reports) / count, "of": count} if count else None


def sum_of_counts(counts):
    """One dict of counts of several."""
    total = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def ours(policy):
    return LIMITS if policy == "hadal" else []


MOST = {"hadal": 10, "fifo": 5, "fifo-bounded": 10}  # highest load of a policy


RATES = (24, 25, 26, 27, 28, 29, 30, 32)
SHORT_RATES = (27, 28, 29, 30)


def capacity(run, rates=None, flags=(), limits=None):
    """The best goodput at any load up to a little above what can be served, and the rate at which it is reached."""
    rates = rates or (SHORT_RATES if run.short else RATES)
    points = {rate: run.submit("--rate", rate, *flags, *(limits or LIMITS)) for rate in rates}
    best = max(rates, key=lambda rate: spread(points[rate].result(), "goodput_tokens_per_s")["median"])
    reports = points[best].result()
    return {"requests_per_s": spread(reports, "goodput_requests_per_s")["median"],
            "tokens_per_s": spread(reports, "goodput_tokens_per_s")["median"]}


def goodput(run, peak):
    """Goodput against offered load, three policies, smooth and bursty arrivals, short and long outputs."""
    table = {}
    # An unbounded queue is worked off after the arrivals, which takes as long as the load is high. Three seeds show its collapse.
    for name, flags in {"poisson": ["--cv", 1], "cv13": ["--cv", 13]}.items():
        for policy in ("hadal", "fifo", "fifo-bounded"):
            points = {load: run.submit("--rate", peak["requests_per_s"], "--load", load, "--peak", peak["tokens_per_s"],
                                       "--policy", policy, *flags, *ours(policy), seeds=None if policy == "hadal" else 3)
                      for load in run.loads if load <= (2 if run.short and policy != "hadal" else MOST[policy])}
            table[f"{name}/{policy}"] = {f"{load:g}": goodput_row(point.result(), peak) for load, point in points.items()}
    return table


def goodput_row(reports, peak):
    figures = row(reports, goodput_tokens_per_s="goodput_tokens_per_s", served_tokens_per_s="served_tokens_per_s",
                  of_attainable_ratio="goodput_of_attainable_ratio", evenness_ratio="admission_evenness_ratio",
                  admitted_ratio="all/admitted_ratio", ttft_p99_s="all/ttft_s/p99")
    of_peak = {name: value / peak["tokens_per_s"] for name, value in figures["goodput_tokens_per_s"].items()}
    return {"of_peak_ratio": of_peak, **figures, "false_refusals_ratio": total_ratio(reports, "false_refusals", "ghosts")}


def rows_of(points, **paths):
    """One row a point, when all have been submitted."""
    return {name: row(point.result(), **paths) for name, point in points.items()}


def classes(run, peak):
    """A tenth of the callers is of the high class; the rest is normal, low or batch. Alone: high callers on an empty server;
    alone/LOAD: as many of them as there are at that load."""
    rate = peak["requests_per_s"]
    high = {"alone": run.submit("--rate", rate, "--load", 0.05, "--mix", "high:1", *LIMITS)}
    loads = (2, 5) if run.short else (2, 5, 9, 10)
    for load in loads:
        high[f"alone/{load}"] = run.submit("--rate", rate, "--load", load / 10, "--mix", "high:1", *LIMITS)
    for rest in ("normal", "low", "batch"):
        for load in loads:
            high[f"{rest}/{load}"] = run.submit("--rate", rate, "--load", load, "--mix", f"high:0.1,{rest}:0.9", *LIMITS)
    low = {f"low beside high and normal/{load}": run.submit("--rate", rate, "--load", load, "--mix", "high:0.2,normal:0.7,low:0.1", *LIMITS)
           for load in (1.5, 2, 5)}
    return {**rows_of(high, ttft_p99_s="classes/high/ttft_s/p99", success_ratio="classes/high/success_ratio",
                      goodput_tokens_per_s="goodput_tokens_per_s"),
            **rows_of(low, ttft_max_s="classes/low/ttft_s/max", admitted_ratio="classes/low/admitted_ratio",
                      success_ratio="classes/low/success_ratio")}


def tenants(run, peak):
    """A quiet tenant with a tenth of the capacity beside one that floods."""
    rate = peak["requests_per_s"]
    points = {"alone": run.submit("--rate", rate, "--load", 0.1, "--mix", "normal:1:quiet", *LIMITS)}
    for load in (2, 5, 10):
        mix = f"normal:{0.1 / load}:quiet,normal:{1 - 0.1 / load}:noisy"
        points[f"{load}"] = run.submit("--rate", rate, "--load", load, "--mix", mix, *LIMITS)
    return rows_of(points, ttft_p99_s="tenants/quiet/ttft_s/p99", success_ratio="tenants/quiet/success_ratio",
                   noisy_success_ratio="tenants/noisy/success_ratio")


def step(run, peak):
    """0.7 of the capacity, then twice the capacity from second 60 on."""
    rate = peak["requests_per_s"]
    point = run.submit("--rate", f"{0.7 * rate},{2 * rate}@60", *LIMITS).result()
    return row(point, last_miss_s="last_miss_s", late_tokens_ratio="late_tokens_ratio", goodput_tokens_per_s="goodput_tokens_per_s")


def retries(run, peak):
    """Callers that come back when they are told to, and those that do not listen; --surplus-retry as it is, and deny."""
    points = {}
    others = {} if run.short else {"obey": [], "urllib3": [], "backoff": [], "immediate": []}
    for client, flags in {"obey, deny": ["--surplus-retry", "deny"], **others}.items():
        for load in (2, 5):
            points[f"{client}/{load}"] = run.submit("--rate", peak["requests_per_s"], "--load", load, "--client", client.split(",")[0], *flags,
                                                    *LIMITS)
    return rows_of(points, tries_per_served="all/tries_per_served", first_return_ratio="returns/admitted_at_first_return_ratio",
                   max_tries="returns/max_tries", hint_p50_s="returns/hint_s/p50", goodput_tokens_per_s="goodput_tokens_per_s",
                   success_ratio="all/success_ratio")


def storm(run, peak):
    """Half the capacity, and four times that (+300 %) for ten seconds, from second 40 on. Callers back off from 0.5 s with jitter, at
    most 30 s, five tries; or obey the hint. The patient say that they would rather wait: class low, 30 s in the queue. With the
    default limits a normal one waits 5 s. An unbounded queue takes everybody. Latency is that of the first token, from the first try; availability the share that had it in two seconds."""
    rate = peak["requests_per_s"]
    points = {}
    for policy, client, group in (("hadal", "backoff", "normal"), ("hadal", "backoff", "low"), ("hadal", "obey", "normal"),
                                  ("hadal", "obey", "low"), ("fifo", "backoff", "normal")):
        points[f"{policy}/{client}/{group}"] = run.submit(
            "--rate", f"{0.5 * rate},{2 * rate}@40,{0.5 * rate}@50", "--client", client, "--policy", policy, "--mix", f"{group}:1", *ours(policy))
    points["hadal/backoff/normal, default limits"] = run.submit(
        "--rate", f"{0.5 * rate},{2 * rate}@40,{0.5 * rate}@50", "--client", "backoff")
    return rows_of(points, success_ratio="all/success_ratio", availability_ratio="all/in_time_from_first_try_ratio",
                   latency_mean_s="all/ttft_from_first_try_s/mean", latency_p50_s="all/ttft_from_first_try_s/p50",
                   latency_p99_s="all/ttft_from_first_try_s/p99", tries_per_served="all/tries_per_served")


def batches(run, peak):
    """Interactive callers below the capacity, alone and beside a batch that always has more lines: the ratios are those of the same seed's
    runs. On the demo model every row costs time."""
    return {**beside_batches(run, "", "--rate", peak["requests_per_s"], *LIMITS), **beside_batches(run, "demo ", "--rate", DEMO_CAPACITY, *DEMO, *DEMO_LIMITS)}


def beside_batches(run, prefix, *flags):
    table = {}
    for load in (0.5, 0.7):
        points = {lines: run.submit(*flags, "--load", load, "--batch-lines", lines) for lines in (0, 64)}
        alone = points[0].result()
        for lines, point in points.items():
            reports = point.result()
            figures = row(reports, served_tokens_per_s="served_tokens_per_s", success_ratio="classes/normal/success_ratio")
            for name in ("ttft", "itl"):
                for quantile in ("p50", "p99"):
                    path = f"classes/normal/{name}_s/{quantile}"
                    figures[f"{name}_{quantile}_s"] = spread(reports, path)
                    pairs = zip(reports, alone)
                    figures[f"{name}_{quantile}_of_alone_ratio"] = spread([{"of": look_up(a, path) / look_up(b, path)} for a, b in pairs], "of")
            table[prefix + (f"{lines} lines/{load:g}" if lines else f"alone/{load:g}")] = figures
    return table


def demo(run, _):
    """The demo model on one core, with what benchmarks/server/overload.py sends to it and its limits: beside
    benchmarks/results/overload_wall_clock.json this shows what the simulator leaves out."""
    peak = capacity(run, (150, 160, 170) if run.short else (140, 150, 155, 160, 165, 170, 180), DEMO, DEMO_LIMITS)
    points = {load: run.submit("--rate", peak["requests_per_s"], "--load", load, "--peak", peak["tokens_per_s"], *DEMO, *DEMO_LIMITS)
              for load in (0.8, 1, 2, 5)}
    return {"capacity": peak, **{f"{load:g}": {**goodput_row(point.result(), peak), **row(point.result(), ttft_p50_s="all/ttft_s/p50",
                                                                                         itl_p50_s="all/itl_s/p50")}
                                 for load, point in points.items()}}


def thinking(run, _):
    """Outputs of thousands of tokens (median 2,000): a place is taken for half a minute, and nobody knows for how long. Runs are as long as
    that demands. The high class is a tenth of the callers."""
    flags = ["--lengths", "thinking", "--max-tokens", 16384, "--duration", "300s", "--warm-up", "120s"]
    peak = capacity(run, (3, 3.5, 3.75, 4, 4.25, 4.5, 5), flags)
    rate = ["--rate", peak["requests_per_s"], "--peak", peak["tokens_per_s"], *flags]
    points = {f"hadal/{load:g}": run.submit(*rate, "--load", load, *LIMITS) for load in (0.7, 0.9, 1, 2, 5, 10)}
    points.update({f"fifo/{load}": run.submit(*rate, "--load", load, "--policy", "fifo", seeds=3) for load in (2, 5)})
    high = {f"high alone/{load}": run.submit(*rate, "--load", load / 10, "--mix", "high:1", *LIMITS) for load in (2, 5)}
    high.update({f"high beside normal/{load}": run.submit(*rate, "--load", load, "--mix", "high:0.1,normal:0.9", *LIMITS) for load in (2, 5)})
    return {"capacity": peak, **{name: goodput_row(point.result(), peak) for name, point in points.items()},
            **rows_of(high, ttft_p99_s="classes/high/ttft_s/p99", success_ratio="classes/high/success_ratio", goodput_tokens_per_s="goodput_tokens_per_s")}


def memory(run, _):
    """The same outputs where memory is the limit and not the batch: a pool in which ten of them run, and one for forty. Loads are
    multiples of what the pool can about serve. A preemption is rare and costs thousands of tokens, so runs are long."""
    flags = ["--lengths", "thinking", "--max-tokens", 16384, "--duration", "1000s", "--warm-up", "120s"]
    points = {f"{tokens}/{load}": run.submit("--kv-tokens", tokens, "--rate", rate, "--load", load, *flags, seeds=5)
              for tokens, rate in ((40000, 0.6), (150000, 2.5)) for load in (1, 2, 5)}
    return rows_of(points, recomputed_ratio="recomputed_ratio", goodput_tokens_per_s="goodput_tokens_per_s", admitted_ratio="all/admitted_ratio",
                   late_tokens_ratio="late_tokens_ratio", ttft_p99_s="all/ttft_s/p99")


TABLES = {table.__name__: table for table in (goodput, classes, tenants, step, retries, storm, batches, demo, thinking, memory)}
LONG = {"demo", "thinking", "memory"}  # left out of the short form


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="three seeds of 80 s, fewer loads")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--duration", help="of each run, on the virtual clock")
    parser.add_argument("--check", action="store_true", help="exit 1 if a goal was missed")
    parser.add_argument("--wait-limits", help="of hadal, instead of those of the table")
    parser.add_argument("--only", help="tables to run")
    parser.add_argument("--jobs", type=int, default=lib.cores())
    parser.add_argument("--output", help="file to write; else stdout")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else [name for name in TABLES if not (args.short and name in LONG)]
    unknown = set(wanted) - set(TABLES)
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    args.seeds = args.seeds or (3 if args.short else 20)
    args.duration = args.duration or ("80s" if args.short else "120s")
    if args.wait_limits:
        LIMITS[1] = args.wait_limits
    run = Runner(args.seeds, args.duration, args.jobs, args.short)
    peak = capacity(run)
    metrics = {"capacity": peak}
    for name in wanted:
        print(f"overload: {name}", file=sys.stderr)
        metrics[name] = TABLES[name](run, peak)
    settings = {"device": "h200-7b", "lengths": "azure-conversation", "seeds": args.seeds, "duration": args.duration,
                "slo_ttft_s": 2, "slo_tpot_ms": 80, "limits": LIMITS}
    lib.write(lib.result("overload_sim", metrics, settings, bandwidth=False), args.output)
    check = goals.check_result(metrics, args.short)
    for miss in check.misses:
        print(f"overload: {miss}", file=sys.stderr)
    if args.check:
        print(f"overload: {check.checked - len(check.misses)} of {check.checked} goals met", file=sys.stderr)
        raise SystemExit(1 if check.misses else 0)


if __name__ == "__main__":
    main()
