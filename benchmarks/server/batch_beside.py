#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What interactive requests see of a batch that runs beside them: hadal-bench at a part of the capacity, alone and beside a job of /v1/batches.

Usage: batch_beside.py [--rounds 5] [--seconds 30] [--loads 0.5,0.7] [--null 20ms] [--capacity N] [--share] [--output FILE.json]

One server. A round is a run alone and a run beside the batch with the same arrivals, the order changing from round to round; what counts is the ratio of the two of a
round, its median and range over the rounds. The batch has prompts and outputs of its own, far more lines than a run lasts, and is cancelled
when the run ends. Server and load have a core each, --share lets both use all. Runs that other processes disturbed are repeated. The
demo model is as fast as the machine is idle; with --null, steps take a fixed time whatever is in them, which leaves the scheduler's part.
"""
import argparse
import itertools
import json
import pathlib
import random
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import lib  # noqa: E402
import load  # noqa: E402
from overload import LENGTHS, LIMITS, Lab, find_capacity  # noqa: E402

LINES = 20_000
FIGURES = ("ttft_p50_s", "ttft_p99_s", "itl_p50_s", "itl_p99_s", "within_slo_ratio")
GOAL = 1.05  # of TTFT and ITL p99


def ask(server, method, path, body=None, content_type="application/json"):
    request = urllib.request.Request(server.url + path, body, {"Content-Type": content_type}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def input_file(lines):
    """The lines of a job like those of an evaluation: prompts of a few hundred words, each another one, and 100 tokens of output."""
    draw = random.Random(1)
    for number in range(lines):
        prompt = " ".join(draw.choices(("red", "blue", "stone", "river", "seven", "walk", "under", "light"), k=draw.randrange(20, 300)))
        body = {"model": "hadal-demo", "prompt": f"{number} {prompt}", "max_tokens": 100, "temperature": 0, "ignore_eos": True}
        yield json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body})


def upload(server):
    parts = [b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
             b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n', "\n".join(input_file(LINES)).encode(), b"\r\n--b--\r\n"]
    return ask(server, "POST", "/v1/files", b"".join(parts), "multipart/form-data; boundary=b")["id"]


class Batch:
    """A job that runs until the block ends."""

    def __init__(self, server, file):
        self.server, self.file, self.lines_per_s = server, file, 0.0

    def _completed(self):
        return self.server.metric('hadal_batch_lines_total{outcome="completed"}')

    def __enter__(self):
        self.before, self.began = self._completed(), time.monotonic()
        body = {"input_file_id": self.file, "endpoint": "/v1/completions", "completion_window": "24h"}
        self.id = ask(self.server, "POST", "/v1/batches", json.dumps(body).encode())["id"]
        while self._completed() == self.before:
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.lines_per_s = (self._completed() - self.before) / (time.monotonic() - self.began)
        ask(self.server, "POST", f"/v1/batches/{self.id}/cancel", b"")
        self.server.wait_idle(60)


def interactive(lab, server, rate, seed):
    result, figures = lab.run(server, rate, "--client=none", seconds=lab.args.seconds, seed=seed)
    run = result["runs"][0]
    return {**figures, "itl_p50_s": load.latency(run, "itl", 0.5), "itl_p99_s": load.latency(run, "itl", 0.99)}


def compare(lab, server, file, rate):
    """Figures alone and beside the batch, and the ratios of the second to the first of the same round."""
    alone, beside, ratios = [], [], []
    for seed in range(1, lab.args.rounds + 1):
        for with_batch in (False, True) if seed % 2 else (True, False):
            if with_batch:
                with Batch(server, file) as batch:
                    figures = interactive(lab, server, rate, seed)
                beside.append({**figures, "batch_lines_per_s": batch.lines_per_s})
            else:
                alone.append(interactive(lab, server, rate, seed))
        ratios.append({name.removesuffix("_s").removesuffix("_ratio") + "_ratio": beside[-1][name] / alone[-1][name] for name in FIGURES if alone[-1][name]})
        print(f"batch_beside: {rate:g}/s, round {seed}: {ratios[-1]}", file=sys.stderr)
    keep = {*FIGURES, "batch_lines_per_s", "other_cpu_ratio", "offered_requests_per_s"}
    trimmed = ([{name: value for name, value in row.items() if name in keep} for row in rows] for rows in (alone, beside))
    return {**dict(zip(("alone", "beside"), map(load.median_and_range, trimmed))), "beside_of_alone": load.median_and_range(ratios)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="measured part of a run")
    parser.add_argument("--loads", type=lambda text: [float(one) for one in text.split(",")], default=[0.5, 0.7])
    parser.add_argument("--capacity", type=float, help="requests a second, if known")
    parser.add_argument("--start", type=float, default=20, help="rate at which the search for the capacity begins")
    parser.add_argument("--null", metavar="STEP", help="a model that waits so long a step and computes nothing, 32 sequences a step")
    parser.add_argument("--share", action="store_true", help="server and load use the same cores")
    parser.add_argument("--output")
    args = parser.parse_args()
    lab = Lab(args)
    with tempfile.TemporaryDirectory() as folder, lab.serve(f"--wait-limits={LIMITS}", f"--batch-store={folder}") as server:
        capacity = args.capacity or find_capacity(lab, server, args.start)
        file = upload(server)
        metrics = {"capacity_requests_per_s": load.round_off(capacity),
                   **{f"{at:g}": compare(lab, server, file, round(at * capacity, 2)) for at in args.loads}}
    for at, name in itertools.product(args.loads, ("ttft_p99_ratio", "itl_p99_ratio")):
        ratio = metrics[f"{at:g}"]["beside_of_alone"].get(name)
        print(f"batch_beside: {at:g} of the capacity, {name} {ratio} (goal {GOAL})", file=sys.stderr)
    settings = {"model": "null" if args.null else "models/demo", "model_flags": " ".join(lab.model_flags()), "lengths": " ".join(LENGTHS),
                "wait_limits": LIMITS, "rounds": args.rounds, "seconds": args.seconds, **load.placement(lab.server_cores, lab.client_cores)}
    lib.write(lib.result("batch_beside_null_model" if args.null else "batch_beside", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
