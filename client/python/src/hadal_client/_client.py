# SPDX-License-Identifier: Apache-2.0
"""Clients over HTTP."""

from __future__ import annotations

import json
from typing import Any, AsyncGenerator, Dict, Generator, Iterable, Iterator, List, Optional, Sequence, Union
from urllib.parse import quote

from ._errors import DeadlineExceeded, HadalError, RequestError, ServerBusy, ServerUnreachable
from ._http import DEADLINE, SERVER, AsyncTransport, Transport
from ._httpx import httpx
from ._retry import Refusal, RetryOptions
from ._stream import AsyncStream, Running, Stream
from ._types import Answer, Delta, Messages, Model, Usage

Servers = Union[str, Sequence[str]]
_CONNECT_S = 10.0


# ---- Bytes to answers, for both clients ------------------------------------------------------------------------------

def _headers(api_key: Optional[str], priority: Optional[str]) -> Dict[str, str]:
    headers = {}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if priority:
        headers["x-hadal-priority"] = priority
    return headers


def _chat_body(messages: Messages, stream: bool, fields: Dict[str, Any]) -> Dict[str, Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"messages": list(messages), **fields}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return body


def _error(response: Any) -> HadalError:
    """The error that a read response stands for."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status_code}: {response.text[:200]}"
    facts = {"status": response.status_code, "reason": response.headers.get("x-hadal-reason"),
             "request_id": response.headers.get("x-request-id")}
    refusal = Refusal.of_http(response.status_code, response.headers)
    if refusal is None:
        return RequestError(message, **facts)
    if response.status_code == 504:
        return DeadlineExceeded(message)
    attempts = int(response.request.headers.get("x-stainless-retry-count", "0")) + 1
    return ServerBusy(message, retry_after=refusal.retry_after, attempts=attempts, **facts)


def _unreachable(error: Exception) -> HadalError:
    kind = DeadlineExceeded if isinstance(error, httpx.TimeoutException) else ServerUnreachable
    return kind(f"{type(error).__name__}: {error}")


def _usage(raw: Optional[Dict[str, Any]]) -> Usage:
    raw = raw or {}
    return Usage(raw.get("prompt_tokens", 0), raw.get("completion_tokens", 0),
                 (raw.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
                 (raw.get("completion_tokens_details") or {}).get("reasoning_tokens", 0))


def _answer(raw: Dict[str, Any], request_id: str) -> Answer:
    choice = raw["choices"][0]
    message = choice.get("message") or {"content": choice.get("text")}
    return Answer(message.get("content") or "", message.get("reasoning_content") or "", choice.get("finish_reason") or "",
                  message.get("tool_calls") or [], _usage(raw.get("usage")), raw.get("model", ""), request_id)


def _deltas(line: str, running: Running) -> Iterator[Delta]:
    """The pieces in one line of a stream. An error event is raised: the answer ended early."""
    if not line.startswith("data:"):
        return
    data = line[5:].strip()
    if data == "[DONE]":
        return
    event = json.loads(data)
    if "error" in event:
        raise RequestError(event["error"].get("message", data), status=200, reason=event["error"].get("code"))
    running.answer_id = event.get("id", "")
    for choice in event.get("choices", []):
        delta = choice.get("delta") or {"content": choice.get("text")}
        piece = Delta(delta.get("content") or "", delta.get("reasoning_content") or "", delta.get("tool_calls") or [], choice.get("index", 0))
        if piece.text or piece.reasoning or piece.tool_calls:
            yield piece


def _started(running: Running, response: Any) -> None:
    running.server = response.extensions[SERVER]
    running.request_id = response.headers.get("x-request-id", "")


_END_THINKING = {"action": "reasoning_end"}


def _control_path(running: Running) -> str:
    return f"/v1/chat/completions/{quote(running.answer_id, safe='')}/control"


def _models(raw: Dict[str, Any]) -> List[Model]:
    return [Model(one["id"], one.get("max_model_len", 0)) for one in raw["data"]]


class _Base:
    """What both clients have: who calls, and how."""

    def __init__(self, api_key: Optional[str], priority: Optional[str], timeout: float):
        self._headers = _headers(api_key, priority)
        # Between two pieces of an answer; a whole call is bounded by its deadline.
        self._timeout = timeout

    def _build(self, http: Any, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float],
               server: Optional[str] = None) -> Any:
        most = self._timeout if deadline is None else min(deadline, self._timeout)
        timeout = httpx.Timeout(most, connect=min(most, _CONNECT_S))
        extensions = {name: value for name, value in ((DEADLINE, deadline), (SERVER, server)) if value is not None}
        return http.build_request(method, path, json=body, headers=self._headers, timeout=timeout, extensions=extensions)


# ---- Threads ---------------------------------------------------------------------------------------------------------

class Client(_Base):
    """Calls one or several hadal servers over HTTP. Thread-safe. Close it, or use it as a context manager.

    `deadline` of a call: seconds that it may take, all attempts together; the server is told, and refuses at once what it cannot do in time.
    `fields`: everything else that the API takes, such as max_tokens, temperature, tools, response_format."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None):
        super().__init__(api_key, priority, timeout)
        self._transport = Transport(servers, retry, inner=transport)
        self._http = httpx.Client(base_url=self._transport.targets.all[0].address, transport=self._transport)

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """The whole answer."""
        response = self._call("POST", "/v1/chat/completions", _chat_body(messages, False, fields), deadline)
        return _answer(response.json(), response.headers.get("x-request-id", ""))

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Stream:
        """The answer as it is written; the first piece asks for it."""
        running = Running()
        return Stream(self._pieces(running, _chat_body(messages, True, fields), deadline), running, self._end_thinking)

    def _pieces(self, running: Running, body: Dict[str, Any], deadline: Optional[float]) -> Generator[Delta, None, None]:
        response = self._send(self._build(self._http, "POST", "/v1/chat/completions", body, deadline), stream=True)
        _started(running, response)
        try:
            for line in response.iter_lines():
                yield from _deltas(line, running)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        finally:
            response.close()

    def complete(self, prompt: Union[str, Sequence[int]], *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """Continues a text or token ids; no chat template."""
        response = self._call("POST", "/v1/completions", {"prompt": prompt, **fields}, deadline)
        return _answer(response.json(), response.headers.get("x-request-id", ""))

    def tokenize(self, text: str, **fields: Any) -> List[int]:
        return list(self._call("POST", "/tokenize", {"prompt": text, **fields}, None).json()["tokens"])

    def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return str(self._call("POST", "/detokenize", {"tokens": list(tokens), **fields}, None).json()["prompt"])

    def models(self) -> List[Model]:
        return _models(self._call("GET", "/v1/models", None, None).json())

    def warm_up(self) -> None:
        """Resolves names and opens a connection ahead of the first call."""
        self._call("GET", "/v1/models", None, None)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _send(self, request: Any, stream: bool = False) -> Any:
        try:
            response = self._http.send(request, stream=stream)
            if response.status_code != 200:
                response.read()
                raise _error(response)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return response

    def _end_thinking(self, running: Running) -> None:
        self._send(self._build(self._http, "POST", _control_path(running), _END_THINKING, None, running.server))

    def _call(self, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float]) -> Any:
        return self._send(self._build(self._http, method, path, body, deadline))


# ---- asyncio ---------------------------------------------------------------------------------------------------------

class AsyncClient(_Base):
    """Client for asyncio: the same calls, awaited; `async for` over stream."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None):
        super().__init__(api_key, priority, timeout)
        self._transport = AsyncTransport(servers, retry, inner=transport)
        self._http = httpx.AsyncClient(base_url=self._transport.targets.all[0].address, transport=self._transport)

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        response = await self._call("POST", "/v1/chat/completions", _chat_body(messages, False, fields), deadline)
        return _answer(response.json(), response.headers.get("x-request-id", ""))

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncStream:
        running = Running()
        return AsyncStream(self._pieces(running, _chat_body(messages, True, fields), deadline), running, self._end_thinking)

    async def _pieces(self, running: Running, body: Dict[str, Any], deadline: Optional[float]) -> AsyncGenerator[Delta, None]:
        response = await self._send(self._build(self._http, "POST", "/v1/chat/completions", body, deadline), stream=True)
        _started(running, response)
        try:
            async for line in response.aiter_lines():
                for delta in _deltas(line, running):
                    yield delta
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        finally:
            await response.aclose()

    async def complete(self, prompt: Union[str, Sequence[int]], *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        response = await self._call("POST", "/v1/completions", {"prompt": prompt, **fields}, deadline)
        return _answer(response.json(), response.headers.get("x-request-id", ""))

    async def tokenize(self, text: str, **fields: Any) -> List[int]:
        return list((await self._call("POST", "/tokenize", {"prompt": text, **fields}, None)).json()["tokens"])

    async def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return str((await self._call("POST", "/detokenize", {"tokens": list(tokens), **fields}, None)).json()["prompt"])

    async def models(self) -> List[Model]:
        return _models((await self._call("GET", "/v1/models", None, None)).json())

    async def warm_up(self) -> None:
        await self._call("GET", "/v1/models", None, None)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    async def _send(self, request: Any, stream: bool = False) -> Any:
        try:
            response = await self._http.send(request, stream=stream)
            if response.status_code != 200:
                await response.aread()
                raise _error(response)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return response

    async def _end_thinking(self, running: Running) -> None:
        await self._send(self._build(self._http, "POST", _control_path(running), _END_THINKING, None, running.server))

    async def _call(self, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float]) -> Any:
        return await self._send(self._build(self._http, method, path, body, deadline))
