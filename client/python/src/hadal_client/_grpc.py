# SPDX-License-Identifier: Apache-2.0
"""Client over gRPC, for threads. It wants `pip install hadal-client[grpc]`."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Generator, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import grpc

from . import _checks
from . import _grpc_batches as batches
from . import _grpc_calls as calls
from . import _inference_pb2 as pb
from ._batches import Batch, answers_in, id_of
from ._cache import Cache
from ._download import Download, Progress, told
from ._errors import DeadlineExceeded, HadalError, ServerUnreachable, check_reached
from ._grpc_attempts import Attempt, Attempts
from ._grpc_calls import Base, Question, T, note_load
from ._grpc_messages import delta_of
from ._hedging import first_of
from ._retry import RetryOptions, Target
from ._sharing import Flights, deadline_at, seconds_left
from ._stream import Running, Stream
from ._types import Answer, Delta, Load, Messages, Model, Prompt


class GrpcClient(Base):
    """Client over gRPC, with the same calls and the same behaviour; `servers` are HOST:PORT. Thread-safe. With TLS
    (grpcs://HOST:PORT, `ca_file`, or `credentials` of grpc) the servers show a certificate of an authority in the PEM file `ca_file`, else of one that
    gRPC knows."""

    def __init__(self, servers: Union[str, Sequence[str]] = "127.0.0.1:8000", *, api_key: Optional[str] = None, priority: Optional[str] = None,
                 retry: RetryOptions = RetryOptions(), credentials: Optional[grpc.ChannelCredentials] = None, ca_file: Optional[str] = None,
                 cache: Optional[Cache] = None, coalesce: bool = False, max_calls: Optional[int] = None):
        super().__init__(grpc, servers, retry, api_key, priority, credentials, ca_file, cache, coalesce, max_calls)
        self._flights = Flights(self._asker)

    def chat(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._answer(self._chat(messages, fields), deadline, fields)

    def complete(self, prompt: Prompt, *, deadline: Optional[float] = None, **fields: Any) -> Answer:
        return self._answer(self._generate(prompt, fields), deadline, fields)

    def complete_all(self, prompts: Sequence[Prompt], *, deadline: Optional[float] = None, max_in_flight: int = 32, **fields: Any) -> List[Answer]:
        """Continues many texts, or many batches of token ids, at most `max_in_flight` at once; gRPC has no call for several, and the server computes them
        in the same steps. The answers come in the order of the prompts; the first error is raised. `deadline` is of the whole."""
        until = deadline_at(deadline)
        with ThreadPoolExecutor(max(1, max_in_flight)) as threads:
            asked = [threads.submit(lambda one: self.complete(one, deadline=seconds_left(until), **fields), prompt) for prompt in calls.one_each(prompts, fields)]
            try:
                return [call.result() for call in asked]
            finally:
                for call in asked:
                    call.cancel()  # those that have not begun

    def stream(self, messages: Messages, *, deadline: Optional[float] = None, **fields: Any) -> Stream:
        """The answer as it is written; the first piece asks for it."""
        running = Running()
        return Stream(self._pieces(running, self._chat(messages, fields), deadline), running, self._end_thinking)

    def _pieces(self, running: Running, request: Any, deadline: Optional[float]) -> Generator[Delta, None, None]:
        for response in self._responses(self._generation(request, deadline, running)):
            delta = delta_of(response, running)
            if delta is not None:
                yield delta
        running.check_whole()

    def _end_thinking(self, running: Running) -> None:
        self._ask(calls.end_thinking(running), running.server)

    def tokenize(self, text: str, **fields: Any) -> List[int]:
        return self._ask(calls.tokenize(text, fields))

    def detokenize(self, tokens: Iterable[int], **fields: Any) -> str:
        return self._ask(calls.detokenize(tokens, fields))

    def models(self) -> List[Model]:
        return self._ask(calls.models())

    def submit_batch(self, questions: Mapping[str, Messages], **fields: Any) -> Batch:
        """Questions by names of yours, which may be answered within a day: they run in what others leave free, and outlive this program."""
        file, keeper = self._ask_whom(batches.upload(questions, fields))
        return self._ask(batches.creation(file, keeper.address), keeper)

    def batch(self, batch: Union[str, Batch]) -> Batch:
        """How it stands. By its id alone where there is one server."""
        keeper = self._keeper(batch)
        return self._ask(batches.state(id_of(batch), keeper.address), keeper)

    def cancel_batch(self, batch: Union[str, Batch]) -> Batch:
        """What has been answered is kept."""
        keeper = self._keeper(batch)
        return self._ask(batches.cancelling(id_of(batch), keeper.address), keeper)

    def batch_answers(self, batch: Batch, *, progress: Optional[Progress] = None) -> Dict[str, Union[Answer, HadalError]]:
        """Of a batch that has ended: what came of each question, an Answer or an error, which is not raised. A download that breaks off goes on where it was;
        `progress(bytes that are here, bytes in all)` is called as they come."""
        found: Dict[str, Union[Answer, HadalError]] = {}
        before = 0
        for file in batch.files:
            download = Download(self.targets.options, told(progress), before)
            while not download.ended:
                try:
                    for piece in self._responses(self._rest_of(file, self._keeper(batch), download)):
                        download.got_message(piece)
                    download.ends()
                except HadalError as error:
                    time.sleep(download.broke_off(error))
            before += download.offset
            found.update(answers_in(download.content().decode()))
        return found

    def load(self) -> List[Load]:
        """Of each server; ServerUnreachable when one does not say it."""
        with ThreadPoolExecutor(len(self._channels)) as threads:
            return list(threads.map(self._load_of, self._channels))

    def _load_of(self, target: Target) -> Load:
        try:
            return self._ask(calls.load(target.address), target, calls.LOAD_TIMEOUT_S)
        except (DeadlineExceeded, ServerUnreachable) as error:
            raise ServerUnreachable(f"{target.address}: {error}") from error

    def _ask_for_load(self, channel: Any) -> Any:
        return self._load_stub(channel).future(pb.GetLoadRequest(), **self._load_options())

    def warm_up(self, timeout: float = 10.0) -> None:
        """Resolves names and opens the connections ahead of the first call. ServerUnreachable names those that have none after so many seconds."""
        until = time.monotonic() + _checks.seconds("timeout", timeout, least=0.001)
        away = []
        for target, ready in [(target, grpc.channel_ready_future(channel)) for target, channel in self._channels.items()]:
            try:
                ready.result(max(0.0, until - time.monotonic()))
            except grpc.FutureTimeoutError:
                ready.cancel()
                away.append(target)
        check_reached([target.address for target in away], timeout)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _answer(self, request: Any, deadline: Optional[float], fields: Dict[str, Any]) -> Answer:
        def make(left: Optional[float]) -> Answer:
            attempts = self._generation(request, left)
            for _ in self._responses(attempts):
                pass
            return attempts.answer

        return self._flights.ask(self._answer_key(request, fields), deadline, make)

    def _begin(self, attempts: Attempts) -> Attempt:
        for target in self.targets.to_ask_for_load():
            self._ask_for_load(self._channels[target]).add_done_callback(functools.partial(note_load, target))
        while True:
            attempt = attempts.begin()
            if attempt is not None:
                return attempt
            time.sleep(attempts.wait())

    def _answered(self, attempts: Attempts) -> Attempt:
        """The attempt whose answer has begun."""
        while True:
            attempt = first_of(_wait, self._begin(attempts), attempts.hedge, attempts.call.hedge_delay())
            if attempt is not None:
                return attempt

    def _responses(self, attempts: Attempts) -> Iterator[Any]:
        with attempts.take():
            while True:
                attempt = self._answered(attempts)
                try:
                    response = attempt.first
                    while response is not None:
                        yield attempts.received(response)
                        response = next(attempt.call, None)
                    attempt.note_load(attempt.call.trailing_metadata())
                    return
                except grpc.RpcError as error:
                    attempt.failed(error)
                finally:
                    attempt.cancel()

    def _ask(self, question: Question[T], only: Optional[Target] = None, deadline: Optional[float] = None) -> T:
        return self._ask_whom(question, only, deadline)[0]

    def _ask_whom(self, question: Question[T], only: Optional[Target] = None, deadline: Optional[float] = None) -> Tuple[T, Target]:
        """The answer, and who gave it."""
        attempts = self._question(question, only, deadline)
        with attempts.take():
            attempt = self._answered(attempts)
            attempt.note_load(attempt.call.trailing_metadata())
            attempt.cancel()
            return question.read(attempt.first), attempt.target


def _wait(attempt: Attempt) -> None:
    """Until its answer begins, or there is none."""
    try:
        attempt.first = next(attempt.call, None) if attempt.streams else attempt.call.result()
    except grpc.RpcError as error:
        attempt.error = error
