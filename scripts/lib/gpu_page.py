#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the page of GPU results from what scripts/gpu-check has measured: gpu_page.py [RESULT.json] >docs/gpu-results.md.

Without a result every row is open. A row that was not measured is open too, whatever else the result holds.
"""
import json
import pathlib
import sys

QWEN, LITE = "DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-V2-Lite"
OPEN = "open"
PROMPTS = (128, 256, 512, 1024, 2048, 4096, 8192)
# Model, what is measured, which of them, the goal for one H200.
ROWS = [
    (QWEN, "decode", {"sequences": 1}, "258 tok/s, 85 % of the bandwidth bound"),
    (QWEN, "decode", {"sequences": 128}, "20,000 tok/s"),
    (QWEN, "decode", {"sequences": 256}, "28,000 tok/s"),
    *((QWEN, "prefill", {"tokens": tokens}, "45,000 tok/s, 75 % of the products' peak" if tokens == 2048 else "none") for tokens in PROMPTS),
    (QWEN, "first_token", {"tokens": 1024}, "25 ms end to end"),
    (QWEN, "load", {}, "1.0 s from page-cached weights"),
    (LITE, "decode", {"sequences": 1}, "610 tok/s, 70 % of the bandwidth bound"),
    (LITE, "decode", {"sequences": 128}, "none"),
    (LITE, "decode", {"sequences": 256}, "20,000 tok/s"),
    *((LITE, "prefill", {"tokens": tokens}, "100,000 tok/s" if tokens == 2048 else "none") for tokens in PROMPTS),
    (LITE, "first_token", {"tokens": 1024}, "none"),
    (LITE, "load", {}, "2.0 s from page-cached weights"),
]
# Batches whose gaps between tokens are shown.
GAPS = [(model, sequences) for model in (QWEN, LITE) for sequences in (1, 128, 256)]
# Stages of scripts/lib/gpu_run.py that compare rather than measure.
CHECKS = [
    ("real_shapes", "ops at the shapes of published models, our kernels and libtorch's against the reference, memory guarded"),
    ("families", "a model of every family: what the reference says, and the CPU's greedy tokens"),
    ("ops", "all other op tests"),
    ("batches", "equal bits in every batch; steps launched ahead against steps that wait"),
    ("swapped", "whole models with some ops on libtorch, which takes its turn on our stream"),
    ("few_rows", "our product of few rows against cuBLASLt's"),
    ("sanitizer", "compute-sanitizer's memcheck on attention and products"),
]
HEAD = """# Results on a GPU

Written by `scripts/lib/gpu_page.py` from the result of `scripts/gpu-check`; do not edit. Decode has 1,024 tokens of context, a prefill
is one step. Weights are random, in the dimensions of the published configuration, so experts are met about uniformly. A share of
decode is of the bandwidth that a copy within the device reached in the same run, a share of prefill of a square bf16 product of 8,192 rows;
the bound counts weights, keys and values once. A first token is timed from the call that issues the prompt to the token on the host,
without tokenizer and network. A start is a process's first: it loads weight files of 16 GiB at most (the last layers are left out beyond
that), warms up and computes a token. Its share is of reading the files or of uploading, whichever was slower in the same run, without the
warm-up. Rows without a measurement are open.
"""


def measured(result):
    return [rate for test in result.get("tests", []) for rate in test.get("rates", [])]


def find(rates, model, kind, which):
    wanted = {"model": model, "measure": kind, **which}
    return next((rate for rate in rates if wanted.items() <= rate.items()), None)


def label(kind, which):
    if "sequences" in which:
        return f"{kind}, {which['sequences']} sequence{'s' if which['sequences'] > 1 else ''}"
    return {"first_token": "first token", "load": "start"}.get(kind, kind) + (f", {which['tokens']:,} tokens" if "tokens" in which else "")


def rate_row(rates, row):
    model, kind, which, goal = row
    found = find(rates, model, kind, which)
    if found is None:
        value, share = OPEN, OPEN
    elif kind == "load":
        value = f"{found['seconds']:.2f} s with {found['layers']} of {found['of_layers']} layers"
        share = f"{100 * found['share']:.0f} % at {found['gb_s']:.1f} GB/s; warm-up {found['warm_up_s']:.2f} s"
    elif kind == "first_token":
        value, share = f"{found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms", ""
    else:
        value, share = f"{found['tokens_per_s']:,.0f} tok/s", f"{100 * found['share']:.0f} %"
    return f"| {model} | {label(kind, which)} | {goal} | {value} | {share} |"


def gap_row(rates, model, sequences):
    found = find(rates, model, "gaps", {"sequences": sequences})
    keys = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
    if found is None:
        return f"| {model} | {sequences} |" + f" {OPEN} |" * (len(keys) + 2)
    late = sum(count for edge, count in zip(found["edges_in_medians"], found["histogram"][1:]) if edge >= 1.25)
    cells = [f"{found[key]:.2f}" for key in keys] + [f"{100 * late / found['steps']:.1f} %", f"{found['launch_p50_us']:.0f}"]
    return f"| {model} | {sequences} | " + " | ".join(cells) + " |"


def limits_row(rates, model):
    """The limits of the run that measured the model."""
    at = next((i for i, rate in enumerate(rates) if rate.get("model") == model), None)
    before = [rate for rate in rates[:at or 0] if rate["measure"] == "limits"]
    if not before:
        return f"| {model} | {OPEN} | {OPEN} |"
    return f"| {model} | {before[-1]['copy_gb_s']:,.0f} | {before[-1]['product_tflop_s']:,.0f} |"


def check_row(result, name, text):
    test = next((test for test in result.get("tests", []) if test["name"] == name), None)
    if test is None or test["passed"] + test["failed"] == 0 or not test["seconds"]:
        return f"| {text} | {OPEN} | | |"
    return f"| {text} | {test['passed']} | {test['failed']} | {test['skipped']} |"


def page(result):
    rates = measured(result)
    lines = [HEAD]
    if result:
        gpus = ", ".join(result["machine"]["gpus"]) or "no GPU was named"
        lines.append(f"Commit {result['commit'] or 'unknown'}, {result['date'][:10]}, {gpus}.\n")
    else:
        lines.append("There is no result yet: nothing here has run on a GPU.\n")
    lines += ["## Speed\n", "| model | what | goal for one H200 | found | share of the limit |", "|---|---|---|---|---|"]
    lines += [rate_row(rates, row) for row in ROWS]
    lines += ["\n## Gaps between the tokens of a sequence\n", "| model | sequences | p50, ms | p90, ms | p99, ms | longest, ms | above 1.25 medians | issuing a step, us |",
              "|---|---|---|---|---|---|---|---|"]
    lines += [gap_row(rates, *which) for which in GAPS]
    lines += ["\n## Limits of the device in the same run\n", "| run | copy, GB/s | product, TFLOP/s |", "|---|---|---|"]
    lines += [limits_row(rates, model) for model in (QWEN, LITE)]
    lines += ["\n## Correctness\n", "| what | passed | failed | skipped |", "|---|---|---|---|"]
    lines += [check_row(result, *check) for check in CHECKS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")) if len(sys.argv) > 1 else {}))
