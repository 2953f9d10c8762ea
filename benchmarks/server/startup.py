#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Process start to ready, and to the last token of a first answer, with the demo model or any other checkpoint.

Usage: benchmarks/server/startup.py [--build DIR] [--model DIR] [--runs N] [--out FILE]
"""
import argparse
import json
import os
import pathlib
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/e2e"))
import lib  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(lib.ROOT / "build/release"))
    parser.add_argument("--model")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out")
    args = parser.parse_args()
    os.environ["HADAL_BINARY"] = args.build + "/hadal"
    os.environ.setdefault("HADAL_SOURCE_DIR", str(lib.ROOT))
    from hadal_process import HadalProcess

    ready, answered = [], []
    for _ in range(args.runs):
        with HadalProcess(model=args.model, wait_ready=False) as server:
            ready.append(server.wait_ready())
            body = json.dumps({"messages": [{"role": "user", "content": "17 + 25"}], "max_tokens": 64}).encode()
            request = urllib.request.Request(server.url + "/v1/chat/completions", body, {"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=60).read()
            answered.append(time.monotonic() - server.started_at)
    ready.sort()
    answered.sort()
    metrics = {"ready_s": ready[len(ready) // 2], "ready_s_min": ready[0], "ready_s_max": ready[-1],
               "first_answer_s": answered[len(answered) // 2]}
    lib.write(lib.result("startup", {k: round(v, 4) for k, v in metrics.items()},
                         {"runs": args.runs, "model": os.path.basename(args.model) if args.model else "demo"}), args.out)


if __name__ == "__main__":
    main()
