# SPDX-License-Identifier: Apache-2.0
"""The fields and messages of the HTTP API, in the messages of the gRPC API: so that one call means the same over both. ValueError names what there is no
place for."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from . import _inference_pb2 as pb
from . import _checks
from ._types import Messages

PRIORITIES = {"high": pb.PRIORITY_HIGH, "normal": pb.PRIORITY_NORMAL, "low": pb.PRIORITY_LOW, "batch": pb.PRIORITY_BATCH}

# Where a field of the HTTP API has another place in the messages.
_SAMPLING = ("temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "seed")
_STOPPING = ("max_tokens", "ignore_eos", "min_tokens")
_CHOICES = {"auto": pb.TOOL_CHOICE_AUTO, "none": pb.TOOL_CHOICE_NONE, "required": pb.TOOL_CHOICE_REQUIRED}
_CHOICE_FORMS = '"auto", "none", "required", {"type": "function", "function": {"name": ...}} or {"type": "allowed_tools", ...}'
_FORMATS = '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema": {...}}}'


def fill(request: Any, fields: Dict[str, Any]) -> Any:
    """Sets what the caller gave by the names of the HTTP API."""
    # Which tools are allowed is about those that are there.
    for name in sorted(fields, key=lambda name: name == "tool_choice"):
        value = fields[name]
        if value is None:
            continue
        try:
            _fill_one(request, name, value)
        except (TypeError, ValueError) as error:
            message = str(error)
            raise ValueError(message if message.startswith(name) else f"{name}: {message}") from None
    return request


def _fill_one(request: Any, name: str, value: Any) -> None:
    known = request.DESCRIPTOR.fields_by_name
    if name in _SAMPLING and "sampling" in known:
        setattr(request.sampling, name, value)
    elif name in _STOPPING and "stopping" in known:
        setattr(request.stopping, name, value)
    elif name in _OTHERS and _OTHERS[name][0] in known:
        _, put = _OTHERS[name]
        put(request, value)
    elif name not in _OTHERS and name in known and known[name].message_type is None and isinstance(value, (str, int, float)):
        setattr(request, name, value)
    else:
        raise ValueError(f"{name}: not a field that this client sends over gRPC; use Client, over HTTP")


def _wrong(name: str, expected: str, found: Any) -> ValueError:
    return ValueError(f"{name}: expected {expected}, found {repr(found)[:100]}")


def _mapping(name: str, value: Any, expected: str = "an object") -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _wrong(name, expected, value)


def _listed(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    raise _wrong(name, "a list", value)


def _json(value: Any) -> str:
    """JSON of an object; a text is JSON already."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---- One function for each field that is more than a number or a text -------------------------------------------------

def _max_tokens(request: Any, value: Any) -> None:
    request.stopping.max_tokens = value


def _top_k(request: Any, value: Any) -> None:
    request.sampling.top_k = 0 if value == -1 else value  # HTTP has two names for off


def _stop(request: Any, value: Any) -> None:
    request.stopping.stop.extend([value] if isinstance(value, str) else value)


def _stop_token_ids(request: Any, value: Any) -> None:
    request.stopping.stop_token_ids.extend(value)


def _priority(request: Any, value: Any) -> None:
    request.priority = PRIORITIES[_checks.priority(value)]


def _logit_bias(request: Any, value: Any) -> None:
    for token, bias in _mapping("logit_bias", value, "{token id: bias}").items():
        request.sampling.logit_bias[int(token)] = bias  # ids are texts in JSON


def _response_format(request: Any, value: Any) -> None:
    kind = _mapping("response_format", value, _FORMATS).get("type")
    if kind == "json_object":
        request.response_format.json_object = True
    elif kind == "json_schema":
        held = value.get("json_schema", value)
        schema = held.get("schema") if isinstance(held, Mapping) else None
        if not isinstance(schema, (Mapping, bool)):
            raise _wrong("response_format", _FORMATS, value)
        request.response_format.json_schema = _json(schema)
    elif kind != "text":
        raise _wrong("response_format", _FORMATS, value)


def _thinking(request: Any, value: Any) -> None:
    if isinstance(value, bool):
        request.thinking = value
        return
    wanted = _mapping("thinking", value, '{"type": "enabled" or "disabled"}, True or False')
    kind = wanted.get("type", "adaptive")
    if kind in ("enabled", "disabled"):
        request.thinking = kind == "enabled"
    elif kind not in ("adaptive", "auto"):
        raise _wrong("thinking.type", "enabled, disabled or adaptive", kind)
    if wanted.get("budget_tokens") is not None:
        request.max_thinking_tokens = wanted["budget_tokens"]


def _template_arguments(request: Any, value: Any) -> None:
    request.chat_template_kwargs = _json(value)


def _documents(request: Any, value: Any) -> None:
    request.documents.extend(_json(one) for one in _listed("documents", value))


_TOOL_FIELDS = ("name", "description", "parameters", "strict")


def _tools(request: Any, value: Any) -> None:
    for at, tool in enumerate(_listed("tools", value)):
        here = f"tools[{at}]"
        if _mapping(here, tool).get("type", "function") != "function":
            raise _wrong(f"{here}.type", "function", tool["type"])
        function = _mapping(f"{here}.function", tool.get("function"))
        for name in function:
            if name not in _TOOL_FIELDS:
                raise ValueError(f"{here}.function.{name}: not a field that this client sends over gRPC; use Client, over HTTP")
        given = {key: value for key, value in function.items() if value is not None}
        if "parameters" in given:
            given["parameters_json_schema"] = _json(given.pop("parameters"))
        try:
            request.tools.append(pb.ToolDefinition(**given))
        except TypeError as error:
            raise ValueError(f"{here}: {error}") from None


def _tool_choice(request: Any, value: Any) -> None:
    if isinstance(value, str) and value in _CHOICES:
        request.tool_choice = _CHOICES[value]
        return
    kind = _mapping("tool_choice", value, _CHOICE_FORMS).get("type", "function")
    held = value.get(kind)
    if kind == "function" and isinstance(held, Mapping) and held.get("name"):
        request.tool_choice, request.tool_name = pb.TOOL_CHOICE_NAMED, held["name"]
    elif kind == "allowed_tools" and isinstance(held, Mapping) and held.get("mode") in ("auto", "required"):
        request.tool_choice = _CHOICES[held["mode"]]
        _keep_tools(request, [_function_name(one) for one in _listed("tool_choice.allowed_tools.tools", held.get("tools"))])
    else:
        raise _wrong("tool_choice", _CHOICE_FORMS, value)


def _function_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if isinstance(function, Mapping) and isinstance(function.get("name"), str):
        return str(function["name"])
    raise _wrong("tool_choice.allowed_tools.tools", '{"type": "function", "function": {"name": ...}}', tool)


def _keep_tools(request: Any, names: List[str]) -> None:
    """The model sees these alone."""
    for name in names:
        if all(tool.name != name for tool in request.tools):
            raise ValueError(f"tool_choice: allows {name!r}, which is none of the tools")
    kept = [tool for tool in request.tools if tool.name in names]
    del request.tools[:]
    request.tools.extend(kept)


# By the name of the HTTP API: the field of the message that there must be, and what sets it.
_OTHERS: Dict[str, Tuple[str, Callable[[Any, Any], None]]] = {
    "max_completion_tokens": ("stopping", _max_tokens), "stop": ("stopping", _stop), "stop_token_ids": ("stopping", _stop_token_ids),
    "top_k": ("sampling", _top_k), "logit_bias": ("sampling", _logit_bias), "priority": ("priority", _priority),
    "response_format": ("response_format", _response_format), "thinking": ("thinking", _thinking), "documents": ("documents", _documents),
    "chat_template_kwargs": ("chat_template_kwargs", _template_arguments), "tools": ("tools", _tools), "tool_choice": ("tool_choice", _tool_choice)}


# ---- Messages ---------------------------------------------------------------------------------------------------------

def chat_messages(messages: Messages) -> List[Any]:
    return [_chat_message(f"messages[{at}]", message) for at, message in enumerate(_checks.chat_messages(messages))]


def _chat_message(name: str, message: Mapping[str, Any]) -> Any:
    given = {key: value for key, value in message.items() if value is not None}
    if "content" in given:
        given["content"] = _content(f"{name}.content", given["content"])
    if "tool_calls" in given:
        given["tool_calls"] = [_tool_call(f"{name}.tool_calls[{at}]", call) for at, call in enumerate(_listed(f"{name}.tool_calls", given["tool_calls"]))]
    try:
        return pb.ChatMessage(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None


def _content(name: str, content: Any) -> str:
    """A text, or the texts of its parts."""
    if isinstance(content, str):
        return content
    texts = []
    for at, part in enumerate(content if isinstance(content, (list, tuple)) else [content]):
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind, ""), str):
            raise _wrong(f"{name}[{at}]" if isinstance(content, (list, tuple)) else name, "a text or text parts", part)
        texts.append(part.get(kind, ""))
    return "".join(texts)


def _tool_call(name: str, call: Any) -> Any:
    """As the answers have it."""
    function = _mapping(f"{name}.function", _mapping(name, call).get("function"))
    try:
        return pb.ToolCall(id=call.get("id"), name=function.get("name"), arguments=_json(function.get("arguments") or ""))
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
