#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens a second through the whole engine loop with a model that computes nothing, on one core.

Usage: benchmarks/server/scheduler_bench.py [--build DIR] [--runs N] [--out FILE] [-- arguments of scheduler_bench]
"""
import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(lib.ROOT / "build/release"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out")
    parser.add_argument("rest", nargs="*")
    args = parser.parse_args()
    binary = args.build + "/benchmarks/server/scheduler_bench"
    runs = [json.loads(subprocess.run([binary, *args.rest], check=True, capture_output=True, text=True, timeout=120).stdout)
            for _ in range(args.runs)]
    runs.sort(key=lambda run: run["metrics"]["tokens_per_s"])
    metrics = runs[len(runs) // 2]["metrics"]
    metrics["tokens_per_s_min"] = runs[0]["metrics"]["tokens_per_s"]
    metrics["tokens_per_s_max"] = runs[-1]["metrics"]["tokens_per_s"]
    lib.write(lib.result("scheduler", metrics, {"runs": args.runs, **runs[0]["settings"]}), args.out)


if __name__ == "__main__":
    main()
