#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A storm of 500 callers against a small server, once for each kind of client: who is served, how late, and with how many attempts.

Usage: client_storm.py [--clients bare,articles,openai,hadal,grpcio,hadal-grpc,hadal-cpp] [--rounds 3] [--callers 500] [--seconds 120] [--output FILE.json]

Steps take 20 ms and compute nothing, 8 sequences at a time; a request is 16 tokens, so that the server does about 24 a second: few enough for callers
in Python on one core. Callers come at half of that; for a sixth of the time, from the middle on, at twice of it (+300 %). The kinds:

  bare      one attempt
  articles  what articles on "server busy" tell to write: looks for 服务器繁忙, 0.5 s * 2^n with a tenth of jitter, at most 30 s, 5 tries
  openai    the openai package as it is: 2 retries, by retry-after-ms
  hadal     client/python
  grpcio    gRPC's own library with a service config as in docs/clients.md: 5 attempts, by grpc-retry-pushback-ms
  hadal-grpc  client/python over gRPC
  hadal-cpp   client/, in a process of its own (build the target client_storm_caller)

All others run in one process on a core of its own; those over HTTP over the same library. The table of docs/overload.md goes to stderr, and
benchmarks/sim/plot.py draws its plot. A round takes as many times --seconds as there are clients, and half a minute more for each, in which the last ones
that wait are served.
"""
import argparse
import asyncio
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402

sys.path.insert(0, str(lib.ROOT / "client/python/src"))
import grpc  # noqa: E402
import grpc.aio  # noqa: E402
import hadal_client  # noqa: E402
from hadal_client import _inference_pb2 as pb  # noqa: E402
import httpx2  # noqa: E402
import openai  # noqa: E402

SERVER = ("--load-format=null:20ms", "--max-batch-size=8", "--max-model-len=4096")
TOKENS = 16
CAPACITY = 24.0  # requests/s
BUSY = "服务器繁忙"
FIELDS = {"model": "hadal-demo", "messages": [{"role": "user", "content": "17 + 25"}], "max_tokens": TOKENS}
LIMITS = httpx2.Limits(max_connections=2000, max_keepalive_connections=2000)


class Bare:
    """Each of these: ask() returns when served, or raises."""

    def __init__(self, url):
        self._http = httpx2.AsyncClient(base_url=url, limits=LIMITS, timeout=120)

    async def ask(self):
        answer = await self._http.post("/v1/chat/completions", json={**FIELDS, "ignore_eos": True})
        if answer.status_code != 200:
            raise RuntimeError(answer.text)

    async def close(self):
        await self._http.aclose()


class Articles(Bare):
    async def ask(self):
        for attempt in range(5):
            try:
                return await super().ask()
            except RuntimeError as error:
                if BUSY not in str(error) or attempt == 4:
                    raise
            await asyncio.sleep(min(0.5 * 2 ** attempt * (1 + 0.1 * random.uniform(-1, 1)), 30))


class OpenAi:
    def __init__(self, url):
        self._http = httpx2.AsyncClient(limits=LIMITS, timeout=120)
        self._client = openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", http_client=self._http)

    async def ask(self):
        await self._client.chat.completions.create(**FIELDS, extra_body={"ignore_eos": True})

    async def close(self):
        await self._http.aclose()


class Hadal:
    def __init__(self, url):
        self._client = hadal_client.AsyncClient(url, transport=httpx2.AsyncHTTPTransport(limits=LIMITS))

    async def ask(self):
        await self._client.chat(FIELDS["messages"], max_tokens=TOKENS, ignore_eos=True)

    async def close(self):
        await self._client.aclose()


class GrpcIo:
    """A channel for each caller: gRPC would let them share a connection, which other programs do not."""

    def __init__(self, url):
        config = json.dumps({"methodConfig": [{"name": [{"service": "hadal.v1.Inference"}], "retryPolicy": {
            "maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "30s", "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}], "retryThrottling": {"maxTokens": 100, "tokenRatio": 1}})
        self._channel = grpc.aio.insecure_channel(target_of(url), options=[("grpc.service_config", config), *OWN_CONNECTION])
        self._chat = self._channel.unary_stream("/hadal.v1.Inference/Chat", request_serializer=pb.ChatRequest.SerializeToString,
                                                response_deserializer=pb.GenerateResponse.FromString)

    async def ask(self):
        request = pb.ChatRequest(messages=[pb.ChatMessage(**message) for message in FIELDS["messages"]])
        request.stopping.max_tokens, request.stopping.ignore_eos = TOKENS, True
        async for _ in self._chat(request, timeout=120):
            pass

    async def close(self):
        await self._channel.close()


class HadalGrpc(Hadal):
    def __init__(self, url):
        self._client = hadal_client.AsyncGrpcClient(target_of(url))


KINDS = {"bare": Bare, "articles": Articles, "openai": OpenAi, "hadal": Hadal, "grpcio": GrpcIo, "hadal-grpc": HadalGrpc}
CPP = "hadal-cpp"
# Kinds of which each caller has a client of its own.
EACH_ONE = {"hadal", "grpcio", "hadal-grpc"}
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def target_of(url):
    return url.removeprefix("http://")


def arrivals(seconds, seed):
    """Seconds from the start at which callers come: Poisson, and four times as many for a sixth of the time."""
    draw, at = random.Random(seed), 0.0
    while True:
        storm = seconds / 2 <= at < seconds * 2 / 3
        at += draw.expovariate(CAPACITY * (2 if storm else 0.5))
        if at >= seconds:
            return
        yield at


async def storm(kind, url, callers, seconds, seed):
    """(latencies of the served, failures) of one storm."""
    clients = [KINDS[kind](url) for _ in range(callers if kind in EACH_ONE else 1)]
    served, failures = [], []
    began = time.monotonic()

    async def call(number, at):
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        try:
            await clients[number % len(clients)].ask()
            served.append(time.monotonic() - began - at)
        except Exception as error:  # pylint: disable=broad-except  # every end counts
            failures.append(repr(error)[:200])

    await asyncio.gather(*(call(number, at) for number, at in enumerate(arrivals(seconds, seed))))
    await asyncio.gather(*(client.close() for client in clients))
    return served, failures


def storm_of_programs(url, callers, seconds, seed):
    """The same of clients in C++."""
    program = load.BUILD / "benchmarks/server/client_storm_caller"
    run = subprocess.run([program, target_of(url), str(callers), str(TOKENS)], input="\n".join(map(str, arrivals(seconds, seed))),
                         capture_output=True, text=True, check=True)
    ends = [line.split(" ", 1) for line in run.stdout.splitlines()]
    return [float(rest) for end, rest in ends if end == "served"], [rest for end, rest in ends if end == "failed"]


def measure(kind, args, cores, seed):
    """The figures of one storm on a server of its own."""
    server_cores, client_cores = cores
    with load.on_cores(server_cores):
        server = load.HadalProcess(*SERVER)
    with server, load.on_cores(client_cores):
        if kind == CPP:
            served, failures = storm_of_programs(server.url, args.callers, args.seconds, seed)
        else:
            served, failures = asyncio.run(storm(kind, server.url, args.callers, args.seconds, seed))
        attempts = server.metric("hadal_requests_total")
    if failures:
        print(f"client_storm: {kind}: {len(failures)} failed, the first: {failures[0]}", file=sys.stderr)
    served.sort()
    return {"calls": len(served) + len(failures), "served_ratio": len(served) / (len(served) + len(failures)),
            "mean_s": statistics.fmean(served), "p99_s": served[int(0.99 * len(served))], "attempts_per_served_ratio": attempts / len(served)}


def table(metrics):
    """The rows of docs/overload.md."""
    yield "| client | served | mean latency | p99 | attempts per served call |"
    yield "|---|---|---|---|---|"
    for kind, row in metrics.items():
        yield f"| {kind} | {row['served_ratio']:.4g} | {row['mean_s']:.2g} s | {row['p99_s']:.2g} s | {row['attempts_per_served_ratio']:.3g} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default=",".join([*KINDS, CPP]), help="kinds to run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--output")
    args = parser.parse_args()
    kinds = args.clients.split(",")
    if unknown := set(kinds) - {*KINDS, CPP}:
        parser.error(f"no client {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}, {CPP}")
    cores = load.server_and_client_cores(False)
    rounds = {kind: [] for kind in kinds}
    for seed in range(1, args.rounds + 1):
        for kind in kinds:
            rounds[kind].append(measure(kind, args, cores, seed))
            print(f"client_storm: {kind} {rounds[kind][-1]}", file=sys.stderr)
    metrics = {kind: load.median_and_range(figures) for kind, figures in rounds.items()}
    print(*table(metrics), sep="\n", file=sys.stderr)
    settings = {"server": " ".join(SERVER), "tokens": TOKENS, "capacity_requests_per_s": CAPACITY, "callers": args.callers, "seconds": args.seconds,
                "rounds": args.rounds, **load.placement(*cores)}
    lib.write(lib.result("client_storm", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
