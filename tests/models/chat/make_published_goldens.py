#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/chat/published_chats.json: what transformers renders with the templates that DeepSeek and Qwen publish.

The templates are no part of this repository. Run: make_published_goldens.py FOLDER [OUTPUT], where FOLDER holds the chat_template of
  v2.jinja          deepseek-ai/DeepSeek-V2-Chat, V2-Lite-Chat and Coder-V2
  v2_5.jinja        deepseek-ai/DeepSeek-V2.5
  v3.jinja          deepseek-ai/DeepSeek-V3
  v3_0324.jinja     deepseek-ai/DeepSeek-V3-0324
  r1.jinja          deepseek-ai/DeepSeek-R1
  r1_0528.jinja     deepseek-ai/DeepSeek-R1-0528 and DeepSeek-R1-0528-Qwen3-8B
  r1_distill.jinja  deepseek-ai/DeepSeek-R1-Distill-Qwen-7B (all distills)
  v31.jinja         deepseek-ai/DeepSeek-V3.1, V3.1-Terminus and V3.2-Exp
  qwen3.jinja       Qwen/Qwen3-8B
"""
import os
import sys

from make_chat_goldens import CHATS, DATA, TOOL_CHATS, TOOLS, call, rendered, write

MORE = {
    "two_users": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "three_turns": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>\nt\n</think>\n\nb"},
        {"role": "user", "content": "c </think>"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
    ],
    "two_calls_no_text": [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "", "tool_calls": [call("now", "{}"), call("get_weather", '{"city": "北京", "days": 2}')]},
        {"role": "tool", "content": "12:00"},
        {"role": "tool", "content": "rain\n"},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks"},
    ],
    "unicode": [{"role": "user", "content": "🦙 ünïcödé\t\"quoted\" \\ {{ x }}"}, {"role": "assistant", "content": "是的"}, {"role": "user", "content": ""}],
}
REASONED = {
    "loop_reasoned": [
        {"role": "user", "content": "Old"},
        {"role": "assistant", "content": "A", "reasoning_content": "dropped"},
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "", "reasoning_content": "\nUse it.\n", "tool_calls": [call("now", "{}")]},
        {"role": "tool", "content": "12:00"},
    ]
}
# Chats in which the renderer differs from the template on purpose: it joins several system messages, keeps content beside calls,
# opens every block of calls and results, and closes results before a user's message.
WITH_TOOLS = {"one_call", "two_rounds", "two_calls_no_text"}
SKIPPED = {
    "v2": WITH_TOOLS,
    "v2_5": {"two_systems", *WITH_TOOLS},
    "v3": WITH_TOOLS,
    "r1": {"two_rounds"},
    "r1_distill": {"two_systems", *WITH_TOOLS},
    "qwen3": {"two_systems"},
}
THINKING = {"v31": "thinking", "qwen3": "enable_thinking"}


def main(folder, output):
    goldens = []
    for name in ("v2", "v2_5", "v3", "v3_0324", "r1", "r1_0528", "r1_distill", "v31", "qwen3"):
        chats = {**CHATS, **TOOL_CHATS, **MORE, **(REASONED if name == "qwen3" else {})}
        chats = {chat: messages for chat, messages in chats.items() if chat not in SKIPPED.get(name, ())}
        tools = (None, TOOLS) if name == "qwen3" else (None,)
        goldens += rendered(folder, name, chats, THINKING.get(name, "thinking"), both_ways=name in THINKING, tools=tools)
    data = {"chats": {**CHATS, **TOOL_CHATS, **MORE, **REASONED}, "tools": TOOLS, "goldens": goldens}
    write(os.path.dirname(output) or ".", os.path.basename(output), data)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.join(DATA, "published_chats.json"))
