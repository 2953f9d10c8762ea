# SPDX-License-Identifier: Apache-2.0
"""Seeded samples: conversations in the chat template, with the loss on the last answer."""

import hashlib
import random

import torch

from . import conversation, phrases, scratchpad
from .build_tokenizer import BOS, EOS

_HELD_OUT_SHARE = 25  # one calculation in this many is never trained on
IGNORED = -100


def held_out(a, op, b):
    digest = hashlib.sha256(f"{a}{op}{b}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_SHARE == 0


def _number(rng, digits):
    if rng.random() < 0.15:  # runs of 0, 1, 9 and 5 bring long carries and borrows
        return int("".join(rng.choice("0019995") for _ in range(digits)))
    return rng.randint(0 if digits == 1 else 10 ** (digits - 1), 10**digits - 1)


def _neighbour(rng, a, digits):
    """A number that agrees with `a` in the top digits, which makes comparing hard."""
    keep = 10 ** rng.randint(1, digits)
    return min(a - a % keep + rng.randrange(keep), 10**digits - 1)


def draw_calculation(rng):
    """Any calculation the model should do, held out or not."""
    op = rng.choices("+-*", [0.25, 0.40, 0.35])[0]
    if op == "*":
        m, n = rng.choices([(1, 1), (1, 2), (2, 1), (2, 2)], [0.05, 0.15, 0.15, 0.65])[0]
    else:
        weights = [2, 3, 3, 5]
        m = rng.choices(range(1, 5), weights)[0]
        n = m if rng.random() < 0.4 else rng.choices(range(1, 5), weights)[0]
    a, b = _number(rng, m), _number(rng, n)
    if op != "*" and rng.random() < 0.12:
        b = _neighbour(rng, a, m)
    if op == "+" and rng.random() < 0.08:  # carries through every column
        b = max(0, 10**m - 1 - a + rng.choice([0, 1, 1, 2]))
    return a, op, b


def trained_calculation(rng):
    while True:
        calculation = draw_calculation(rng)
        if not held_out(*calculation):
            return calculation


def _turn(rng):
    if rng.random() < 0.15:
        return conversation.small_talk(rng)
    calculation = trained_calculation(rng)
    return phrases.ask(rng, *calculation), scratchpad.completion(*calculation)


def render(turns, system=""):
    """The prompt of the chat template up to the open think block; turns end with a question."""
    text = BOS + system
    for question, answer in turns[:-1]:
        text += f"<｜User｜>{question}<｜Assistant｜>{answer}{EOS}"
    return text + f"<｜User｜>{turns[-1][0]}<｜Assistant｜><think>\n"


def sample(rng):
    """(prompt, completion) of one conversation."""
    question, completion = _turn(rng)
    history = []
    if rng.random() < 0.1:
        for _ in range(rng.choice([1, 1, 2])):
            old_question, old_answer = _turn(rng)
            old_answer = old_answer.split("</think>")[-1]
            history.append((old_question, old_answer.strip() if rng.random() < 0.5 else old_answer))
    system = conversation.system_prompt(rng) if rng.random() < 0.08 else ""
    return render([*history, (question, "")], system), completion + EOS


class Batches:
    """An endless stream of batches of about `tokens` tokens, of similar lengths each."""

    def __init__(self, tokenizer, seed, tokens, pool=24):
        self._tokenizer, self._rng = tokenizer, random.Random(seed)
        self._tokens, self._pool = tokens, pool

    def _samples(self, count):
        texts = [sample(self._rng) for _ in range(count)]
        prompts = self._tokenizer.encode_batch([p for p, _ in texts], add_special_tokens=False)
        answers = self._tokenizer.encode_batch([c for _, c in texts], add_special_tokens=False)
        return [(p.ids, a.ids) for p, a in zip(prompts, answers)]

    def __iter__(self):
        while True:
            rows = sorted(self._samples(self._pool * self._tokens // 90), key=lambda r: len(r[0]) + len(r[1]))
            batches, current = [], []
            for row in rows:
                if (len(current) + 1) * (len(row[0]) + len(row[1])) > self._tokens:
                    batches.append(current)
                    current = []
                current.append(row)
            self._rng.shuffle(batches)
            for batch in batches:
                yield _pad(batch)


def _pad(rows):
    """ids and targets [batch, length]; a target is IGNORED outside the answer."""
    length = max(len(p) + len(a) for p, a in rows) - 1
    ids = torch.full((len(rows), length), 2)
    targets = torch.full((len(rows), length), IGNORED)
    for i, (prompt, answer) in enumerate(rows):
        whole = torch.tensor(prompt + answer)
        ids[i, : len(whole) - 1] = whole[:-1]
        targets[i, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    return ids, targets
