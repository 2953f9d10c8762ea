#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed load with cancels on the demo model for a long time, half of it at twice the capacity: nothing grows, nothing is lost.

Usage: soak.py [--minutes 30] [--cycles 15] [--pause 0.3] [--seed 1] [--output FILE.json]

Callers stream and do not, over HTTP and gRPC and in all classes; some tokenise, some leave in the middle, some send nonsense, some are told to come
back. In the second half of each cycle hadal-bench adds twice the capacity, half of it over each front, from clients that return when told. Memory,
descriptors and threads are read in the first halves, and must not grow once the first third of the time has passed; at the end every request that a client
sent is in the server's counters, by front and outcome, and nothing is held. Exits 1 and says what grew or was lost.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import re
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "client/python/src")]
import lib  # noqa: E402
import load  # noqa: E402
import grpc  # noqa: E402
from hadal_client import _inference_pb2 as pb  # noqa: E402

FLAGS = ("--max-queue-requests=32", "--max-batch-size=16", "--wait-limits=high=1s,normal=2s,low=5s")
HTTP_CLIENTS, GRPC_CLIENTS, CHANNELS = 32, 16, 4
OVERLOAD = ("--lengths=64:32", "--client=obey", "--exact-length=on")
MAX_DRAIN_S = 20
WARM_UP_S = 8  # at least, at twice the capacity: until pools and caches have their size
FLOOD_PER_S = 400  # more than the demo model can do on any machine: what it serves of that is its capacity
# A process's heap settles within some MiB; a leak of 100 bytes a request would show as more than this in 30 minutes.
MAX_GROWTH_BYTES = 8 << 20
CLASSES = ("high", "normal", "low", "batch")
OUTCOMES = ("ok", "shed", "invalid", "left")  # of a client's request; whatever else it becomes is a problem
ERROR_CODE = re.compile(rb'"code":\s*"([A-Z_]+)"')
CAPACITY = ("CONNECTION_QUEUE_FULL", "QUEUE_TOKENS_FULL", "GPU_MEMORY_EXHAUSTED", "WAIT_LIMIT", "PREEMPTED_IN_QUEUE")
PATIENCE_S = 300  # of a client; batch may wait as long as the others come
COUNTED = re.compile(r'hadal_requests_total\{route="([^"]*)",.*outcome="([^"]*)".*\} (\S+)')


def end_of_stream(text):
    """How an SSE stream ended. After ten seconds in the queue its status is sent, to keep the connection alive; a refusal is then an event."""
    code = ERROR_CODE.search(text)
    if code and code.group(1).decode() in CAPACITY:
        return "shed"
    assert b"[DONE]" in text, f"a stream without an end: ...{text[-80:]!r}"
    return "ok"


class Client(threading.Thread):
    """One request after the other, until told to stop. Counts how each ended, by (route, end)."""

    def __init__(self, seed, stop, pause_s):
        super().__init__(daemon=True)
        self.random, self.stop_event, self.pause_s = random.Random(seed), stop, pause_s
        self.ends = collections.Counter()

    def run(self):
        while not self.stop_event.is_set():
            self.ends[self.ask()] += 1
            self.stop_event.wait(self.random.random() * self.pause_s)

    def question(self):
        return f"{self.random.randrange(100)} + {self.random.randrange(100)}", self.random.choice((1, 16, 64, 400))


class HttpClient(Client):
    ROUTE = "/v1/chat/completions"

    def __init__(self, port, *args):
        super().__init__(*args)
        self.port, self.connection = port, None

    def ask(self):
        kind = self.random.choices(("chat", "stream", "leave", "nonsense"), (4, 4, 2, 1))[0]
        try:
            self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            return self.ROUTE, self._call(kind)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self._close()
            return self.ROUTE, f"lost: {type(error).__name__} {error}"[:120]

    def _close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _call(self, kind):
        question, max_tokens = self.question()
        body = {"model": "hadal-demo", "messages": [{"role": "user", "content": question}], "max_tokens": max_tokens,
                "stream": kind in ("stream", "leave")}
        if kind == "nonsense":
            body["temperature"] = "hot"
        headers = {"Content-Type": "application/json", "x-hadal-priority": self.random.choice(CLASSES)}
        self.connection.request("POST", self.ROUTE, json.dumps(body), headers)
        if kind == "leave":
            if self.random.random() < 0.5:
                self.connection.getresponse().read(20)
            self._close()
            return "left"
        response = self.connection.getresponse()
        text = response.read()
        if response.status == 503:
            assert response.headers["Retry-After"], "a refusal without Retry-After"
            self.stop_event.wait(self.random.random() * 0.2)
            return "shed"
        if kind == "nonsense" and response.status == 422:
            return "invalid"
        assert response.status == 200, f"status {response.status}"
        if not body["stream"]:
            assert json.loads(text)["choices"], "an answer without choices"
            return "ok"
        end = end_of_stream(text)
        if end != "ok":
            self._close()  # as the server does behind an error that it could not announce in the head
        return end


class GrpcClient(Client):
    def __init__(self, channel, *args):
        super().__init__(*args)
        self.methods = {name: make(f"/hadal.v1.Inference/{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
                        for name, make, request, answer in (
                            ("Chat", channel.unary_stream, pb.ChatRequest, pb.GenerateResponse),
                            ("Generate", channel.unary_stream, pb.GenerateRequest, pb.GenerateResponse),
                            ("Tokenize", channel.unary_unary, pb.TokenizeRequest, pb.TokenizeResponse),
                            ("ListModels", channel.unary_unary, pb.ListModelsRequest, pb.ListModelsResponse))}

    def ask(self):
        kind = self.random.choices(("chat", "generate", "leave", "nonsense", "tokenize", "models"), (4, 3, 2, 1, 2, 1))[0]
        question, max_tokens = self.question()
        name, request = "Chat", pb.ChatRequest(messages=[pb.ChatMessage(role="user", content=question)])
        if kind == "generate" or (kind == "leave" and self.random.random() < 0.5):
            name, request = "Generate", pb.GenerateRequest(text=question)
        if name in ("Chat", "Generate"):
            request.stopping.max_tokens = max_tokens
            request.n = 99 if kind == "nonsense" else 1
        try:
            if kind == "tokenize":
                assert self.methods["Tokenize"](pb.TokenizeRequest(text=question), timeout=60).token_ids, "no tokens"
                return "Tokenize", "ok"
            if kind == "models":
                assert self.methods["ListModels"](pb.ListModelsRequest(), timeout=60).models, "no models"
                return "ListModels", "ok"
            return name, self._stream(name, request, leaves=kind == "leave")
        except (grpc.RpcError, AssertionError) as error:
            said = f"{error.code().name} {error.details()}" if isinstance(error, grpc.RpcError) else error
            return {"tokenize": "Tokenize", "models": "ListModels"}.get(kind, name), f"lost: {said}"[:120]

    def _stream(self, name, request, leaves):
        call = self.methods[name](request, timeout=PATIENCE_S, metadata=[("x-hadal-priority", self.random.choice(CLASSES))])
        try:
            if leaves and self.random.random() < 0.5:
                call.cancel()
            finished = False
            for message in call:
                finished = finished or message.finish_reason != pb.FINISH_REASON_UNSPECIFIED
                if leaves:
                    call.cancel()
            assert finished, "a stream without an end"
            return "ok"
        except grpc.RpcError as error:
            if leaves and error.code() == grpc.StatusCode.CANCELLED:
                return "left"
            trailers = {key for key, _ in error.trailing_metadata() or ()}
            if error.code() == grpc.StatusCode.UNAVAILABLE and "grpc-retry-pushback-ms" in trailers:
                self.stop_event.wait(self.random.random() * 0.2)
                return "shed"
            if request.n == 99 and error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                return "invalid"
            raise


def count_bench(result, route, ends):
    """The requests of a run of hadal-bench, attempt by attempt; those of its calibration were answered, or refused first."""
    run = result["runs"][0]
    windows = run["windows"]
    served, shed = sum(window["served"] for window in windows), sum(window["refused_attempts"] for window in windows)
    ends[route, "ok"] += served
    ends[route, "shed"] += shed
    if route == "Chat":
        ends["ListModels", "ok"] += 1  # it asks for the model first
    failed = sum(run["failures"].values())
    for reason, count in run["failures"].items():
        ends[route, f"lost: hadal-bench {reason}"] += count
    # What was open when the drain was over; those that waited to return had no attempt open.
    ends[route, "left"] += sum(window["attempts"] for window in windows) - served - shed - failed + result["server"]["calibration_calls"]
    return served, shed


class Overload:
    """Adds twice the capacity for a while, half of it over each front."""

    def __init__(self, server, ends):
        self.server, self.ends = server, ends
        self.served = self.shed = 0
        flood = self._run([("http", FLOOD_PER_S, ("--client=none",))], seconds=3)[0]
        self.capacity = max(1.0, flood["runs"][0]["metrics"]["completed_requests_per_s"])

    def _run(self, targets, seconds):
        urls = {"http": self.server.url, "grpc": f"grpc://{self.server.target}"}
        results = load.bench_together([(urls[scheme], rate, (*OVERLOAD, f"--drain={min(MAX_DRAIN_S, seconds):g}s", *flags), {"warmup": 0, "seconds": seconds}) for scheme, rate, flags in targets])
        for (scheme, _, _), result in zip(targets, results):
            served, shed = count_bench(result, "Chat" if scheme == "grpc" else HttpClient.ROUTE, self.ends)
            self.served, self.shed = self.served + served, self.shed + shed
        return results

    def add(self, seconds):
        self._run([(scheme, round(self.capacity, 2), ()) for scheme in ("http", "grpc")], seconds)


def sample(server):
    pid = server.process.pid
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return {"bytes": server.resident_bytes(), "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": threads}


def recorded(metrics_text):
    """{route: {outcome: count}} of the server's finished requests."""
    counts = collections.defaultdict(collections.Counter)
    for route, outcome, count in COUNTED.findall(metrics_text):
        counts[route][outcome] += int(float(count))
    return counts


def unaccounted(ends, counted):
    """What a client sent and the server's counters do not have, or the other way round, in words."""
    problems = [f"{route}: {count} requests ended as {end}" for (route, end), count in ends.items() if end not in OUTCOMES]
    for route in sorted({route for route, _ in ends}):
        seen = {outcome: ends[route, outcome] for outcome in OUTCOMES}
        sent = sum(count for (at, _), count in ends.items() if at == route)
        total = sum(counted[route].values())
        # A client that leaves before its head was read was never a request of the server's.
        if not sent - seen["left"] <= total <= sent:
            problems.append(f"{route}: {sent} requests were sent, {seen['left']} of them left, and {total} were recorded")
        for outcome in ("ok", "shed", "invalid"):
            # One that left may have been answered, or refused, without seeing it.
            if not seen[outcome] <= counted[route][outcome] <= seen[outcome] + seen["left"]:
                problems.append(f"{route}: {seen[outcome]} requests were {outcome}, and {counted[route][outcome]} were recorded so")
        if counted[route]["error"]:
            problems.append(f"{route}: {counted[route]['error']} requests failed in the server")
    return problems


def growth(samples, what):
    """How much the last third is above the middle third; the first third is the warm-up."""
    third = len(samples) // 3
    middle = statistics.median(s[what] for s in samples[third:2 * third])
    return statistics.median(s[what] for s in samples[2 * third:]) - middle


def grown_too_much(grown):
    problems = [f"memory grew by {grown['bytes'] / (1 << 20):.1f} MiB"] if grown["bytes"] > MAX_GROWTH_BYTES else []
    problems += [f"threads grew by {grown['threads']:g}"] if grown["threads"] > 0 else []
    return problems + ([f"descriptors grew by {grown['descriptors']:g}"] if grown["descriptors"] > HTTP_CLIENTS / 4 else [])


def soak(server, args):
    """(ends, samples, overload) of all cycles; all clients have ended."""
    stop, ends = threading.Event(), collections.Counter()
    channels = [grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)]
    overload = Overload(server, ends)
    clients = [HttpClient(server.port, args.seed * 1000 + i, stop, args.pause) for i in range(HTTP_CLIENTS)]
    clients += [GrpcClient(channels[i % CHANNELS], args.seed * 1000 + 500 + i, stop, args.pause) for i in range(GRPC_CLIENTS)]
    for client in clients:
        client.start()
    samples, half_s = [], args.minutes * 30 / args.cycles
    try:
        overload.add(max(half_s, WARM_UP_S))
        for cycle in range(args.cycles):
            end = time.monotonic() + half_s
            while time.monotonic() < end:
                time.sleep(min(2.0, half_s / 4))
                samples.append(sample(server))
            overload.add(half_s)
            print(f"soak: cycle {cycle + 1} of {args.cycles}, {samples[-1]['bytes'] / (1 << 20):.1f} MiB", file=sys.stderr)
    finally:
        stop.set()
        for client in clients:
            client.join(PATIENCE_S + 30)
        for channel in channels:
            channel.close()
    return sum((client.ends for client in clients), ends), samples, overload


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cycles", type=int, help="of below and above the capacity; default: one in two minutes, at least three")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds that a client waits at most between two requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output")
    args = parser.parse_args()
    args.cycles = args.cycles or max(3, round(args.minutes / 2))
    with load.HadalProcess(*FLAGS) as server:
        ends, samples, overload = soak(server, args)
        server.wait_idle(60)
        counted = recorded(server.get("/metrics")[1])
    problems = unaccounted(ends, counted)
    if overload.shed < 0.1 * (overload.served + overload.shed):
        problems.append(f"the server was never overloaded: {overload.shed} of {overload.served + overload.shed} attempts of hadal-bench were refused")
    grown = {what: growth(samples, what) for what in ("bytes", "descriptors", "threads")}
    problems += grown_too_much(grown)
    by_route = {route: {end: ends[route, end] for at, end in ends if at == route} for route in sorted({route for route, _ in ends})}
    metrics = {"minutes": args.minutes, "requests": sum(ends.values()), "recorded": sum(sum(counted[route].values()) for route in by_route),
               "ends": by_route, "capacity_requests_per_s": load.round_off(overload.capacity), "overload_served": overload.served, "overload_refused": overload.shed,
               "memory_growth_mib": round(grown["bytes"] / (1 << 20), 2), "descriptor_growth": grown["descriptors"],
               "thread_growth": grown["threads"], "memory_mib": round(samples[-1]["bytes"] / (1 << 20), 1), "problems": len(problems)}
    settings = {"flags": list(FLAGS), "http_clients": HTTP_CLIENTS, "grpc_clients": GRPC_CLIENTS, "overload": list(OVERLOAD), "cycles": args.cycles, "seed": args.seed}
    lib.write(lib.result("soak", metrics, settings, bandwidth=False), args.output)
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
