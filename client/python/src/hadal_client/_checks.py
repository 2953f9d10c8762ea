# SPDX-License-Identifier: Apache-2.0
"""What programs give by mistake, named before anything is sent. ValueError, with the argument, what was expected and what was found."""

from __future__ import annotations

import difflib
import math
import operator
import sys
import warnings
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, Dict, List, Optional

PRIORITIES = ("high", "normal", "low", "batch")


def _wrong(name: str, expected: str, found: Any) -> ValueError:
    text = repr(found)
    return ValueError(f"{name}: expected {expected}, found {text if len(text) <= 100 else text[:100] + '...'}")


def addresses(servers: Any) -> List[str]:
    listed = [servers] if isinstance(servers, str) else servers
    if not isinstance(listed, Iterable) or isinstance(listed, (bytes, Mapping)):
        raise _wrong("servers", "an address or a list of addresses", servers)
    listed = list(listed)
    for one in listed:
        if not isinstance(one, str):
            raise _wrong("servers", "an address or a list of addresses", one)
    return listed


def api_key(key: Any) -> Optional[str]:
    """What a header can have; the key itself is in no error."""
    if key is None or key == "":
        return None
    if not isinstance(key, str):
        raise ValueError(f"api_key: expected a text, found {type(key).__name__}")
    for at, letter in enumerate(key):
        if not "!" <= letter <= "~":
            raise ValueError(f"api_key: {letter!r} at position {at} of {len(key)} cannot be in a key; was it read with the end of its line?")
    return key


def ca_file(path: Any) -> bytes:
    """The certificates in it, as PEM."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"ca_file: cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
    if b"-----BEGIN" not in content:
        raise ValueError(f"ca_file: {path!r} holds no certificate in PEM")
    return content


def priority(name: Any) -> str:
    if isinstance(name, str) and name in PRIORITIES:
        return name
    raise _wrong("priority", ", ".join(PRIORITIES), name)


def seconds(name: str, value: Any, least: float = -math.inf) -> float:
    if isinstance(value, Real) and math.isfinite(value) and float(value) >= least:
        return float(value)
    raise _wrong(name, "seconds" if least == -math.inf else f"seconds, {least:g} or more", value)


def number(name: str, value: Any, least: float) -> None:
    if not isinstance(value, Real) or not float(value) >= least:
        raise _wrong(name, f"a number, {least:g} or more", value)


def share(name: str, value: Any) -> None:
    if not isinstance(value, Real) or not 0 < float(value) < 1:
        raise _wrong(name, "a number above 0 and below 1", value)


def chat_messages(messages: Any) -> List[Mapping[str, Any]]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Iterable) or isinstance(messages, (bytes, Mapping)):
        raise _wrong("messages", "a text or a list of messages", messages)
    listed = list(messages)
    for at, message in enumerate(listed):
        if not isinstance(message, Mapping):
            raise _wrong(f"messages[{at}]", "{'role': ..., 'content': ...}", message)
    return listed


def prompt(given: Any) -> Any:
    """A text, or the token ids as a list."""
    return given if isinstance(given, str) else token_ids("prompt", given, "a text or token ids (many prompts are for complete_all)")


def prompts(given: Any) -> List[Any]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise _wrong("prompts", "a list of texts, or of lists of token ids", given)
    return [prompt(one) for one in given]


def token_ids(name: str, given: Any, expected: str = "token ids") -> List[int]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise _wrong(name, expected, given)
    try:
        return [operator.index(one) for one in given]
    except TypeError:
        raise _wrong(name, expected, given) from None


# Fields of chats and completions that callers mistype; the server takes more, and ignores what it does not know.
_FIELDS = ("chat_template_kwargs", "documents", "echo", "frequency_penalty", "ignore_eos", "logit_bias", "logprobs", "max_completion_tokens", "max_thinking_tokens",
           "max_tokens", "min_p", "min_tokens", "model", "n", "parallel_tool_calls", "presence_penalty", "priority", "reasoning_control", "reasoning_effort",
           "repetition_penalty", "response_format", "seed", "stop", "stop_token_ids", "stream", "temperature", "thinking", "tool_choice", "tools", "top_k",
           "top_logprobs", "top_p")


def spelled(fields: Dict[str, Any]) -> Dict[str, Any]:
    """Warns of a name that is nearly one of the API's: the server would ignore it silently."""
    for name in fields:
        meant = [] if name in _FIELDS else difflib.get_close_matches(name, _FIELDS, 1, 0.85)
        if meant:
            frame, level = sys._getframe(), 1
            while frame.f_back is not None and frame.f_globals.get("__package__") == __package__:
                frame, level = frame.f_back, level + 1
            warnings.warn(f"{name}: the server ignores fields that it does not know; is {meant[0]} meant?", stacklevel=level)
    return fields


def text(name: str, given: Any) -> str:
    if isinstance(given, str):
        return given
    raise _wrong(name, "a text", given)


def no_stream(fields: Dict[str, Any]) -> Dict[str, Any]:
    if fields.get("stream"):
        raise ValueError("stream: this call gives whole answers; client.stream(messages) gives the pieces of a chat")
    return fields
