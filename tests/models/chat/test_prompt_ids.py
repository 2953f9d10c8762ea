# SPDX-License-Identifier: Apache-2.0
"""Token ids of prompts that a checkpoint's own template makes: the template's control tokens as tokens, and every character of a
client's text as text, also where the client writes such tokens.

For the reference the first characters of control tokens are replaced by letters in everything that the client says. jinja2 renders
that, the text is cut at the control tokens that are left, which are the template's, and the pieces between are encoded, with the
characters put back, by a tokenizer that has no control tokens."""
import functools
import json
import os
import re
import sys
import unicodedata

import pytest

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../jinja"), os.path.join(HERE, "../tokenizer")]
from awkward_templates import AWKWARD  # noqa: E402
from test_jinja_parity import CONFIG, TREE  # noqa: E402
from tokenize_tool import run, unpack_published  # noqa: E402

PUBLISHED = ["deepseek-vl2-small", "glm-4", "glm-4-32b-0414", "glm-4.5v", "glm-4.7-flash", "janusflow-1.3b", "jt-coder-8b-base",
             "minimax", "minimax-m3", "qwen-2.5", "qwen-3", "qwen-3.5", "qwen2.5-math-prm-7b", "qwen2.5-omni-3b",
             "qwen2.5-vl-3b-instruct-awq", "qwq-32b"]
# What the awkward templates write as tokens, beside those of the tokenizer.
MORE_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<<SYS>>", "<tool>"]


def is_control(token):
    content = token["content"]
    return token["special"] or len(content) > 1 and any(unicodedata.category(c)[0] in "PS" for c in content)


class Reference:
    """The tokenizer of a folder, with and without its control tokens."""

    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
            parts = json.load(file)
        self.control = {t["content"]: t["id"] for t in parts["added_tokens"] if is_control(t)}
        assert not any(t["lstrip"] or t["rstrip"] or t["single_word"] for t in parts["added_tokens"])
        parts["added_tokens"] = [t for t in parts["added_tokens"] if not is_control(t)]
        parts["post_processor"] = None
        self.plain = tokenizers.Tokenizer.from_str(json.dumps(parts))
        self.marks = {c: chr(0xA000 + i) for i, c in enumerate(sorted({content[0] for content in self.control}))}
        self.hide = str.maketrans(self.marks)
        self.show = str.maketrans({mark: c for c, mark in self.marks.items()})
        self.cut = re.compile("|".join(re.escape(c) for c in sorted(self.control, key=len, reverse=True)))

    def hidden(self, value):
        """A client's value without control tokens in its texts."""
        if isinstance(value, str):
            return value.translate(self.hide)
        if isinstance(value, list):
            return [self.hidden(each) for each in value]
        if isinstance(value, dict):
            return {key: self.hidden(each) for key, each in value.items()}
        return value

    def ids(self, text):
        ids, at = [], 0
        for match in [*self.cut.finditer(text), None]:
            piece = text[at:match.start() if match else len(text)]
            ids += self.plain.encode(piece.translate(self.show), add_special_tokens=False).ids
            if match:
                ids.append(self.control[match.group()])
                at = match.end()
        return ids


@functools.lru_cache(maxsize=1)
def reference_of(folder):
    return Reference(folder)


def talks(reference):
    """Chats in which the client writes every control token of the tokenizer."""
    tokens = sorted(reference.control)
    written = " ".join(tokens[:40]) + "|" + "".join(tokens[-40:]) + "\n"
    plain = [{"role": "user", "content": "Wie geht's, 世界? 🦙 12345  \tx"}]
    return [plain, [{"role": "system", "content": written + "Be kind."}, {"role": "user", "content": written},
                    {"role": "assistant", "content": "Well. {\"a\": 1}\n"}, {"role": "user", "content": " " + written + " \n"}]]


def tools(reference):
    token = max(reference.control, key=len)
    return [{"type": "function", "function": {"name": "f", "description": f"Say {token}", "parameters": {
        "type": "object", "properties": {"x": {"type": "string", "enum": [token, "y"]}}, "required": ["x"]}}}]


def special_tokens(folder):
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    text = lambda token: token["content"] if isinstance(token, dict) else token  # noqa: E731
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
    return {name: text(config[name]) for name in names if config.get(name)}


def template_of(folder):
    path = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
        return json.load(file)["chat_template"]


def check(folder, template, kwargs=None):
    """Compares texts and ids of every talk; gives how many were rendered."""
    reference, compiled, known = reference_of(folder), _compile_jinja_template(template), special_tokens(folder)
    asked, expected = [], []
    for messages in talks(reference):
        for shown in (None, tools(reference)):
            for generation in (True, False):
                asked.append({"messages": messages, "tools": shown or [], "add_generation_prompt": generation, "kwargs": kwargs or {}})
                try:
                    expected.append(compiled.render(messages=reference.hidden(messages), tools=reference.hidden(shown), documents=None,
                                                    add_generation_prompt=generation, **reference.hidden(kwargs or {}), **known))
                except Exception:  # jinja2's own errors and those that the template raises
                    expected.append(None)
    rendered = 0
    for question, answer, text in zip(asked, run(folder, "chat", asked), expected):
        if text is None:
            assert "error" in answer, question
            continue
        rendered += 1
        assert answer.get("text") == text.translate(reference.show), (question, answer.get("error"))
        assert answer["style"] == "jinja"
        assert answer["ids"] == reference.ids(text), question
    return rendered


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_templates(name, tmp_path):
    folder = unpack_published(name, tmp_path)
    assert check(folder, template_of(folder)) >= 4


@pytest.fixture(scope="module")
def awkward_folder(tmp_path_factory):
    """A published tokenizer that also has the tokens of the awkward templates."""
    folder = unpack_published("deepseek-v3", tmp_path_factory.mktemp("awkward"))
    path = os.path.join(folder, "tokenizer.json")
    with open(path, encoding="utf-8") as file:
        parts = json.load(file)
    known = {token["content"] for token in parts["added_tokens"]}
    free = max([token["id"] for token in parts["added_tokens"]] + list(parts["model"]["vocab"].values())) + 1
    for content in MORE_TOKENS:
        if content not in known:
            parts["added_tokens"].append({"id": free, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                                          "normalized": False, "special": True})
            free += 1
    with open(path, "w", encoding="utf-8") as file:
        json.dump(parts, file, ensure_ascii=False)
    return folder


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_templates(name, awkward_folder):
    path = os.path.join(awkward_folder, "tokenizer_config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**config, "chat_template": AWKWARD[name]}, file)
    assert check(awkward_folder, AWKWARD[name], {"config": CONFIG, "tree": TREE, "custom": "c <|im_end|>"}) > 0
