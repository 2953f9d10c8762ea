#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode of the R1-Distill-Qwen-1.5B shape with random bf16 weights, through the whole server, beside the memory
bandwidth and, with --llama-cpp, beside llama.cpp in the same run.

Usage: benchmarks/models/qwen2_1p5b.py [--build DIR] [--llama-cpp DIR] [--batches 1,8,32] [--rounds N] [--out FILE]

--llama-cpp names a folder with llama-bench and llama-batched-bench; the packages gguf, numpy and torch are needed then.
Needs 12 GB of memory. Decode is the rate between first and last token, prefill the time to the first token of a 512-token prompt;
each figure is the median of the rounds, hadal and llama.cpp taking turns.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/e2e"))
import lib  # noqa: E402
import shapes  # noqa: E402

PROMPT = 512
NEW_TOKENS = {1: 48, 8: 32, 32: 16}
# Bytes of weights that a decode step reads: everything but the embedding.
WEIGHT_BYTES = 2 * 1543714304


def stubs():
    from grpc_tools import protoc
    out = tempfile.mkdtemp()
    root = str(lib.ROOT / "proto")
    assert protoc.main(["protoc", f"-I{root}", f"--python_out={out}", f"--grpc_python_out={out}", "hadal/v1/inference.proto"]) == 0
    sys.path.insert(0, out)
    from hadal.v1 import inference_pb2, inference_pb2_grpc
    return inference_pb2, inference_pb2_grpc


class Hadal:
    def __init__(self, target):
        import grpc
        self.pb, services = stubs()
        self.stub = services.InferenceStub(grpc.insecure_channel(target))
        self.random = random.Random(1)

    def _call(self, prompt_tokens, new_tokens, times):
        request = self.pb.GenerateRequest(token_ids=self.pb.TokenIds(ids=[self.random.randrange(1000) for _ in range(prompt_tokens)]))
        request.sampling.temperature = 0
        request.stopping.max_tokens = new_tokens
        request.stopping.ignore_eos = True
        request.return_token_ids = True
        for response in self.stub.Generate(request):
            times.extend([time.monotonic()] * len(response.token_ids))

    def prefill(self):
        times, start = [], time.monotonic()
        self._call(PROMPT, 1, times)
        return PROMPT / (times[0] - start)

    def decode(self, batch):
        """Tokens per second of all sequences while all of them decode."""
        times = [[] for _ in range(batch)]
        threads = [threading.Thread(target=self._call, args=(16, NEW_TOKENS[batch], t)) for t in times]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return decode_rate(times)


def decode_rate(times):
    """Tokens per second while every sequence decodes, from the moments at which each sequence's tokens came."""
    if not all(times):
        raise SystemExit(f"{sum(not t for t in times)} of {len(times)} sequences gave no token")
    begin, end = max(t[0] for t in times), min(t[-1] for t in times)
    if end <= begin:
        raise SystemExit(f"no decode rate: one sequence began {begin - end:.3f} s after another had ended")
    return sum(sum(1 for moment in t if begin < moment <= end) for t in times) / (end - begin)


class LlamaCpp:
    def __init__(self, folder, gguf_path, threads):
        self.folder, self.gguf, self.threads = pathlib.Path(folder), gguf_path, str(threads)

    def _bench(self, *arguments):
        printed = subprocess.run([self.folder / "llama-bench", "-m", self.gguf, "-t", self.threads, "-r", "1", "-o", "json", *arguments],
                                 check=True, capture_output=True, text=True, timeout=600).stdout
        return json.loads(printed)[0]["avg_ts"]

    def prefill(self):
        return self._bench("-p", str(PROMPT), "-n", "0")

    def decode(self, batch):
        if batch == 1:
            return self._bench("-p", "0", "-n", str(NEW_TOKENS[1]))
        printed = subprocess.run([self.folder / "llama-batched-bench", "-m", self.gguf, "-t", self.threads, "-c", "4096", "-npp", "16",
                                  "-ntg", str(NEW_TOKENS[batch]), "-npl", str(batch), "--output-format", "jsonl"],
                                 check=True, capture_output=True, text=True, timeout=600).stdout
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")][-1]["speed_tg"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(lib.ROOT / "build/release"))
    parser.add_argument("--llama-cpp")
    parser.add_argument("--gguf", help="reuse this file (made when missing)")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()
    os.environ["HADAL_BINARY"] = args.build + "/hadal"
    os.environ.setdefault("HADAL_SOURCE_DIR", str(lib.ROOT))
    from hadal_process import HadalProcess

    batches = [int(b) for b in args.batches.split(",")]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        shapes.write_checkpoint(folder + "/model", shapes.QWEN2_1P5B, lib.ROOT / "models/demo")
        engines = {}
        if args.llama_cpp:
            gguf_path = args.gguf or folder + "/model.gguf"
            if not os.path.exists(gguf_path):
                shapes.write_gguf(gguf_path, shapes.QWEN2_1P5B)
            engines["llama_cpp"] = LlamaCpp(args.llama_cpp, gguf_path, lib.cores())
        with HadalProcess("--load-format=dummy", "--memory-budget=8GiB", "--max-model-len=4096", "--prefix-cache=false",
                          model=folder + "/model") as server:
            engines["hadal"] = Hadal(server.target)
            engines["hadal"].decode(1)  # first touch of every weight
            bandwidths = []
            for _ in range(args.rounds):
                lib.memory_bandwidth_gb_s.cache_clear()
                bandwidths.append(lib.memory_bandwidth_gb_s())
                for name, engine in engines.items():
                    figures.setdefault(f"{name}_prefill_{PROMPT}_tokens_per_s", []).append(engine.prefill())
                    for batch in batches:
                        figures.setdefault(f"{name}_decode_b{batch}_tokens_per_s", []).append(engine.decode(batch))
    metrics = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    bandwidth = statistics.median(bandwidths)
    metrics["memory_bandwidth_gb_s"] = bandwidth
    if 1 in batches:
        metrics["decode_b1_bandwidth_share_ratio"] = round(
            metrics["hadal_decode_b1_tokens_per_s"] * WEIGHT_BYTES / 1e9 / bandwidth, 3)
    for name in list(metrics):
        peer = name.replace("hadal_", "llama_cpp_")
        if name.startswith("hadal_") and peer in metrics:
            metrics[name.replace("hadal_", "vs_llama_cpp_").replace("_tokens_per_s", "_ratio")] = round(metrics[name] / metrics[peer], 3)
    lib.write(lib.result("qwen2_1p5b", metrics, {"dtype": "bfloat16", "weights": "random", "rounds": args.rounds,
                                                 "prompt_tokens": PROMPT, "new_tokens": NEW_TOKENS}), args.out)


if __name__ == "__main__":
    main()
