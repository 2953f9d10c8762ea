# SPDX-License-Identifier: Apache-2.0
"""Builds tokenizer.json and its settings: a small byte-level BPE in the layout of DeepSeek-V3.

Ids: 0-2 the special tokens, 3-258 the bytes, then the merges, then the
control tokens. The pre-tokenizer is the one of DeepSeek-V3, but no merge
joins two digits, so each digit is one token.
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from . import conversation, phrases

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
CONTROL = [
    "<think>", "</think>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>",
]
VOCAB_SIZE = 1024  # all of it: special, bytes, merges, control

_SPLITS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]

_MERGES = Path(__file__).parent / "merges.txt"
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


def byte_alphabet():
    """The 256 byte characters, printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def _pre_tokenizer():
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in _SPLITS]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _corpus(rng):
    """Text whose words get merges: the phrases and the talk, one-digit numbers only."""
    for _ in range(30000):
        yield phrases.ask(rng, 7, rng.choice("+-*"), 5)
    for _ in range(20000):
        question, answer = conversation.small_talk(rng)
        yield "".join("7 " if c.isdigit() else c for c in question)
        for part in answer.split("</think>"):
            yield part
        yield " c7"
        if rng.random() < 0.2:
            yield conversation.system_prompt(rng).replace("1", "7 ")


def learn_merges():
    """Makes merges.txt anew. New merges need a new training of the model."""
    count = VOCAB_SIZE - 3 - 256 - len(CONTROL)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 4 * count, initial_alphabet=byte_alphabet(), min_frequency=2, show_progress=False
    )
    learner.train_from_iterator(_corpus(random.Random(20)), trainer)
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]
    chosen = [m for m in merges if not any(c.isdigit() and c.isascii() for c in m[0] + m[1])][:count]
    if len(chosen) < count:
        raise ValueError(f"the corpus gives {len(chosen)} merges, {count} are needed")
    _MERGES.write_text("".join(f"{left} {right}\n" for left, right in chosen), encoding="utf-8")


def _tokenizer_json():
    specials = [BOS, EOS, PAD]
    vocab = {token: i for i, token in enumerate([*specials, *byte_alphabet()])}
    merges = [line.split(" ") for line in _MERGES.read_text(encoding="utf-8").splitlines()]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    if len(vocab) + len(CONTROL) != VOCAB_SIZE:
        raise ValueError(f"{_MERGES} does not fill the vocabulary of {VOCAB_SIZE}")
    added = [(i, t, True) for i, t in enumerate(specials)]
    added += [(len(vocab) + i, t, False) for i, t in enumerate(CONTROL)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    bos_piece = {"SpecialToken": {"id": BOS, "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": t, **flags, "normalized": not special, "special": special} for i, t, special in added
        ],
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": json.loads(_wrapped(_pre_tokenizer())),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos_piece, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                bos_piece, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": BOS, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocab, "merges": merges,
        },
    }


def _wrapped(pre_tokenizer):
    carrier = Tokenizer(models.BPE())
    carrier.pre_tokenizer = pre_tokenizer
    return json.dumps(json.loads(carrier.to_str())["pre_tokenizer"])


def _tokenizer_config(max_length):
    def token(content):
        return {
            "__type": "AddedToken", "content": content, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True,
        }

    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": token(BOS),
        "eos_token": token(EOS),
        "pad_token": token(PAD),
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
        "chat_template": CHAT_TEMPLATE,
    }


def write(folder, max_length):
    for name, content in [("tokenizer.json", _tokenizer_json()), ("tokenizer_config.json", _tokenizer_config(max_length))]:
        text = json.dumps(content, ensure_ascii=False, indent=1 if name == "tokenizer.json" else 2)
        (Path(folder) / name).write_text(text + "\n", encoding="utf-8")


def load(folder):
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
