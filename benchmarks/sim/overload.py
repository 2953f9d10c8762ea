#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/overload.md on the virtual clock: runs hadal-sim over loads, policies and callers.

Usage: overload.py [--seeds 20] [--duration 120s] [--only goodput,classes] [--output FILE.json]

Every point is a median over seeds with its range. Loads are multiples of the capacity: the highest goodput that the server
reaches at any load below, found first. Writes one result in the form of benchmarks/README.md.
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
import lib  # noqa: E402

BINARY = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", ROOT / "build/release")) / "hadal-sim"
# Set to the service level, as an operator does who knows it: 2 s to the first token, less what the prompt itself takes.
LIMITS = ["--wait-limits", "high=1s,normal=500ms,low=30s"]
LOADS = [0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.5, 2, 3, 5, 10]


class Runner:
    """Runs points, two at a time, each over all seeds."""

    def __init__(self, seeds, duration, jobs):
        self.common = ["--seeds", str(seeds), "--duration", duration]
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)

    def submit(self, *flags):
        return self.pool.submit(self._run, [str(flag) for flag in flags])

    def _run(self, flags):
        done = subprocess.run([BINARY, *self.common, *flags], capture_output=True, text=True, check=False)
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


def ours(policy):
    return LIMITS if policy == "hadal" else []


def capacity(run):
    """The best goodput at any load up to a little above what can be served, and the rate at which it is reached."""
    rates = [24, 25, 26, 27, 28, 29, 30, 32]
    points = {rate: run.submit("--rate", rate, *ours("hadal")) for rate in rates}
    best = max(rates, key=lambda rate: spread(points[rate].result(), "goodput_tokens_per_s")["median"])
    reports = points[best].result()
    return {"requests_per_s": spread(reports, "goodput_requests_per_s")["median"],
            "tokens_per_s": spread(reports, "goodput_tokens_per_s")["median"]}


def goodput(run, peak):
    """Goodput against offered load, three policies, smooth and bursty arrivals, short and long outputs."""
    table = {}
    for name, flags in {"poisson": ["--cv", 1], "cv13": ["--cv", 13]}.items():
        for policy in ("hadal", "fifo", "fifo-bounded"):
            points = {load: run.submit("--rate", peak["requests_per_s"], "--load", load, "--peak", peak["tokens_per_s"],
                                       "--policy", policy, *flags, *ours(policy)) for load in LOADS}
            table[f"{name}/{policy}"] = {
                load: row(point.result(), goodput_tokens_per_s="goodput_tokens_per_s", served_tokens_per_s="served_tokens_per_s",
                          of_attainable_ratio="goodput_of_attainable_ratio", evenness_ratio="admission_evenness_ratio",
                          admitted_ratio="all/admitted_ratio", ttft_p99_s="all/ttft_s/p99")
                for load, point in points.items()}
    return table


def classes(run, peak):
    """A tenth of the callers is of the high class; the rest is normal, low or batch. Alone: the same callers on an empty server."""
    rate = peak["requests_per_s"]
    table = {}
    alone = run.submit("--rate", rate, "--load", 0.05, "--mix", "high:1", *LIMITS).result()
    table["alone"] = row(alone, ttft_p99_s="classes/high/ttft_s/p99")
    for rest in ("normal", "low", "batch"):
        for load in (2, 5, 9, 10):
            point = run.submit("--rate", rate, "--load", load, "--mix", f"high:0.1,{rest}:0.9", *LIMITS).result()
            table[f"{rest}/{load}"] = row(point, ttft_p99_s="classes/high/ttft_s/p99", success_ratio="classes/high/success_ratio",
                                          goodput_tokens_per_s="goodput_tokens_per_s")
    for load in (1.5, 2, 5):
        point = run.submit("--rate", rate, "--load", load, "--mix", "high:0.2,normal:0.7,low:0.1", *LIMITS).result()
        table[f"low beside high and normal/{load}"] = row(point, ttft_max_s="classes/low/ttft_s/max",
                                                          admitted_ratio="classes/low/admitted_ratio",
                                                          success_ratio="classes/low/success_ratio")
    return table


def tenants(run, peak):
    """A quiet tenant with a tenth of the capacity beside one that floods."""
    rate = peak["requests_per_s"]
    table = {"alone": row(run.submit("--rate", rate, "--load", 0.1, "--mix", "normal:1:quiet", *LIMITS).result(),
                          ttft_p99_s="tenants/quiet/ttft_s/p99")}
    for load in (2, 5):
        mix = f"normal:{0.1 / load}:quiet,normal:{1 - 0.1 / load}:noisy"
        point = run.submit("--rate", rate, "--load", load, "--mix", mix, *LIMITS).result()
        table[load] = row(point, ttft_p99_s="tenants/quiet/ttft_s/p99", success_ratio="tenants/quiet/success_ratio",
                          noisy_success_ratio="tenants/noisy/success_ratio")
    return table


def step(run, peak):
    """0.7 of the capacity, then twice the capacity from second 60 on."""
    point = run.submit("--rate", peak["requests_per_s"], "--load", 0.7, "--step-at", "60s", "--step-factor", 2 / 0.7,
                       *LIMITS).result()
    return row(point, last_miss_s="last_miss_s", late_tokens_ratio="late_tokens_ratio", goodput_tokens_per_s="goodput_tokens_per_s")


def retries(run, peak):
    """Callers that come back when they are told to, and those that do not listen."""
    table = {}
    for client in ("obey", "obey-whole", "backoff", "at-once"):
        for load in (2, 5):
            point = run.submit("--rate", peak["requests_per_s"], "--load", load, "--client", client, *LIMITS).result()
            table[f"{client}/{load}"] = row(
                point, tries_per_served="all/tries_per_served", first_return_ratio="returns/admitted_at_first_return_ratio",
                max_tries="returns/max_tries", hint_p50_s="returns/hint_s/p50", goodput_tokens_per_s="goodput_tokens_per_s",
                success_ratio="all/success_ratio")
    return table


def storm(run, peak):
    """Half the capacity, then four times that for ten seconds; callers back off from 0.5 s, five tries."""
    table = {}
    for policy in ("hadal", "fifo"):
        for client in ("backoff", "obey"):
            point = run.submit("--rate", peak["requests_per_s"], "--load", 0.5, "--step-at", "40s", "--step-end", "50s",
                               "--step-factor", 4, "--client", client, "--policy", policy, *ours(policy)).result()
            table[f"{policy}/{client}"] = row(point, success_ratio="all/success_ratio", within_slo_ratio="all/within_slo_ratio",
                                              latency_p50_s="all/ttft_from_first_try_s/p50",
                                              latency_p99_s="all/ttft_from_first_try_s/p99")
    return table


TABLES = {table.__name__: table for table in (goodput, classes, tenants, step, retries, storm)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--duration", default="120s", help="of each run, on the virtual clock")
    parser.add_argument("--only", default=",".join(TABLES), help="tables to run")
    parser.add_argument("--jobs", type=int, default=lib.cores())
    parser.add_argument("--output", help="file to write; else stdout")
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - set(TABLES)
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    run = Runner(args.seeds, args.duration, args.jobs)
    peak = capacity(run)
    metrics = {"capacity": peak}
    for name in args.only.split(","):
        print(f"overload: {name}", file=sys.stderr)
        metrics[name] = TABLES[name](run, peak)
    settings = {"device": "h200-7b", "lengths": "azure-conversation", "seeds": args.seeds, "duration": args.duration,
                "slo_ttft_s": 2, "slo_tpot_ms": 80, "limits": LIMITS}
    lib.write(lib.result("overload_sim", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
