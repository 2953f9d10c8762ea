#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a refusal costs: refusals a second of a full server on one core, over HTTP and gRPC, in plain text and under TLS, and their
latency under load.

Usage: refusals.py [--rounds 3] [--seconds 8] [--connections 64] [--calls 64] [--only rate,tls,load] [--realtime] [--output FILE.json]

The load has the other core. HTTP by wrk (a Debian package) on keep-alive connections, gRPC by grpc_stream_client with calls in flight over
8 connections; `--only rate,tls` measures both with and without TLS, in one run. A client of gRPC costs as much as its server, so the
processor time of the server for one refusal is reported as well. Then hadal-bench and a probe offer twice what a server can do. The
probe's figures (`socket_*`) are by the kernel's clock, from the last byte of the request to the last byte of the answer in the client's
socket; those of hadal-bench begin with an attempt and hold its own lag. `rejection_*` is what the server says of itself, the upper bound
of the bucket.
"""
import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402
from refusal_probe import RefusalProbe, chat_request  # noqa: E402

# One request runs for 200 s and one waits.
FULL = ("--load-format=null:100ms", "--max-batch-size=1", "--max-queue-requests=1")
# 32 sequences of 40 steps of 20 ms each: 40 requests a second.
BUSY = ("--load-format=null:20ms", "--max-batch-size=32", "--wait-limits=high=1s,normal=500ms,low=30s")
BUSY_LENGTHS, BUSY_CAPACITY, BUSY_TOKENS = "100:40", 40, 40
PROBES_PER_S = 20
GRPC_CONNECTIONS = 8
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def seconds_of(text):
    """wrk's "512.00us" or "1.20ms"."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if not match:
        raise SystemExit(f"refusals: wrk measured no latency ({text}): run longer, by --seconds")
    return float(match.group(1)) * UNITS[match.group(2)]


def http_round(server, args, _):
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


def grpc_round(server, args, authority):
    command = [load.BUILD / "benchmarks/server/grpc_stream_client", server.target, str(args.calls), str(GRPC_CONNECTIONS), "100", str(args.seconds)]
    printed = subprocess.run(command + ([authority.certificate] if authority else []), capture_output=True, text=True, check=True).stdout
    got = json.loads(printed)
    if got["refused"] < got["calls"]:
        raise SystemExit(f"refusals: of {got['calls']} calls {got['refused']} were refused")
    return {"refusals": got["refused"], **{name: got[name] for name in ("refusals_per_s", "refusal_p50_s", "refusal_p99_s")}}


def rate(run_round, connections, args, server_cores, client_cores, authority=None):
    """Figures of one front, the median over rounds. `authority`: signs the server's certificate; without it there is no TLS."""
    rounds, tls = [], {}
    if authority:
        certificate, key = authority.sign("server")
        tls = {"flags": (f"--tls-cert={certificate}", f"--tls-key={key}"), "context": authority.context()}
    with load.on_cores(server_cores):
        server = load.HadalProcess(*FULL, *tls.get("flags", ()), tls=tls.get("context"))
    with server, load.filled(server), load.on_cores(client_cores):
        for _ in range(args.rounds):
            figures, meter = load.quiet(lambda: run_round(server, args, authority), server.process.pid)
            figures["server_cpu_us"] = 1e6 * meter.used_s / figures.pop("refusals")
            rounds.append({**figures, "other_cpu_ratio": meter.others})
        if tls and server.metric("hadal_tls_handshakes_total") < connections * args.rounds:
            raise SystemExit("refusals: the load did not come under TLS")
    return load.median_and_range(rounds)


def quantile(values, share):
    """The value that so many do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def rejection_latencies(server):
    """{upper bound: refusals up to it} of the server's own histogram."""
    pattern = r'^hadal_rejection_latency_seconds_bucket{protocol="http",le="(\S+)"} (\d+)'
    return {float(bound): int(count) for bound, count in re.findall(pattern, server.get("/metrics")[1], re.MULTILINE)}


def bucket_quantile(before, after, share):
    """Upper bound of the bucket that holds the quantile of what was counted between two scrapes."""
    counts = {bound: count - before[bound] for bound, count in after.items()}
    return next(bound for bound, count in sorted(counts.items()) if count >= share * counts[math.inf])


def loaded(server, seed):
    """(result of hadal-bench, seconds of the probe's refusals, the server's own histogram before and after) of one run."""
    before = rejection_latencies(server)
    probe = RefusalProbe(server.port, PROBES_PER_S, chat_request(BUSY_TOKENS))
    try:
        result = load.bench(server.url, 2 * BUSY_CAPACITY - PROBES_PER_S, f"--lengths={BUSY_LENGTHS}", "--client=none", seconds=20, seed=seed)
    finally:
        probe.stop()
    return result, probe.refused_s, before, rejection_latencies(server)


def under_load(args, server_cores, client_cores):
    """Refusals while the server is at work for twice what it can do."""
    rounds = []
    with load.on_cores(server_cores), load.realtime(args.realtime):
        server = load.HadalProcess(*BUSY)
    with server, load.on_cores(client_cores):
        for seed in range(1, args.rounds + 1):
            (result, at_socket, before, after), meter = load.quiet(lambda: loaded(server, seed), server.process.pid)
            figures = load.figures(result)
            rounds.append({name: figures[name] for name in ("refusal_p50_s", "refusal_p99_s", "generator_lag_p99_s", "admission_ratio")}
                          | {"socket_refusals": len(at_socket), "socket_p50_s": quantile(at_socket, 0.5), "socket_p99_s": quantile(at_socket, 0.99),
                             "rejection_p99_s": bucket_quantile(before, after, 0.99), "other_cpu_ratio": meter.others})
    return load.median_and_range(rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--calls", type=int, default=64, help="gRPC calls in flight")
    parser.add_argument("--only", default="rate,tls,load",
                        help="rate: refusals a second in plain text; tls: the same under TLS; load: their latency under load")
    parser.add_argument("--realtime", action="store_true", help="under load the server goes before all other processes on its core (root only)")
    parser.add_argument("--output")
    args = parser.parse_args()
    cores = load.server_and_client_cores(share=False)
    metrics = {}
    fronts = {"http": (http_round, args.connections), "grpc": (grpc_round, GRPC_CONNECTIONS)}
    for name, (run_round, connections) in fronts.items():
        if "rate" in args.only:
            metrics[name] = rate(run_round, connections, args, *cores)
        if "tls" in args.only:
            with tempfile.TemporaryDirectory() as folder:
                metrics[f"{name}_tls"] = rate(run_round, connections, args, *cores, authority=load.Authority(folder))
    if "load" in args.only:
        metrics["at_twice_the_capacity"] = under_load(args, *cores)
    settings = {"full": " ".join(FULL), "busy": " ".join(BUSY), "busy_lengths": BUSY_LENGTHS, "connections": args.connections, "calls": args.calls,
                "rounds": args.rounds, "seconds": args.seconds, "realtime": args.realtime, **load.placement(*cores)}
    lib.write(lib.result("refusals", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
