#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scores the demo model with transformers on the held-out questions and prints JSON.

    python evaluate.py                      # greedy, bf16, the 500 questions
    python evaluate.py --sample             # temperature 0.6, top-p 0.95
    python evaluate.py --context            # a system prompt and an answered turn in front
    python evaluate.py --write-questions    # makes heldout.jsonl again (seeded)

An answer is right when its text after `</think>` ends with the right number.
"""

import argparse
import collections
import json
import random
import re
import time
from pathlib import Path

from training import phrases, scratchpad
from training.dataset import draw_calculation, held_out

HERE = Path(__file__).parent
QUESTIONS = HERE / "heldout.jsonl"
SHARES = {"+": 170, "-": 170, "*": 160}


def held_out_questions(seed):
    """Calculations that training never draws, in the shares above, lengths and wordings as in training."""
    rng = random.Random(seed)
    left, taken = dict(SHARES), set()
    while any(left.values()):
        calculation = draw_calculation(rng)
        a, op, b = calculation
        if not left[op] or calculation in taken or not held_out(*calculation):
            continue
        left[op] -= 1
        taken.add(calculation)
        yield {"question": phrases.ask(rng, *calculation), "a": a, "op": op, "b": b,
               "answer": scratchpad.value(*calculation)}


def last_number(text):
    """The last integer of an answer, or None; a minus counts when it stands right before the digits."""
    numbers = re.findall(r"(?<!\d)-?\d+", text.replace("−", "-"))
    return int(numbers[-1]) if numbers else None


def conversation(question, context):
    messages = [{"role": "user", "content": question}]
    if context:
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is 8 + 5?"},
            {"role": "assistant", "content": "8 + 5 = 13"},
        ] + messages
    return messages


def answers(model, tokenizer, questions, args):
    """One text per question, generated in left-padded batches."""
    import torch

    tokenizer.padding_side = "left"
    options = {"do_sample": True, "temperature": 0.6, "top_p": 0.95} if args.sample else {"do_sample": False}
    for start in range(0, len(questions), args.batch):
        chats = [conversation(q, args.context) for q in questions[start : start + args.batch]]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=256, **options)
        yield from tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(HERE), help="checkpoint folder")
    parser.add_argument("--questions", default=str(QUESTIONS))
    parser.add_argument("--write-questions", action="store_true")
    parser.add_argument("--seed", type=int, default=500, help="of the written questions")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--context", action="store_true")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ask", nargs="*", help="print the answers to these questions instead")
    args = parser.parse_args()
    if args.write_questions:
        lines = [json.dumps(q, ensure_ascii=False) + "\n" for q in held_out_questions(args.seed)]
        Path(args.questions).write_text("".join(lines), encoding="utf-8")
        return

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if args.ask:
        for question, text in zip(args.ask, answers(model, tokenizer, args.ask, args)):
            print(f"[{question}]\n{text}\n")
        return
    rows = [json.loads(line) for line in Path(args.questions).read_text(encoding="utf-8").splitlines()]
    began = time.monotonic()
    right, total, wrong = collections.Counter(), collections.Counter(), []
    for row, text in zip(rows, answers(model, tokenizer, [r["question"] for r in rows], args)):
        correct = "</think>" in text and last_number(text.split("</think>")[-1]) == row["answer"]
        total[row["op"]] += 1
        right[row["op"]] += correct
        if not correct:
            wrong.append({"question": row["question"], "expected": row["answer"], "text": text})
    print(json.dumps({
        "questions": len(rows), "right": sum(right.values()), "score": sum(right.values()) / len(rows),
        "by_operation": {op: f"{right[op]}/{total[op]}" for op in total}, "dtype": args.dtype,
        "sampled": args.sample, "context": args.context, "seconds": round(time.monotonic() - began, 1),
        "wrong": wrong,
    }, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
