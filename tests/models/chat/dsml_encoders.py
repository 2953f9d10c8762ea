# SPDX-License-Identifier: Apache-2.0
"""The prompts of V3.2 and V4 in plain Python, written from the description of the published encoders: what the C++ renderers
are compared with. Messages are OpenAI's; tools and a response schema hang on one message, as in the published encoders."""
import json

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
OPEN, CLOSE = "<think>", "</think>"
D = "｜DSML｜"

EXAMPLE = """<%(d)s%(block)s>
<%(d)sinvoke name="$%(function)s">
<%(d)sparameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</%(d)sparameter>
...
</%(d)sinvoke>
<%(d)sinvoke name="$%(function)s2">
...
</%(d)sinvoke>
</%(d)s%(block)s>"""


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def tools_block(version, tools):
    lines = "\n".join(dumps(tool["function"]) for tool in tools)
    if version == "v32":
        block = EXAMPLE % {"d": D, "block": "function_calls", "function": "FUNCTION_NAME"}
        return (
            "## Tools\n\nYou have access to a set of tools you can use to answer the user's question.\n"
            f'You can invoke functions by writing a "<{D}function_calls>" block like the following as part of your reply to the user:\n'
            f"{block}\n\n"
            "String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should "
            'use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types '
            "(numbers, booleans, arrays, objects).\n\n"
            "If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. "
            "Here is an example:\n\n"
            f"<{D}function_calls>\n...\n</{D}function_calls>\n\n<function_results>\n...\n</function_results>\n\n"
            f"{OPEN}...thinking about results{CLOSE}\n\n"
            f"Here are the functions available in JSONSchema format:\n<functions>\n{lines}\n</functions>\n"
        )
    block = EXAMPLE % {"d": D, "block": "tool_calls", "function": "TOOL_NAME"}
    return (
        "## Tools\n\nYou have access to a set of tools to help answer the user's question. You can invoke tools by writing a "
        f'"<{D}tool_calls>" block like the following:\n\n{block}\n\n'
        'String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, '
        'objects), pass the value in JSON format and set `string="false"`.\n\n'
        f"If thinking_mode is enabled (triggered by {OPEN}), you MUST output your complete reasoning inside {OPEN}...{CLOSE} BEFORE "
        "any tool calls or final response.\n\n"
        f"Otherwise, output directly after {CLOSE} with tool calls or final response.\n\n"
        f"### Available Tool Schemas\n\n{lines}\n\n"
        "You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"
    )


def blocks(version, message):
    text = ""
    if message.get("tools"):
        text += "\n\n" + tools_block(version, message["tools"])
    if message.get("response_format"):
        text += "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n" + dumps(message["response_format"])
    return text


def calls_block(version, calls):
    if not calls:
        return ""
    name = "function_calls" if version == "v32" else "tool_calls"
    rendered = []
    for call in calls:
        text = call["function"]["arguments"]
        try:
            arguments = json.loads(text)
        except ValueError:
            arguments = {"arguments": text}
        elements = [
            f'<{D}parameter name="{key}" string="{"true" if isinstance(value, str) else "false"}">'
            f"{value if isinstance(value, str) else dumps(value)}</{D}parameter>"
            for key, value in arguments.items()
        ]
        rendered.append(f'<{D}invoke name="{call["function"]["name"]}">\n' + "\n".join(elements) + f"\n</{D}invoke>")
    return f"\n\n<{D}{name}>\n" + "\n".join(rendered) + f"\n</{D}{name}>"


def last_question(messages):
    return max((i for i, message in enumerate(messages) if message["role"] in ("user", "developer")), default=-1)


def without_old_developers(messages):
    last = last_question(messages)
    return [m for i, m in enumerate(messages) if m["role"] != "developer" or i >= last]


def render_v32(messages, thinking):
    if thinking:
        messages = without_old_developers(messages)
    last = last_question(messages)
    out = BOS
    for i, message in enumerate(messages):
        role, content = message["role"], message.get("content") or ""
        marker = OPEN if thinking and i >= last else CLOSE
        if role == "system":
            out += content + blocks("v32", message)
        elif role == "developer":
            out += USER + blocks("v32", message) + "\n\n# The user's message is: " + content + ASSISTANT + marker
        elif role == "user":
            out += USER + content + ASSISTANT + marker
        elif role == "tool":
            first = messages[i - 1]["role"] != "tool"
            closes = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            out += ("\n\n<function_results>" if first else "") + f"\n<result>{content}</result>"
            out += f"\n</function_results>\n\n{marker}" if closes else ""
        elif role == "assistant":
            if thinking and i > last:
                out += (message.get("reasoning_content") or "") + CLOSE
            out += content + calls_block("v32", message.get("tool_calls")) + EOS
    return out


def merge_v4(messages):
    """Tool results and the user's messages beside them become one turn, results in the order of the calls."""
    merged, order = [], {}
    for message in messages:
        role = message["role"]
        if role == "assistant" and message.get("tool_calls"):
            order = {call["id"]: i for i, call in enumerate(message["tool_calls"])}
        if role not in ("user", "tool"):
            merged.append(message)
            continue
        part = (role, message.get("tool_call_id"), message.get("content") or "")
        if merged and merged[-1].get("parts"):
            merged[-1]["parts"].append(part)
        else:
            merged.append({"role": "user", "parts": [part]})
        results = sorted((p for p in merged[-1]["parts"] if p[0] == "tool"), key=lambda p: order.get(p[1], 0))
        merged[-1]["parts"] = [results.pop(0) if p[0] == "tool" else p for p in merged[-1]["parts"]]
    return merged


MAX_EFFORT = (
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\nYou MUST be very thorough in your thinking and comprehensively "
    "decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and "
    "adversarial scenarios.\nExplicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n"
)


def render_v4(messages, thinking, effort=None):
    keeps = any(message.get("tools") for message in messages)
    messages = merge_v4(messages)
    if thinking and not keeps:
        messages = without_old_developers(messages)
    last = last_question(messages)
    out = BOS + (MAX_EFFORT if thinking and effort == "max" else "")
    for i, message in enumerate(messages):
        role, content = message["role"], message.get("content") or ""
        if role == "system":
            out += content + blocks("v4", message)
        elif role == "developer":
            out += USER + content + blocks("v4", message)
        elif role == "user":
            out += USER + "\n\n".join(f"<tool_result>{p[2]}</tool_result>" if p[0] == "tool" else p[2] for p in message["parts"])
        elif role == "latest_reminder":
            out += "<｜latest_reminder｜>" + content
        elif role == "assistant":
            if thinking and (keeps or i > last):
                out += (message.get("reasoning_content") or "") + CLOSE
            out += content + calls_block("v4", message.get("tool_calls")) + EOS
        answered = i + 1 == len(messages) or messages[i + 1]["role"] in ("assistant", "latest_reminder")
        if role in ("user", "developer") and answered:
            out += ASSISTANT + (OPEN if thinking and (keeps or i >= last) else CLOSE)
    return out


def render(version, messages, thinking, effort=None, tools=None, schema=None):
    """Tools and schema of a request hang on the first message when it is a system's or a developer's, else on one of their own."""
    messages = [dict(message) for message in messages]
    if tools or schema:
        if messages[0]["role"] not in ("system", "developer"):
            messages.insert(0, {"role": "system", "content": ""})
        messages[0].update(tools=tools, response_format=schema)
    return render_v32(messages, thinking) if version == "v32" else render_v4(messages, thinking, effort)
