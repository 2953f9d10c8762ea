#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed load with cancels on the demo model for a long time: nothing grows, nothing is lost.

Usage: soak.py [--minutes 30] [--pause 0.3] [--seed 1] [--output FILE.json]

Clients stream and do not, over HTTP and in all classes; some leave in the middle, some send nonsense, some are told to come back.
Once the first fifth of the time has passed, memory, descriptors and threads must not grow; at the end every request that a
client sent is in the server's counters, and nothing is held. Exits 1 and says what grew or was lost.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "tests/e2e"))
os.environ.setdefault("HADAL_SOURCE_DIR", str(ROOT))
import lib  # noqa: E402
from hadal_process import HadalProcess  # noqa: E402

FLAGS = ("--max-queue-requests=32", "--max-batch-size=16")
CLIENTS = 48
# A process's heap settles within some MiB; a leak of 100 bytes a request would show as more than this in 30 minutes.
MAX_GROWTH_BYTES = 8 << 20


class Client(threading.Thread):
    """One caller after the other, until told to stop. Counts how each of its requests ended."""

    def __init__(self, port, seed, stop, pause_s):
        super().__init__(daemon=True)
        self.pause_s = pause_s
        self.port, self.random, self.stop_event = port, random.Random(seed), stop
        self.ends = collections.Counter()

    def run(self):
        connection = None
        while not self.stop_event.is_set():
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                end, reusable = self._ask(connection)
                self.ends[end] += 1
                if not reusable:
                    connection.close()
                    connection = None
                self.stop_event.wait(self.random.random() * self.pause_s)
            except (OSError, http.client.HTTPException) as error:
                self.ends[f"lost: {type(error).__name__}"] += 1
                connection = None
        if connection:
            connection.close()

    def _ask(self, connection):
        draw = self.random
        kind = draw.choices(("chat", "stream", "leave", "nonsense"), (4, 4, 2, 1))[0]
        body = {"model": "hadal-demo", "messages": [{"role": "user", "content": f"{draw.randrange(100)} + {draw.randrange(100)}"}],
                "max_tokens": draw.choice((1, 16, 64, 400)), "stream": kind in ("stream", "leave")}
        if kind == "nonsense":
            body["temperature"] = "hot"
        headers = {"Content-Type": "application/json", "x-hadal-priority": draw.choice(("high", "normal", "low", "batch"))}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        if kind == "leave" and draw.random() < 0.5:
            return "left", False
        response = connection.getresponse()
        if kind == "leave":
            response.read(20)
            return "left", False
        text = response.read()
        if response.status == 503:
            assert response.headers["Retry-After"], "a refusal without Retry-After"
            self.stop_event.wait(draw.random() * 0.2)
        elif response.status == 200:
            assert b"[DONE]" in text if body["stream"] else json.loads(text)["choices"], "an answer without an end"
        return str(response.status), True


def sample(server):
    pid = server.process.pid
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return {"bytes": server.resident_bytes(), "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": threads}


def recorded(server):
    """Requests that the server recorded on the chat route."""
    lines = server.get("/metrics")[1].splitlines()
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith('hadal_requests_total{route="/v1/chat/completions"'))


def growth(samples, what):
    """How much the last third is above the middle third; the first third is the warm-up."""
    third = len(samples) // 3
    middle = statistics.median(s[what] for s in samples[third:2 * third])
    return statistics.median(s[what] for s in samples[2 * third:]) - middle


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds that a client waits at most between two requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output")
    args = parser.parse_args()
    with HadalProcess(*FLAGS) as server:
        stop = threading.Event()
        clients = [Client(server.port, args.seed * 1000 + i, stop, args.pause) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        samples = []
        end = time.monotonic() + args.minutes * 60
        while time.monotonic() < end:
            time.sleep(min(2.0, args.minutes))
            samples.append(sample(server))
        stop.set()
        for client in clients:
            client.join(90)
        server.wait_idle(30)
        ends = sum((client.ends for client in clients), collections.Counter())
        problems = [f"{count} requests ended as {end}" for end, count in ends.items() if end.startswith("lost")]
        sent = sum(ends.values())
        # A client that leaves before its head was read was never a request of the server's.
        if not sent - ends["left"] <= recorded(server) <= sent:
            problems.append(f"{sent} requests were sent, {ends['left']} of them left, and {recorded(server)} were recorded")
        grown = {what: growth(samples, what) for what in ("bytes", "descriptors", "threads")}
        if grown["bytes"] > MAX_GROWTH_BYTES:
            problems.append(f"memory grew by {grown['bytes'] / (1 << 20):.1f} MiB")
        problems += [f"{what} grew by {grown[what]:g}" for what in ("threads",) if grown[what] > 0]
        problems += [f"descriptors grew by {grown['descriptors']:g}"] if grown["descriptors"] > CLIENTS / 4 else []
        metrics = {"minutes": args.minutes, "requests": sent, "recorded": recorded(server), "ends": dict(ends),
                   "memory_growth_mib": round(grown["bytes"] / (1 << 20), 2), "descriptor_growth": grown["descriptors"],
                   "thread_growth": grown["threads"], "memory_mib": round(samples[-1]["bytes"] / (1 << 20), 1), "problems": len(problems)}
    lib.write(lib.result("soak", metrics, {"flags": list(FLAGS), "clients": CLIENTS, "seed": args.seed}, bandwidth=False), args.output)
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
