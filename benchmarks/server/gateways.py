#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Overload through gateways: goodput of two servers at five times what they can do, behind HAProxy, nginx and LiteLLM with the
configurations of gateways/, and with no gateway between. Then one of three servers is lost at twice the load.

Usage: gateways.py [--rounds 3] [--seconds 30] [--sequences 4] [--gateways haproxy,nginx,litellm] [--only load,loss] [--output FILE.json]

Without a gateway each server gets half of the callers. A server that is parked although it has room shows in `busy_ratio`, the
share of its batch in use, and in `longest_idle_s`. Servers, whose model computes nothing, and load share a core; the gateway has the
other. HADAL_LITELLM names LiteLLM's command where it is not in the path. LiteLLM takes 30 ms of its core for a request and 8 ms for each further
try: `gateway_cpu_ratio` says how near it was to its own limit. Where that is reached, --sequences 2 halves what the servers can do,
and so the load.
"""
import argparse
import contextlib
import pathlib
import re
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402
from gateway_process import GatewayProcess, binary  # noqa: E402

REPLICA = ("--load-format=null:60ms", "--wait-limits=high=1s,normal=1s,low=30s")
ANSWER_S = 50 * 0.06
# With a few sequences the next place may be 3 s away, and one request may always wait for it.
LENGTHS = ("--lengths=50:50", "--slo=ttft=5000,tpot=80")
WARMUP_S = 5


class Occupancy(threading.Thread):
    """Looks five times a second how much of each server's batch is in use, until stopped."""

    def __init__(self, servers, sequences):
        super().__init__(daemon=True)
        self.servers, self.sequences, self.stopped = servers, sequences, threading.Event()
        self.samples = []  # (time, [running requests of each server])
        self.start()

    def run(self):
        while not self.stopped.wait(0.2):
            self.samples.append((time.monotonic(), [self._running(server) for server in self.servers]))

    @staticmethod
    def _running(server):
        match = re.search(r"^hadal_requests_running(?:{.*})? (\d+)", server.get("/metrics")[1], re.MULTILINE)
        return int(match.group(1))

    def figures(self, start, end):
        """Of the server that was used least."""
        self.stopped.set()
        self.join()
        samples = [(at, running) for at, running in self.samples if start <= at <= end]
        busy, idle = [], []
        for i in range(len(self.servers)):
            busy.append(sum(min(running[i], self.sequences) for _, running in samples) / (self.sequences * len(samples)))
            longest, since = 0.0, start
            for at, running in samples:
                longest = max(longest, at - since)
                if running[i]:
                    since = at
            idle.append(longest)
        return {"busy_ratio": min(busy), "longest_idle_s": max(idle)}


class Fleet:
    """Servers, and a gateway in front of them or none. Each server has so many sequences in its batch."""

    def __init__(self, name, count, sequences, cores):
        self.name, self.count, self.sequences, self.cores = name, count, sequences, cores

    @property
    def capacity(self):
        """Requests a second of all servers."""
        return self.count * self.sequences / ANSWER_S

    def __enter__(self):
        # What has been started ends, too, when the rest does not start.
        with contextlib.ExitStack() as started:
            folder = started.enter_context(tempfile.TemporaryDirectory())
            self.servers, self.gateway = [], None
            with load.on_cores(self.cores[0]):
                for _ in range(self.count):
                    self.servers.append(load.HadalProcess(*REPLICA, f"--max-batch-size={self.sequences}"))
                    started.callback(self.servers[-1].stop)
            if self.name != "direct":
                with load.on_cores(self.cores[1]):
                    self.gateway = started.enter_context(GatewayProcess(self.name, folder, [server.port for server in self.servers]))
            self.started = started.pop_all()
        return self

    def __exit__(self, *_):
        self.started.close()

    def pids(self):
        gateway = [self.gateway.process.pid] if self.gateway else []
        return [server.process.pid for server in self.servers if server.process.poll() is None] + gateway

    def run(self, rate, *flags, **times):
        """Result files of hadal-bench: one through a gateway, without one a file for each server."""
        flags = (*LENGTHS, *flags)
        with load.on_cores(self.cores[0]):
            if self.gateway:
                return [load.bench(self.gateway.url, rate, f"--model={self.gateway.model}", *flags, **times)]
            seed = times.pop("seed")
            return load.bench_together([(server.url, rate / self.count, flags, {**times, "seed": seed * 100 + i})
                                        for i, server in enumerate(self.servers)])


def loaded(fleet, args, seed):
    """Figures of one run at five times the capacity."""
    occupancy = Occupancy(fleet.servers, fleet.sequences)

    def run():
        began = time.monotonic() + WARMUP_S
        return fleet.run(5 * fleet.capacity, "--client=none", warmup=WARMUP_S, seconds=args.seconds, seed=seed), began

    with load.Meter(*([fleet.gateway.process.pid] if fleet.gateway else [])) as gateway:
        (results, began), meter = load.quiet(run, *fleet.pids())
    parts = [load.figures(result) for result in results]
    return {"goodput_requests_per_s": sum(part["goodput_requests_per_s"] for part in parts),
            "offered_requests_per_s": sum(part["offered_requests_per_s"] for part in parts),
            "failed_ratio": max(part["failed_ratio"] for part in parts),
            "ttft_p99_s": max(part["ttft_p99_s"] for part in parts),
            "refusal_p50_s": max(part["refusal_p50_s"] for part in parts),
            "refusal_p99_s": max(part["refusal_p99_s"] for part in parts),
            "gateway_cpu_ratio": gateway.used_s / gateway.wall_s, "other_cpu_ratio": meter.others,
            **occupancy.figures(began, began + args.seconds)}


def under_load(names, args, cores):
    """Goodput at five times the capacity, with and without a gateway, in turns."""
    rounds = {name: [] for name in names}
    for seed in range(1, args.rounds + 1):
        for name in names:
            with Fleet(name, 2, args.sequences, cores) as fleet:
                rounds[name].append(loaded(fleet, args, seed))
            print(f"gateways: {name} {rounds[name][-1]}", file=sys.stderr)
    table = {name: load.median_and_range(rounds[name]) for name in names}
    for row in table.values():
        row["of_direct_ratio"] = load.round_off(row["goodput_requests_per_s"] / table["direct"]["goodput_requests_per_s"])
    return table


def lose_one(name, number, sequences, cores):
    """One of three servers is killed, or told to end, ten seconds after the warm-up of a run at twice the capacity. Clients do as they are
    told, so the last ones end a minute after the arrivals."""
    with Fleet(name, 3, sequences, cores) as fleet:
        victim = fleet.servers[0]
        timer = threading.Timer(WARMUP_S + 10, victim.process.send_signal, [number])
        timer.start()
        (result,) = fleet.run(2 * fleet.capacity, "--client=obey", warmup=WARMUP_S, seconds=30, seed=1)
        timer.join()
        victim.process.wait(60)
    run = result["runs"][0]
    requests = run["requests"]
    return {"requests": requests["offered"], "served": requests["served"], "refused": requests["refused"],
            "failed": requests["failed"] + requests["unfinished"], "failures": run["failures"],
            "answered_ratio": load.round_off((requests["served"] + requests["refused"]) / requests["offered"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--sequences", type=int, default=4, help="of each server: it answers so many requests in 3 s")
    parser.add_argument("--gateways", default="haproxy,nginx,litellm")
    parser.add_argument("--only", default="load,loss")
    parser.add_argument("--output")
    args = parser.parse_args()
    names = args.gateways.split(",")
    missing = [name for name in names if binary(name) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    cores = load.server_and_client_cores(share=False)
    metrics = {}
    if "load" in args.only:
        metrics["five_times_the_capacity"] = under_load(["direct", *names], args, cores)
    if "loss" in args.only:
        metrics["one_of_three_lost"] = {f"{name}/{number.name}": lose_one(name, number, args.sequences, cores)
                                        for name in names for number in (signal.SIGTERM, signal.SIGKILL)}
    settings = {"replica": " ".join(REPLICA), "lengths": " ".join(LENGTHS), "sequences": args.sequences, "rounds": args.rounds,
                "seconds": args.seconds, "gateway_cores": cores[1], **load.placement(cores[0], cores[0])}
    lib.write(lib.result("gateways", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
