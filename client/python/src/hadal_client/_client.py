# SPDX-License-Identifier: Apache-2.0
"""Client over HTTP, for threads."""

from __future__ import annotations

import time
from typing import Any, Dict, Generator, Iterable, List, Mapping, Optional, Sequence, Union

from ._batches import Batch, answers_in, batch_of, id_of, keeper_of, lines_of, submission_of
from ._cache import Cache
from ._errors import HadalError
from ._http import SERVER, Transport
from ._http_messages import (END_THINKING, Base, answer_of, answers_of, batches_of, chat_body, control_path, deltas_of, error_of, models_of, note_start,
                             unreachable)
from ._httpx import httpx
from ._retry import RetryOptions
from ._sharing import Asker, Flights
from ._stream import Running, Stream
from ._types import Answer, Delta, Messages, Model, Prompt

Servers = Union[str, Sequence[str]]


class Client(Base):
    """Calls one or several hadal servers over HTTP. Thread-safe. Close it, or use it as a context manager.

    `deadline` of a call: seconds that it may take, all attempts together; the server is told, and refuses at once what it cannot do in time.
    `fields`: everything else that the API takes, such as max_tokens, temperature, tools, response_format. `cache` answers `chat` and `complete` that are
    determined, by temperature 0 or a seed; with `coalesce` equal ones at the same time are one call. Both are off; streams are always asked for."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False):
        super().__init__(api_key, priority, timeout)
        self._transport = Transport(servers, retry, inner=transport)
        addresses = [target.address for target in self._transport.targets.all]
        self._asker = Asker("http", addresses, api_key, transport is not None, cache, coalesce)
        self._flights = Flights(self._asker)
        self._http = httpx.Client(base_url=addresses[0], transport=self._transport)

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """The whole answer."""
        return self._answer("/v1/chat/completions", chat_body(messages, False, fields), deadline, fields)

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Stream:
        """The answer as it is written; the first piece asks for it."""
        running = Running()
        return Stream(self._pieces(running, chat_body(messages, True, fields), deadline), running, self._end_thinking)

    def _pieces(self, running: Running, body: Dict[str, Any], deadline: Optional[float]) -> Generator[Delta, None, None]:
        response = self._send(self._build(self._http, "POST", "/v1/chat/completions", body, deadline), stream=True)
        note_start(running, response)
        try:
            for line in response.iter_lines():
                yield from deltas_of(line, running)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        finally:
            response.close()

    def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """Continues a text or token ids; no chat template."""
        return self._answer("/v1/completions", {"prompt": prompt, **fields}, deadline, fields)

    def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, **fields: Any) -> List[Answer]:
        """Continues many texts, or many batches of token ids, in one call (of 128 each); the answers come in the order of the prompts when the last
        one is done. The usage of a call stands in its first answer. Asks always, whatever is in the cache."""
        answers: List[Answer] = []
        until = None if deadline is None else time.monotonic() + deadline
        for batch in batches_of(prompts, fields):
            left = None if until is None else max(0.0, until - time.monotonic())
            response = self._call("POST", "/v1/completions", {"prompt": batch, **fields}, left)
            answers += answers_of(response.json(), response.headers.get("x-request-id", ""))
        return answers

    def tokenize(self, text: str, **fields: Any) -> List[int]:
        return list(self._call("POST", "/tokenize", {"prompt": text, **fields}, None).json()["tokens"])

    def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return str(self._call("POST", "/detokenize", {"tokens": list(tokens), **fields}, None).json()["prompt"])

    def models(self) -> List[Model]:
        return models_of(self._call("GET", "/v1/models", None, None).json())

    def warm_up(self) -> None:
        """Resolves names and opens a connection ahead of the first call."""
        self._call("GET", "/v1/models", None, None)

    def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        """Questions by names of yours, which may be answered within a day: they run in what others leave free, and outlive this program."""
        file = self._send(self._build(self._http, "POST", "/v1/files", None, None, data={"purpose": "batch"},
                                     files={"file": ("questions.jsonl", lines_of(questions, fields))}))
        server = file.extensions[SERVER]
        return self._batch("POST", "", server, submission_of(file.json()["id"]))

    def batch(self, batch: Union[str, Batch]) -> Batch:
        """How it stands. By its id alone where there is one server."""
        return self._batch("GET", "/" + id_of(batch), self._keeper(batch))

    def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        """What has been answered is kept."""
        return self._batch("POST", f"/{id_of(batch)}/cancel", self._keeper(batch))

    def batch_answers(self, batch: Batch) -> Dict[str, Union[Answer, HadalError]]:
        """Of a batch that has ended: what came of each question, an Answer or an error, which is not raised."""
        found: Dict[str, Union[Answer, HadalError]] = {}
        for file in batch.files:
            content = self._send(self._build(self._http, "GET", f"/v1/files/{file}/content", None, None, self._keeper(batch)))
            found.update(answers_in(content.text))
        return found

    def _batch(self, method: str, path: str, server: str, body: Optional[Dict[str, Any]] = None) -> Batch:
        response = self._send(self._build(self._http, method, "/v1/batches" + path, body, None, server))
        return batch_of(response.json(), server)

    def _keeper(self, batch: Union[str, Batch]) -> str:
        return keeper_of(batch, [target.address for target in self._transport.targets.all])

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
                raise error_of(response)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        return response

    def _end_thinking(self, running: Running) -> None:
        self._send(self._build(self._http, "POST", control_path(running), END_THINKING, None, running.server))

    def _answer(self, path: str, body: Dict[str, Any], deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        def make(left: Optional[float]) -> Answer:
            response = self._call("POST", path, body, left)
            return answer_of(response.json(), response.headers.get("x-request-id", ""))

        return self._flights.ask(self._asker.key(path, fields, body), deadline, make)

    def _call(self, method: str, path: str, body: Optional[Dict[str, Any]], deadline: Optional[float]) -> Any:
        return self._send(self._build(self._http, method, path, body, deadline))
