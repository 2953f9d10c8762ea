# SPDX-License-Identifier: Apache-2.0
"""Client over HTTP, for threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Generator, Iterable, List, Mapping, Optional, Sequence, Union

from . import _checks
from . import _http_calls as calls
from ._batches import Batch, answers_in
from ._cache import Cache
from ._download import Download, Progress, told
from ._errors import DeadlineExceeded, HadalError, ServerUnreachable, check_reached
from ._http import Transport
from ._http_calls import Base, Question, T
from ._http_messages import Lines, check_ended, deltas_of, error_of, lost, note_start, unreachable
from ._httpx import httpx
from ._retry import RetryOptions
from ._sharing import Flights, deadline_at, seconds_left
from ._stream import Running, Stream
from ._types import Answer, Delta, Load, Messages, Model, Prompt

Servers = Union[str, Sequence[str]]


class Client(Base):
    """Calls one or several hadal servers over HTTP. Thread-safe. Close it, or use it as a context manager.

    `deadline` of a call: seconds that it may take, all attempts together; the server is told, and refuses at once what it cannot do in time.
    `fields`: everything else that the API takes, such as max_tokens, temperature, tools, response_format. `cache` answers `chat` and `complete` that are
    determined, by temperature 0 or a seed; with `coalesce` equal ones at the same time are one call. Both are off; streams are always asked for.
    `max_calls` are under way at once, a stream until its end; the others wait on this side, in order and within their deadlines. None: any number.
    `ca_file`: authorities in PEM that sign the certificates of https servers, instead of the well-known ones.
    `tcp_fast_open`: connections that are made again save a round trip where the kernel and the server have it; a network that delivers their first packet
    twice then has the request run twice."""

    def __init__(self, servers: Servers = "http://127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), timeout: float = 600.0, transport: Optional[Any] = None, ca_file: Optional[str] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False, max_calls: Optional[int] = None, tcp_fast_open: bool = False):
        own = Transport(servers, retry, max_calls=max_calls, inner=transport, ca_file=ca_file, tcp_fast_open=tcp_fast_open)
        super().__init__(own, transport is not None, api_key, priority, timeout, cache, coalesce)
        self._flights = Flights(self._asker)
        self._http = httpx.Client(base_url=self._addresses[0], transport=self._transport)

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """The whole answer."""
        return self._answer(calls.chat(messages, fields), deadline, fields)

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Stream:
        """The answer as it is written; the first piece asks for it."""
        running = Running()
        return Stream(self._pieces(running, calls.chat_stream(messages, fields), deadline), running, self._end_thinking)

    def _pieces(self, running: Running, question: Question[Any], deadline: Optional[float]) -> Generator[Delta, None, None]:
        response = self._send(question, deadline, stream=True)
        note_start(running, response)
        try:
            lines = Lines()
            for chunk in response.iter_bytes():
                for line in lines.of(chunk):
                    yield from deltas_of(line, running)
            for line in lines.last():
                yield from deltas_of(line, running)
            check_ended(running)
        except httpx.TransportError as error:
            raise lost(error, running) from error
        finally:
            response.close()

    def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        """Continues a text or token ids; no chat template."""
        return self._answer(calls.complete(prompt, fields), deadline, fields)

    def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, **fields: Any) -> List[Answer]:
        """Continues many texts, or many batches of token ids, in one call (of 128 each); the answers come in the order of the prompts when the last
        one is done. The usage of a call stands in its first answer. Asks always, whatever is in the cache."""
        answers: List[Answer] = []
        until = deadline_at(deadline)
        for question in calls.complete_all(prompts, fields):
            answers += self._ask(question, seconds_left(until))
        return answers

    def tokenize(self, text: str, **fields: Any) -> List[int]:
        return self._ask(calls.tokenize(text, fields))

    def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return self._ask(calls.detokenize(tokens, fields))

    def models(self) -> List[Model]:
        return self._ask(calls.models())

    def load(self) -> List[Load]:
        """Of each server; ServerUnreachable when one does not say it."""
        with ThreadPoolExecutor(len(self._addresses)) as threads:
            return list(threads.map(self._load_of, self._addresses))

    def _load_of(self, server: str) -> Load:
        try:
            return self._ask(calls.load(server), calls.LOAD_TIMEOUT_S)
        except (DeadlineExceeded, ServerUnreachable) as error:
            raise ServerUnreachable(f"{server}: {error}") from error

    def warm_up(self, timeout: float = 10.0) -> None:
        """Resolves names and opens a connection to each server ahead of the first call. ServerUnreachable names those that have none after so many
        seconds."""
        timeout = _checks.seconds("timeout", timeout, least=0.001)
        with ThreadPoolExecutor(len(self._addresses)) as threads:
            reached = list(threads.map(lambda server: self._reaches(server, timeout), self._addresses))
        check_reached([server for server, there in zip(self._addresses, reached) if not there], timeout)

    def _reaches(self, server: str, timeout: float) -> bool:
        try:
            self._ask(calls.sign_of_life(server), timeout)
        except (ServerUnreachable, DeadlineExceeded):
            return False
        except HadalError:
            pass  # whatever it says, it is there
        return True

    def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        """Questions by names of yours, which may be answered within a day: they run in what others leave free, and outlive this program."""
        return self._ask(self._ask(calls.batch_file(questions, fields)))

    def batch(self, batch: Union[str, Batch]) -> Batch:
        """How it stands. By its id alone where there is one server."""
        return self._ask(self._of_batch(batch))

    def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        """What has been answered is kept."""
        return self._ask(self._of_batch(batch, "POST", "/cancel"))

    def batch_answers(self, batch: Batch, *, progress: Optional[Progress] = None) -> Dict[str, Union[Answer, HadalError]]:
        """Of a batch that has ended: what came of each question, an Answer or an error, which is not raised. A download that breaks off goes on where it was;
        `progress(bytes that are here, bytes in all)` is called as they come."""
        found: Dict[str, Union[Answer, HadalError]] = {}
        before = 0
        for file in batch.files:
            download = Download(self._transport.targets.options, told(progress), before)
            while not download.ended:
                try:
                    self._download(file, batch, download)
                except HadalError as error:
                    time.sleep(download.broke_off(error))
            before += download.offset
            found.update(answers_in(download.content().decode()))
        return found

    def _download(self, file: str, batch: Batch, download: Download) -> None:
        question = self._rest_of(file, batch, download)
        response = self._send(question, None, stream=True)
        try:
            download.begins_http(response.status_code, response.headers)
            for chunk in response.iter_bytes():
                download.got(chunk)
        except httpx.TransportError as error:
            raise unreachable(error, response.request) from error
        finally:
            response.close()
        download.ends()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _end_thinking(self, running: Running) -> None:
        self._ask(calls.end_thinking(running))

    def _answer(self, question: Question[Answer], deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        return self._flights.ask(self._key(question, fields), deadline, lambda left: self._ask(question, left))

    def _ask(self, question: Question[T], deadline: Optional[float] = None) -> T:
        return question.read(self._send(question, deadline))

    def _send(self, question: Question[T], deadline: Optional[float], stream: bool = False) -> Any:
        request = self._build(self._http, question, deadline)
        try:
            response = self._http.send(request, stream=stream)
            if response.status_code not in (200, 206):
                response.read()
                raise error_of(response)
        except httpx.TransportError as error:
            raise unreachable(error, request) from error
        return response
