# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers in the styles of the published checkpoints, and strings that are hard to tokenize."""
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
V3 = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
CASED = (
    "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ"
    "ℂℇℊ-ℓℕK-ℭⰀ-ⱻⴀꙀ-ꙭＡ-Ｚａ-ｚ𐐀-𐑏𞤀-𞥃]"
)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def digits(individual):
    return pre_tokenizers.Digits(individual_digits=individual)


HAN = "[一-龥ࠀ-一가-퟿]+"
# name -> (normalizer, pre-tokenizers, BPE options, special tokens, other added tokens)
DEEPSEEK_SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
DEEPSEEK_CONTROL = [
    AddedToken(text, normalized=True, special=False)
    for text in (
        "<think> </think> <｜fim▁hole｜> <｜fim▁begin｜> <｜fim▁end｜> <｜User｜> <｜Assistant｜> <|EOT|> <｜tool▁calls▁begin｜> "
        "<｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁outputs▁begin｜> <｜tool▁outputs▁end｜> "
        "<｜tool▁output▁begin｜> <｜tool▁output▁end｜> <｜tool▁sep｜>"
    ).split(" ")
]
STYLES = {
    "deepseek_v3": (
        normalizers.Sequence([]),
        [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(V3), byte_level()],
        {},
        DEEPSEEK_SPECIAL,
        DEEPSEEK_CONTROL,
    ),
    "deepseek_llm": (
        normalizers.Sequence([]),
        [split("[\r\n]"), split("\\s?%s+" % CASED), split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"), split("\\s+$"), split(HAN)]
        + [digits(True), byte_level()],
        {},
        DEEPSEEK_SPECIAL[:2],
        [AddedToken(c, normalized=True, special=False) for c in "øöúÿõ÷ûýÀùÁþü"],
    ),
    "deepseek_coder": (
        normalizers.Sequence([]),
        [split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split(HAN), digits(True), byte_level()],
        {},
        DEEPSEEK_SPECIAL[:2],
        [AddedToken(c, normalized=True, special=False) for c in "õ÷ÁýÀÿøúþüùöû"] + [AddedToken("<|EOT|>", special=False)],
    ),
    "qwen2": (normalizers.NFC(), [split(QWEN), byte_level()], {}, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], []),
    "llama3": (
        None,
        [split(LLAMA3), byte_level()],
        {"ignore_merges": True},
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        [],
    ),
    "gpt2": (None, [byte_level(prefix=True, regex=True)], {"unk_token": "<|endoftext|>"}, ["<|endoftext|>"], []),
    # Everything the formats above leave out.
    "unusual": (
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace("``", '"'), normalizers.Prepend("_")]),
        [
            split(r"\p{Lu}\p{Ll}+|[\p{Nd}&&[^3]]|(?<=a)b+|\P{L}{2}|\p{^M}x?", "merged_with_previous"),
            split(r"\s+", "merged_with_next"),
            split(r"[\p{P}\p{S}]&", "removed"),
            split(r"\p{Han}|[^\p{Latin}]+?x|", "contiguous"),
            split(r"[aeiou]+", "isolated", True),
            pre_tokenizers.Split("ab", "merged_with_next"),
            digits(False),
            byte_level(),
        ],
        {},
        ["<s>"],
        [
            AddedToken("<ab", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=True),
            AddedToken("e\u0301x", normalized=True),
            AddedToken("<abc>", normalized=True, rstrip=True),
        ],
    ),
}


def metaspace(scheme, split):
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)


# As sentencepiece has them: name -> (normalizer, pre-tokenizer, further added tokens). Characters without a token become bytes.
SENTENCEPIECE = {
    "llama2": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, []),
    "llama2_first": (None, metaspace("first", False), [AddedToken("<|im_end|>", special=True, normalized=False)]),
    "metaspace": (None, metaspace("always", True), [AddedToken("[INST]", special=False, normalized=True)]),
}
NAMES = [*STYLES, *SENTENCEPIECE]
EXTRA = {
    "deepseek_llm": ["ü", "Führer", "øöúÿ", "\u00fc\u0308", "  中", " 中 ", "   \n"],
    "llama2": ["<0x41>", "▁", " ▁ ", "▁▁a", "<s>", " <s> a", "a<s>b </s>", "<unk>", "  x  ", "\n", " \n "],
    "llama2_first": ["<s>", "<s> a", "a<s>b <|im_end|>\n", "<|im_end|>", "  x", "▁x", " x<s> y"],
    "metaspace": ["[INST] a [INST]b", " [INST]", "<s>", "<s> a", "a<s>b", "  x  y", "▁x▁"],
    "unusual": ["<ab", "<abc>", " <ab  ", "word", "words", " word ", "swordy", "word.", "u\u0308", "e\u0301x", "éx", "aab", "``", "<s>"],
}


def corpus():
    return strings(seed=99, count=1500)


def train_sentencepiece(name, vocab_size):
    """Trained on words, then given the bytes and the pipeline of the style."""
    normalizer, pre_tokenizer, added = SENTENCEPIECE[name]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = metaspace("always", True)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=vocab_size // 3)
    tokenizer.train_from_iterator(corpus(), trainer)
    parts = json.loads(tokenizer.to_str())
    vocabulary = list(parts["model"]["vocab"])
    vocabulary.sort(key=parts["model"]["vocab"].get)
    vocabulary[3:3] = [f"<0x{byte:02X}>" for byte in range(256)]
    parts["model"].update(vocab={token: i for i, token in enumerate(vocabulary)}, byte_fallback=True)
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    if name == "metaspace":
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)])
    tokenizer.add_tokens(added)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def train(name, vocab_size=700):
    if name in SENTENCEPIECE:
        return train_sentencepiece(name, vocab_size)
    normalizer, steps, options, special, added = STYLES[name]
    tokenizer = Tokenizer(models.BPE(**options))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    added_letters = {token.content for token in added}
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c not in added_letters]
    tokenizer.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=special, initial_alphabet=alphabet),
    )
    tokenizer.add_tokens(added)
    first = special[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[first, "$A"], pair=[first, "$A", first, "$B:1"], special_tokens=[(first, tokenizer.token_to_id(first))]
    )
    return tokenizer


WORDS = (
    "Hello,_world!|__|\t|\n\n|\r\n|def_f(x):\n____return_x+1|毕老师！|日本語のテキスト|한국어_문장|Привет_мир|عربى|हिन्दी|ไทย|🦙🇩🇪👨‍👩‍👧|e\u0301|Ａ１|１２３|½²|'s|'S|'ſ|"
    "don't|I'LL|<think>|</think>|<｜User｜>|<｜begin▁of▁sentence｜>|<|EOT|>|<|im_start|>|｜DSML｜|<dsml:|\u200b|\ufeff|\x00|\x7f|\u0085|\u00a0|"
    "\u3000|0xFF|3.14159|1234567|a-b|http://x.y/z?q=1#f|ÄÖÜß|ﬁ|Ǆ|\U00011de0|\U000e0001|\ud7ff|\ue000|\U0010ffff|。|、|「」|<|｜|▁|Ġ|Ċ|"
    "가\u11a8|\u1100\u1161\u11a8|\u0958|\u2126|\u0345\u0334|ſ"
)


def base_strings():
    # The separator also cuts <|EOT|> and its like to pieces; they are added whole.
    return [w.replace("_", " ") for w in WORDS.split("|")] + ["<|EOT|>", "<|im_start|>", "<|eot_id|>", "<|endoftext|>"]


def combining_strings(rng, count):
    marks = [c for c in range(0x300, 0x370)] + [0x5B0, 0x64B, 0x94D, 0xE38, 0x1DF6, 0x3099, 0x11A8, 0x1161, 0x8D3]
    bases = "aeoAuṩḍ̇Åキ가\u1100ΩÃ①क\u0344"
    pick = lambda: rng.choice(bases) if rng.random() < 0.4 else chr(rng.choice(marks))  # noqa: E731
    return ["".join(pick() for _ in range(rng.randrange(1, 9))) for _ in range(count)]


def strings(seed, count, special=None):
    """The base strings, then `count` random mixtures of everything."""
    rng = random.Random(seed)
    base = base_strings() + EXTRA.get(special, [])
    letters = "abcdefghijklmnopqrstuvwxyz"
    symbols = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

    def run(alphabet, longest):
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, longest)))

    def points(low, high, longest):
        picked = (rng.randrange(low, high) for _ in range(rng.randrange(1, longest)))
        return "".join(chr(c) for c in picked if not 0xD800 <= c < 0xE000)

    parts = [
        lambda: rng.choice(base),
        lambda: chr(rng.randrange(0x20, 0x7F)),
        lambda: " " * rng.randrange(1, 6),
        lambda: run(" \t\n\r\u3000\u00a0", 6),
        lambda: points(0x4E00, 0xA000, 8),
        lambda: points(0, 0x110000, 4),
        lambda: points(0, 0x3000, 4),
        lambda: points(0x300, 0x370, 5),
        lambda: str(rng.randrange(10 ** rng.randrange(1, 12))),
        lambda: run(letters, 12),
        lambda: run(symbols, 5),
    ]
    return base + ["".join(rng.choice(parts)() for _ in range(rng.randrange(1, 12))) for _ in range(count)]
