#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/chat/chats.json and dsml_chats.json: what transformers renders with the templates there, and what the encoders
of V3.2 and V4 (dsml_encoders.py) do.

The same versions give the same files. Run: make_chat_goldens.py [OUTPUT_DIR]
"""
import json
import os
import sys

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dsml_encoders  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.normpath(os.path.join(HERE, "../../data/chat"))
TOKENIZER = os.path.normpath(os.path.join(HERE, "../../data/tokenizer/deepseek_v3.tokenizer.json"))
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather in a \"city\" – now",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "北京"]}, "days": {"type": "integer", "default": 1.5}},
                "required": ["city"],
                "additionalProperties": False,
                "x": [1, -2, 1e20, 0.00001, 1e-05, 3.0, None, True, {}, []],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {}}},
]


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


CHATS = {
    "single": [{"role": "user", "content": "1+1?"}],
    "worked_example": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
    ],
    "history_thinks": [
        {"role": "user", "content": "Hi </think> there"},
        {"role": "assistant", "content": "<think>\ngreet\n</think>\n\nHello."},
        {"role": "user", "content": "  Bye\n"},
    ],
    "two_systems": [
        {"role": "system", "content": "One."},
        {"role": "system", "content": "Two."},
        {"role": "user", "content": "你好，世界"},
    ],
    "ends_with_assistant": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
}
TOOL_CHATS = {
    "one_call": [
        {"role": "user", "content": "Paris?"},
        {"role": "assistant", "content": "", "tool_calls": [call("get_weather", '{"city": "Paris"}')]},
        {"role": "tool", "content": "sunny"},
    ],
    "two_rounds": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Paris and 北京?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call("get_weather", '{"city":"Paris"}'), call("now", "{}")]},
        {"role": "tool", "content": "sunny"},
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "One more.", "tool_calls": [call("get_weather", '{"city": "北京"}')]},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "Sunny, rain."},
        {"role": "user", "content": "Thanks"},
    ],
}


def rendered(folder, name, chats, thinking="thinking", both_ways=False, tools=(None,)):
    """What transformers renders with the template `name`: each chat with and without a generation prompt and with each of `tools`.
    `both_ways`: also with `thinking`, the template's switch, false."""
    with open(os.path.join(folder, name + ".jinja"), encoding="utf-8") as file:
        template = file.read()
    out = []
    for chat, messages in chats.items():
        for generation in (True, False):
            for thinks in (True, False) if both_ways else (True,):
                for offered in tools:
                    text = render_jinja_template(
                        conversations=[messages],
                        tools=offered,
                        chat_template=template,
                        add_generation_prompt=generation,
                        bos_token=BOS,
                        eos_token=EOS,
                        **{thinking: thinks},
                    )[0][0]
                    out.append(
                        {
                            "template": name,
                            "chat": chat,
                            "tools": offered is not None,
                            "add_generation_prompt": generation,
                            "thinking": thinks,
                            "text": text,
                        }
                    )
    return out


def chat_goldens():
    out = []
    for name in ("v3", "r1", "v31", "v2", "coder", "chatml", "llama3"):
        chats = dict(CHATS)
        if name in ("v3", "r1", "v31"):
            chats.update(TOOL_CHATS)
        if name in ("coder", "llama3", "chatml", "v2"):
            chats.pop("two_systems")
        tools = (None, TOOLS) if name == "v31" else (None,)
        out += rendered(os.path.join(DATA, "templates"), name, chats, both_ways=name == "v31", tools=tools)
    return out


def id_call(number, name, arguments):
    return {"id": f"call_{number}", **call(name, arguments)}


def result(number, content):
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


ADD = [id_call(1, "add", '{"a": 2, "b": 3}')]
LOOP = [
    {"role": "user", "content": "2+3?"},
    {"role": "assistant", "content": "", "reasoning_content": "Use add.", "tool_calls": ADD},
    result(1, "5"),
]
DSML_CHATS = {
    **CHATS,
    "loop": LOOP,
    "loop_then_thanks": [*LOOP, {"role": "user", "content": "thanks"}],
    "loop_answered": [*LOOP, {"role": "assistant", "content": "5.", "reasoning_content": "Done."}, {"role": "user", "content": "And 3+3?"}],
    "reasoned": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "greet"},
        {"role": "user", "content": "Bye"},
    ],
    "every_argument": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Go"},
        {
            "role": "assistant",
            "content": "Two calls.",
            "reasoning_content": "both",
            "tool_calls": [
                id_call(1, "f", '{"s": "free <text>, \\"quoted\\"\\n北京", "n": 1.50, "b": true, "z": null, "l": [1,"a"], "o": {"k":{}}}'),
                id_call(2, "g", "{}"),
                id_call(3, "h", "not json"),
            ],
        },
        result(1, "one"),
        result(2, "two"),
        result(3, "three"),
        {"role": "assistant", "content": "End.", "reasoning_content": ""},
    ],
    "developer_asks": [
        {"role": "developer", "content": "Find it."},
        {"role": "assistant", "content": "", "reasoning_content": "look", "tool_calls": [id_call(1, "search", '{"q": "x"}')]},
        result(1, "found"),
    ],
    "developer_only": [{"role": "developer", "content": "Find it."}],
    "developer_asked_before": [
        {"role": "system", "content": "S"},
        {"role": "developer", "content": "Find it."},
        {"role": "assistant", "content": "Found.", "reasoning_content": "look"},
        {"role": "user", "content": "Thanks"},
    ],
    "two_users": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "starts_with_assistant": [{"role": "assistant", "content": "Welcome."}, {"role": "user", "content": "Hi"}],
}
V4_CHATS = {
    # The encoder of V3.2 takes the order of the calls for granted.
    "results_out_of_order": [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [id_call(1, "f", "{}"), id_call(2, "g", "{}")]},
        result(2, "two"),
        result(1, "one"),
    ],
    "reminder": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "r"},
        {"role": "latest_reminder", "content": "Today is Monday."},
        {"role": "user", "content": "c"},
    ],
    "reminder_first": [{"role": "latest_reminder", "content": "Now."}, {"role": "developer", "content": "Q"}],
}


def dsml_goldens():
    out = []
    for version in ("v32", "v4"):
        for chat, messages in {**DSML_CHATS, **(V4_CHATS if version == "v4" else {})}.items():
            for thinking in (True, False):
                for tools in (None, TOOLS):
                    for schema in (None, SCHEMA) if chat in ("single", "worked_example", "developer_only") else (None,):
                        for effort in (None, "max") if version == "v4" and schema is None else (None,):
                            text = dsml_encoders.render(version, messages, thinking, effort, tools, schema)
                            out.append(
                                {
                                    "version": version,
                                    "chat": chat,
                                    "thinking": thinking,
                                    "tools": tools is not None,
                                    "schema": schema is not None,
                                    "effort": effort or "",
                                    "text": text,
                                }
                            )
    return out


SCHEMA = {"type": "object", "properties": {"answer": {"type": "string", "description": "Kürze <b>"}}, "required": ["answer"]}


def main(directory):
    os.makedirs(directory, exist_ok=True)
    chats = chat_goldens()
    deepseek = Tokenizer.from_file(TOKENIZER)
    for golden in chats:
        golden["ids"] = deepseek.encode(golden["text"], add_special_tokens=False).ids
    write(directory, "chats.json", {"chats": {**CHATS, **TOOL_CHATS}, "tools": TOOLS, "goldens": chats})
    dsml = {"chats": {**DSML_CHATS, **V4_CHATS}, "tools": TOOLS, "schema": SCHEMA, "goldens": dsml_goldens()}
    write(directory, "dsml_chats.json", dsml)


def write(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DATA)
