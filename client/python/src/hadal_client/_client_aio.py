# SPDX-License-Identifier: Apache-2.0
"""Client over HTTP, for asyncio."""

from __future__ import annotations

import time
from typing import Any, AsyncGenerator, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from ._batches import Batch, answers_in, batch_of, id_of, keeper_of, lines_of, submission_of
from ._cache import Cache
from ._errors import HadalError
from ._http import SERVER, AsyncTransport
from ._http_messages import (END_THINKING, Base, answer_of, answers_of, batches_of, chat_body, control_path, deltas_of, error_of, models_of, note_start,
                             unreachable)
from ._httpx import httpx
from ._retry import RetryOptions
from ._sharing import Asker, AsyncFlights
from ._stream import AsyncStream, Running
from ._types import Answer, Delta, Messages, Model, Prompt

Servers = Union[str, Sequence[str]]


class AsyncClient(Base):
    """Client for asyncio: the same calls, awaited; `async for` over stream."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False):
        super().__init__(api_key, priority, timeout)
        self._transport = AsyncTransport(servers, retry, inner=transport)
        addresses = [target.address for target in self._transport.targets.all]
        self._asker = Asker("http", addresses, api_key, transport is not None, cache, coalesce)
        self._flights = AsyncFlights(self._asker)
        self._http = httpx.AsyncClient(base_url=addresses[0], transport=self._transport)

    async def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer("/v1/chat/completions", chat_body(messages, False, fields), deadline, fields)

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> AsyncStream:
        running = Running()
        return AsyncStream(self._pieces(running, chat_body(messages, True, fields), deadline), running, self._end_thinking)

    async def _pieces(self, running: Running, body: Dict[str, Any], deadline: Optional[float]) -> AsyncGenerator[Delta, None]:
        response = await self._send(self._build(self._http, "POST", "/v1/chat/completions", body, deadline), stream=True)
        note_start(running, response)
        try:
            async for line in response.aiter_lines():
                for delta in deltas_of(line, running):
                    yield delta
        except httpx.TransportError as error:
            raise unreachable(error) from error
        finally:
            await response.aclose()

    async def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return await self._answer("/v1/completions", {"prompt": prompt, **fields}, deadline, fields)

    async def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, **fields: Any) -> List[Answer]:
        answers: List[Answer] = []
        until = None if deadline is None else time.monotonic() + deadline
        for batch in batches_of(prompts, fields):
            left = None if until is None else max(0.0, until - time.monotonic())
            response = await self._call("POST", "/v1/completions", {"prompt": batch, **fields}, left)
            answers += answers_of(response.json(), response.headers.get("x-request-id", ""))
        return answers

    async def tokenize(self, text: str, **fields: Any) -> List[int]:
        return list((await self._call("POST", "/tokenize", {"prompt": text, **fields}, None)).json()["tokens"])

    async def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return str((await self._call("POST", "/detokenize", {"tokens": list(tokens), **fields}, None)).json()["prompt"])

    async def models(self) -> List[Model]:
        return models_of((await self._call("GET", "/v1/models", None, None)).json())

    async def warm_up(self) -> None:
        await self._call("GET", "/v1/models", None, None)

    async def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        file = await self._send(self._build(self._http, "POST", "/v1/files", None, None, data={"purpose": "batch"},
                                     files={"file": ("questions.jsonl", lines_of(questions, fields))}))
        server = file.extensions[SERVER]
        return await self._batch("POST", "", server, submission_of(file.json()["id"]))

    async def batch(self, batch: Union[str, Batch]) -> Batch:
        return await self._batch("GET", "/" + id_of(batch), self._keeper(batch))

    async def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        return await self._batch("POST", f"/{id_of(batch)}/cancel", self._keeper(batch))

    async def batch_answers(self, batch: Batch) -> Dict[str, Union[Answer, HadalError]]:
        found: Dict[str, Union[Answer, HadalError]] = {}
        for file in batch.files:
            content = await self._send(self._build(self._http, "GET", f"/v1/files/{file}/content", None, None, self._keeper(batch)))
            found.update(answers_in(content.text))
        return found

    async def _batch(self, method: str, path: str, server: str, body: Optional[Dict[str, Any]] = None) -> Batch:
        response = await self._send(self._build(self._http, method, "/v1/batches" + path, body, None, server))
        return batch_of(response.json(), server)

    def _keeper(self, batch: Union[str, Batch]) -> str:
        return keeper_of(batch, [target.address for target in self._transport.targets.all])

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
                raise error_of(response)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        return response

    async def _end_thinking(self, running: Running) -> None:
        await self._send(self._build(self._http, "POST", control_path(running), END_THINKING, None, running.server))

    async def _answer(self, path: str, body: Dict[str, Any], deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        async def make(left: Optional[float]) -> Answer:
            response = await self._call("POST", path, body, left)
            return answer_of(response.json(), response.headers.get("x-request-id", ""))

        return await self._flights.ask(self._asker.key(path, fields, body), deadline, make)

    async def _call(self, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float]) -> Any:
        return await self._send(self._build(self._http, method, path, body, deadline))
