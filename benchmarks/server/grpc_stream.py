#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens streamed over gRPC, server and client on this machine: the whole server with a model that does no arithmetic.

Usage: benchmarks/server/grpc_stream.py [--build DIR] [--streams N] [--channels N] [--tokens N] [--seconds S] [--out FILE]
"""
import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/e2e"))
import lib  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(lib.ROOT / "build/release"))
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()

    import os
    os.environ["HADAL_BINARY"] = args.build + "/hadal"
    os.environ.setdefault("HADAL_SOURCE_DIR", str(lib.ROOT))
    from hadal_process import HadalProcess

    runs = []
    with HadalProcess("--load-format=null", "--max-model-len=4096", f"--max-batch-size={max(256, args.streams)}") as server:
        for _ in range(args.runs):
            printed = subprocess.run([args.build + "/benchmarks/server/grpc_stream_client", server.target, str(args.streams),
                                      str(args.channels), str(args.tokens), str(args.seconds)],
                                     check=True, capture_output=True, text=True, timeout=300).stdout
            runs.append(json.loads(printed))
            if runs[-1]["refused"]:
                raise SystemExit(f"{runs[-1]['refused']} calls were refused: the streams must fit into the batch")
    rates = sorted(run["tokens_per_s"] for run in runs)
    metrics = {"tokens_per_s": rates[len(rates) // 2], "tokens_per_s_min": rates[0], "tokens_per_s_max": rates[-1],
               "messages_per_s": sorted(run["messages_per_s"] for run in runs)[len(runs) // 2]}
    settings = {"streams": args.streams, "channels": args.channels, "tokens_per_call": args.tokens,
                "seconds": args.seconds, "runs": args.runs, "client": "C++ callback client on the same machine"}
    lib.write(lib.result("grpc_stream", metrics, settings), args.out)


if __name__ == "__main__":
    main()
