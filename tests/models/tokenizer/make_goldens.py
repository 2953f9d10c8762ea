#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/tokenizer/: small tokenizers of every style, and what tokenizers makes of texts.

The C++ tests compare with these files; test_tokenizer_parity.py compares many more strings live. Seeded: the same versions
give the same files. Run: make_goldens.py [OUTPUT_DIR]
"""
import json
import os
import random
import sys

from tokenizers import normalizers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import styles  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.normpath(os.path.join(HERE, "../../data/tokenizer"))


def main(directory):
    os.makedirs(directory, exist_ok=True)
    encodings = {}
    for name in styles.NAMES:
        tokenizer = styles.train(name)
        tokenizer.save(os.path.join(directory, name + ".tokenizer.json"), pretty=False)
        texts = styles.strings(seed=11, count=60, special=name)
        encodings[name] = [
            {
                "text": text,
                "ids": tokenizer.encode(text, add_special_tokens=False).ids,
                "ids_with_special": tokenizer.encode(text, add_special_tokens=True).ids,
            }
            for text in texts
        ]
    write(directory, "encodings.json", encodings)
    marks = random.Random(3)
    nfc = normalizers.NFC()
    write(directory, "nfc.json", [[text, nfc.normalize_str(text)] for text in styles.combining_strings(marks, 300)])


def write(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DATA)
