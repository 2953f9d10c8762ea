#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a refusal costs: refusals a second of a full server on one core, over HTTP and gRPC, and their latency under load.

Usage: refusals.py [--rounds 3] [--seconds 8] [--connections 64] [--calls 64] [--output FILE.json]

The load has the other core. HTTP by wrk (a Debian package) on keep-alive connections, gRPC by grpc_stream_client with calls in
flight over 8 channels. A client of gRPC costs as much as its server, so the processor time of the server for one refusal is
reported as well. Then hadal-bench offers twice what a server can do: the latency of refusals from the start of an attempt, its
own lag included.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402

# One request runs for 200 s and one waits.
FULL = ("--load-format=null:100ms", "--max-batch-size=1", "--max-queue-requests=1")
# 32 sequences of 40 steps of 20 ms each: 40 requests a second.
BUSY = ("--load-format=null:20ms", "--max-batch-size=32", "--wait-limits=high=1s,normal=500ms,low=30s")
BUSY_LENGTHS, BUSY_CAPACITY = "100:40", 40
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds_of(text):
    """wrk's "512.00us" or "1.20ms"."""
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * UNITS[unit]


def http_round(server, args):
    printed = subprocess.run(["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds:g}s", "--latency", "-s",
                              pathlib.Path(__file__).with_suffix(".lua"), server.url + "/v1/chat/completions"],
                             capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", printed).group(1))
    refused = int(re.search(r"Non-2xx or 3xx responses: (\d+)", printed).group(1))
    if refused < requests or "Socket errors" in printed:
        raise SystemExit(f"refusals: of {requests} requests {refused} were refused\n{printed}")
    return {"refusals": refused, "refusals_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", printed).group(1)),
            "refusal_p50_s": seconds_of(re.search(r"50%\s+(\S+)", printed).group(1)),
            "refusal_p99_s": seconds_of(re.search(r"99%\s+(\S+)", printed).group(1))}


def grpc_round(server, args):
    printed = subprocess.run([load.BUILD / "benchmarks/server/grpc_stream_client", server.target, str(args.calls), "8", "100", str(args.seconds)],
                             capture_output=True, text=True, check=True).stdout
    got = json.loads(printed)
    if got["refused"] < got["calls"]:
        raise SystemExit(f"refusals: of {got['calls']} calls {got['refused']} were refused")
    return {"refusals": got["refused"], **{name: got[name] for name in ("refusals_per_s", "refusal_p50_s", "refusal_p99_s")}}


def rate(run_round, args, server_cores, client_cores):
    """Figures of one front, the median over rounds."""
    rounds = []
    with load.on_cores(server_cores):
        server = load.HadalProcess(*FULL)
    with server, load.filled(server), load.on_cores(client_cores):
        for _ in range(args.rounds):
            figures, meter = load.quiet(lambda: run_round(server, args), server.process.pid)
            figures["server_cpu_us"] = 1e6 * meter.used_s / figures.pop("refusals")
            rounds.append({**figures, "other_cpu_ratio": meter.others})
    return load.median_and_range(rounds)


def under_load(args, server_cores, client_cores):
    """Refusals while the server is at work for twice what it can do."""
    rounds = []
    with load.on_cores(server_cores):
        server = load.HadalProcess(*BUSY)
    with server, load.on_cores(client_cores):
        for seed in range(1, args.rounds + 1):
            result, meter = load.quiet(lambda: load.bench(server.url, 2 * BUSY_CAPACITY, f"--lengths={BUSY_LENGTHS}", "--client=none", seconds=20,
                                                          seed=seed), server.process.pid)
            figures = load.figures(result)
            rounds.append({name: figures[name] for name in ("refusal_p50_s", "refusal_p99_s", "generator_lag_p99_s", "admission_ratio")}
                          | {"other_cpu_ratio": meter.others})
    return load.median_and_range(rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--calls", type=int, default=64, help="gRPC calls in flight")
    parser.add_argument("--output")
    args = parser.parse_args()
    cores = load.server_and_client_cores(share=False)
    metrics = {"http": rate(http_round, args, *cores), "grpc": rate(grpc_round, args, *cores), "at_twice_the_capacity": under_load(args, *cores)}
    settings = {"full": " ".join(FULL), "busy": " ".join(BUSY), "busy_lengths": BUSY_LENGTHS, "connections": args.connections, "calls": args.calls,
                "rounds": args.rounds, "seconds": args.seconds, **load.placement(*cores)}
    lib.write(lib.result("refusals", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
