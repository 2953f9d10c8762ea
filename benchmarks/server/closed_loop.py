#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Locust's users measure and what hadal-bench measures, against one server in one run: below the capacity, and beyond it.

Usage: closed_loop.py [--rounds 3] [--seconds 30] [--users 60,600] [--output FILE.json]

Users wait between 1 and 5 seconds after each answer, so below the capacity N of them offer N / (3 s + the time of an answer). hadal-bench
then offers the same rate, and both should say the same. Beyond the capacity users that were refused or wait for an answer offer less:
`offered_ratio` is what they offered, of what as many would on a server that keeps its time. hadal-bench offers all of that. Locust is a
Debian package (python3-locust). Server and load have a core each.
"""
import argparse
import csv
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402

LOCUST = "/usr/bin/locust"
PROMPT, TOKENS, STEP_S, BATCH = 15, 40, 0.02, 32
SERVER = (f"--load-format=null:{round(1000 * STEP_S)}ms", f"--max-batch-size={BATCH}", "--wait-limits=high=1s,normal=500ms,low=30s")
ANSWER_S = TOKENS * STEP_S
CAPACITY = BATCH / ANSWER_S
WAIT_S = 3  # of a user, on average


def locust(server, users, seconds):
    """Row of statistics of so many users, once all of them are there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # The system's folders first: Debian's Locust wants Debian's Python.
    environment.update(PATH="/usr/bin:/bin", PYTHONDONTWRITEBYTECODE="1", HADAL_LOCUST_TOKENS=str(TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([LOCUST, "-f", lib.ROOT / "benchmarks/locust/locustfile.py", "--host", server.url, "--headless", "--users", str(users),
                               "--spawn-rate", str(users / 5), "--reset-stats", "--run-time", f"{5 + seconds:g}s", "--csv", f"{folder}/locust"],
                              capture_output=True, text=True, env=environment, check=False)
        if done.returncode not in (0, 1):  # 1: a request has failed, as refused ones do
            raise SystemExit(f"locust: {done.stderr}")
        with open(f"{folder}/locust_stats.csv", encoding="utf-8", newline="") as table:
            return next(row for row in csv.DictReader(table) if row["Name"] == "/v1/chat")


def locust_figures(row):
    requests, failures = int(row["Request Count"]), int(row["Failure Count"])
    return {"requests_per_s": float(row["Requests/s"]), "served_per_s": float(row["Requests/s"]) - float(row["Failures/s"]),
            "refused_ratio": failures / requests, "answer_p50_s": float(row["50%"]) / 1000, "answer_p99_s": float(row["99%"]) / 1000}


def bench_figures(result):
    run = result["runs"][0]
    return {"requests_per_s": run["metrics"]["offered_requests_per_s"], "served_per_s": run["metrics"]["goodput_requests_per_s"],
            "refused_ratio": run["requests"]["refused"] / run["requests"]["offered"], "answer_p50_s": load.latency(run, "e2e", 0.5),
            "answer_p99_s": load.latency(run, "e2e", 0.99), "generator_lag_p99_s": run["metrics"]["generator_lag_p99_s"]}


def compare(server, users, args, client_cores):
    """Figures of both at one number of users, the median over rounds in turns."""
    rounds = {"locust": [], "hadal_bench": []}
    wanted = users / (WAIT_S + ANSWER_S)
    for seed in range(1, args.rounds + 1):
        with load.on_cores(client_cores):
            row, meter = load.quiet(lambda: locust(server, users, args.seconds), server.process.pid)
            seen = locust_figures(row)
            rounds["locust"].append({**seen, "offered_ratio": seen["requests_per_s"] / wanted, "other_cpu_ratio": meter.others})
            rate = seen["requests_per_s"] if wanted < CAPACITY else wanted
            result, meter = load.quiet(lambda: load.bench(server.url, round(rate, 2), f"--lengths={PROMPT}:{TOKENS}", "--client=none",
                                                          seconds=args.seconds, seed=seed), server.process.pid)
            rounds["hadal_bench"].append({**bench_figures(result), "other_cpu_ratio": meter.others})
        print(f"closed_loop: {users} users {rounds['locust'][-1]}; hadal-bench {rounds['hadal_bench'][-1]}", file=sys.stderr)
    table = {name: load.median_and_range(figures) for name, figures in rounds.items()}
    table["answer_p50_ratio"] = load.round_off(table["locust"]["answer_p50_s"] / table["hadal_bench"]["answer_p50_s"])
    table["served_ratio"] = load.round_off(table["locust"]["served_per_s"] / table["hadal_bench"]["served_per_s"])
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--users", type=lambda text: [int(one) for one in text.split(",")], default=[60, 600])
    parser.add_argument("--output")
    args = parser.parse_args()
    if not os.path.exists(LOCUST):
        parser.error("not installed: python3-locust")
    server_cores, client_cores = load.server_and_client_cores(share=False)
    with load.on_cores(server_cores):
        server = load.HadalProcess(*SERVER)
    with server:
        metrics = {f"{users}_users": compare(server, users, args, client_cores) for users in args.users}
    settings = {"server": " ".join(SERVER), "capacity_requests_per_s": CAPACITY, "output_tokens": TOKENS, "rounds": args.rounds,
                "seconds": args.seconds, **load.placement(server_cores, client_cores)}
    lib.write(lib.result("closed_loop", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
