#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model from nothing and writes the checkpoint folder.

    python train.py --out . --minutes 60

The run is a function of the seed and the number of steps. A checkpoint is
exported at intervals; --steps or --minutes ends the run, whichever is first
(with --minutes the learning rate follows the clock).
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import torch.nn.functional as F

from training import build_tokenizer, checkpoint
from training.dataset import IGNORED, Batches
from training.network import Network
from training.optimizer import Muon, split_parameters


def schedule(progress, step, warmup):
    """Share of the peak learning rate: warm-up, flat, then down to 2 % by a cosine from 30 % of the run on."""
    decay = max(0.0, (progress - 0.3) / 0.7)
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, decay))))


def loss_of(network, ids, targets):
    chosen = targets != IGNORED
    logits = network.lm_head(network.hidden(ids)[chosen])
    wanted = targets[chosen]
    with torch.no_grad():
        right = (logits.argmax(-1) == wanted).float().mean().item()
    return F.cross_entropy(logits, wanted), right


class Average:
    """A running average of the weights: steadier than the last step, and what is exported."""

    def __init__(self, network, keep):
        self._source, self._keep, self._steps = network, keep, 0
        self.network = copy.deepcopy(network)

    @torch.no_grad()
    def update(self):
        self._steps += 1
        keep = min(self._keep, self._steps / (self._steps + 10))
        for mine, theirs in zip(self.network.parameters(), self._source.parameters()):
            mine.lerp_(theirs, 1 - keep)
        for mine, theirs in zip(self.network.buffers(), self._source.buffers()):
            mine.copy_(theirs)


def save(args, network, average):
    checkpoint.write(args.out, average.network)
    if args.state:
        torch.save(network.state_dict(), args.state)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(Path(__file__).parent), help="checkpoint folder to write")
    parser.add_argument("--minutes", type=float, default=60, help="wall-clock limit")
    parser.add_argument("--steps", type=int, default=10**6)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens per step, padding included")
    parser.add_argument("--lr", type=float, default=0.02, help="peak rate of Muon")
    parser.add_argument("--adam-lr", type=float, default=0.003, help="peak rate of AdamW")
    parser.add_argument("--warmup", type=int, default=100, help="steps of rising rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export-every", type=float, default=5, help="minutes between exports")
    parser.add_argument("--state", help="file that keeps the float32 weights of the last export")
    parser.add_argument("--init", help="start from the weights in such a file")
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    build_tokenizer.write(out, checkpoint.CONFIG["max_position_embeddings"])
    network = Network(checkpoint.CONFIG)
    if args.init:
        network.load_state_dict(torch.load(args.init))
    print(f"parameters: {sum(p.numel() for p in network.parameters())}", flush=True)
    average = Average(network, keep=0.99)
    matrices, rest = split_parameters(network)
    muon = Muon(matrices)
    adam = torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0)
    batches = iter(Batches(build_tokenizer.load(out), args.seed, args.tokens))

    start = last_export = time.monotonic()
    seen, mean_loss, mean_right = 0, 0.0, 0.0
    for step in range(args.steps):
        minutes = (time.monotonic() - start) / 60
        progress = max(step / args.steps, minutes / args.minutes)
        if progress >= 1:
            break
        rate = schedule(progress, step, args.warmup)
        ids, targets = next(batches)
        loss, right = loss_of(network, ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        muon.step(args.lr * rate)
        for group in adam.param_groups:
            group["lr"] = args.adam_lr * rate
        adam.step()
        network.zero_grad()
        network.balance(0.001 * rate)
        average.update()

        seen += ids.numel()
        keep = 0.98 if step > 50 else 0.8
        mean_loss = keep * mean_loss + (1 - keep) * loss.item()
        mean_right = keep * mean_right + (1 - keep) * right
        if step % 50 == 0:
            line = {"step": step, "minutes": round(minutes, 2), "loss": round(mean_loss, 5),
                    "right": round(mean_right, 5), "tokens": seen, "rate": round(rate, 3)}
            print(json.dumps(line), flush=True)
        if time.monotonic() - last_export > 60 * args.export_every:
            last_export = time.monotonic()
            save(args, network, average)
    save(args, network, average)
    difference = checkpoint.transformers_difference(out, average.network, next(batches)[0][:4])
    print(json.dumps({"steps": step, "minutes": round((time.monotonic() - start) / 60, 1),
                      "transformers_difference": difference}))


if __name__ == "__main__":
    main()
