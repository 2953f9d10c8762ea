# SPDX-License-Identifier: Apache-2.0
"""The attempts at a call over gRPC. gRPC's own retries are off, since they know no tickets."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from . import _load_reports as load_reports
from ._errors import ServerUnreachable
from ._grpc_channels import Channels
from ._grpc_fields import PRIORITIES
from ._grpc_messages import HTTP_STATUS, WholeAnswer, broken, error_of, refusal_of, unanswered
from ._retry import Call, Refusal, Target
from ._stream import Running
from ._types import Answer
from ._window import Place, Window

_LONGEST_S = 1e8  # gRPC takes more for a time that has passed
_SERVICE = "/hadal.v1.Inference/"
_PRIORITY_NAMES: Dict[Any, str] = {value: name for name, value in PRIORITIES.items()}


def path_of(method: str) -> str:
    return method if method.startswith("/") else _SERVICE + method


def stub_of(channel: Any, method: str, request: Any, response: Any, streams: bool) -> Any:
    make = channel.unary_stream if streams else channel.unary_unary
    return make(path_of(method), request_serializer=request.SerializeToString, response_deserializer=response.FromString)


class Attempts:
    """A call through its attempts; whoever makes them only reads and sleeps:

        while True:
            attempt = attempts.begin()    # None: sleep(attempts.wait()) first
            ... attempt.call: what has come of it goes to attempt.first or attempt.error, and attempts.hedge() beside it where it is slow ...
            if not attempt.judge():       # raises what its caller gets, unless another attempt may follow
                continue
            try:
                ... attempts.received(response) ...
                return
            except grpc.RpcError as error:
                attempt.failed(error)     # raises or not, like judge
            finally:
                attempt.cancel()

    All that within `with attempts.take():`, for asyncio `with await attempts.take_async():`."""

    def __init__(self, client: Channels, method: str, request: Any, response: Any, streams: bool, deadline: Optional[float] = None,
                 running: Optional[Running] = None, only: Optional[Target] = None, once: bool = False, whole: bool = False, sends: Any = None):
        """`sends`, `once`: as of a Question. `whole`: read to its end before its caller gets it."""
        self.client = client
        self.method = method
        self.request = request
        self.response = response
        self.streams = streams
        self.sends = sends
        leaves_something = once or sends is not None
        self.call = Call(client.targets, deadline, only=only, kind=None if leaves_something or only is not None else "stream" if streams else "question")
        # What is about a call that has a place needs none of its own.
        self._window = client._window if only is None else Window(None)
        self._once = once
        self._running = running
        self._whole = WholeAnswer() if whole else None
        self._error: Any = None  # of the last attempt
        self._begun = False

    def take(self) -> Place:
        """The place among the client's calls that it has until its end."""
        return self._window.take(self.call.remaining())

    async def take_async(self) -> Place:
        return await self._window.take_async(self.call.remaining())

    def begin(self) -> Optional[Attempt]:
        """The attempt that is made now, or None: it is not the time yet."""
        target = self.call.begin()
        return None if target is None else Attempt(self, target)

    def hedge(self) -> Optional[Attempt]:
        """A second one beside the one that is under way, if there may be one."""
        target = self.call.hedge()
        return None if target is None else Attempt(self, target, hedge=True)

    def wait(self) -> float:
        """Seconds until the next attempt; without one it raises why the last one failed."""
        seconds = self.call.wait()
        if seconds is not None:
            return seconds
        raise ServerUnreachable("no server may be called before the deadline") if self._error is None else error_of(self._error, self.call)

    def served(self, target: Target) -> None:
        """The answer has begun. Where its caller gets the pieces this attempt is the last one."""
        self._begun = True
        self.call.served(target)
        if self._running is not None:
            self._running.server = target

    def received(self, response: Any) -> Any:
        """A piece of the answer."""
        if self._running is not None and not self._running.answer_id:
            self._running.request_id = self._running.answer_id = response.request_id
        if self._whole is not None:
            self._whole.add(response)
        return response

    @property
    def answer(self) -> Answer:
        """The whole of it, once it has ended; for whoever reads no pieces."""
        assert self._whole is not None
        return self._whole.answer

    def failed(self, target: Target, error: Any) -> None:
        """The server is free of it. Raises what its caller gets, unless another attempt may follow."""
        if self._begun and self._whole is None:
            target.finish()
            raise (error_of(error, self.call) if self._running is None else broken(error, self._running)) from error
        if self._begun:  # nobody has seen a part of it
            self._begun = False
            self._whole = WholeAnswer()
        self._error = error
        refusal, _ = refusal_of(error)
        if unanswered(error):
            self.call.failed(target)
            if self._once:
                raise error_of(error, self.call) from error
        elif refusal is not None:
            self.call.refused(refusal, target)
        else:
            self.call.refused(Refusal(HTTP_STATUS.get(error.code().name, 500), should_retry=False), target)
            raise error_of(error, self.call) from error

    def hedge_failed(self, target: Target, error: Any) -> None:
        """The attempt beside it tells its caller."""
        refusal, _ = refusal_of(error)
        if unanswered(error):
            self.call.failed(target)
        elif refusal is not None:
            self.call.refused(refusal, target)
        else:
            target.answered()
            target.finish()


class Attempt:
    """One of them, at one server."""

    def __init__(self, whole: Attempts, target: Target, hedge: bool = False):
        self.target = target
        self.first: Any = None   # of the answer; None: it has ended without a piece
        self.error: Any = None   # instead
        self.streams = whole.streams
        self._whole = whole
        self._hedge = hedge
        self._over = False
        self.call = self._send()

    def judge(self) -> bool:
        """Whether the answer has begun."""
        if self.error is None:
            self._whole.served(self.target)
        else:
            self.failed(self.error)
        return self.error is None

    def note_load(self, trailers: Any) -> None:
        """What the server says of its load at the end of the attempt."""
        report = dict(trailers or ()).get(load_reports.REPORT, "")
        if isinstance(report, str):
            load_reports.note(self.target, report, runs=False)

    def failed(self, error: Any) -> None:
        self.note_load(error.trailing_metadata())
        self._over = True
        if self._hedge and error is self.error:
            self._whole.hedge_failed(self.target, error)
        else:
            self._whole.failed(self.target, error)

    def cancel(self) -> None:
        """The attempt is over, be it that its caller has gone."""
        self.call.cancel()
        if not self._over:
            self._over = True
            self.target.finish()

    async def acancel(self) -> None:
        self.cancel()

    def _send(self) -> Any:
        """What gRPC's stub returns for it: of a stream its pieces, else with threads a future, in asyncio what is awaited."""
        whole = self._whole
        options = {"timeout": min(whole.call.remaining(), _LONGEST_S), "metadata": self._metadata()}
        channel = whole.client._channels[self.target]
        if whole.sends is not None:
            stub = channel.stream_unary(path_of(whole.method), request_serializer=whole.sends.SerializeToString,
                                        response_deserializer=whole.response.FromString)
            request = whole.request()
        else:
            stub = stub_of(channel, whole.method, type(whole.request), whole.response, whole.streams)
            request = whole.request
        return (stub.future if whole.client.threads and not whole.streams else stub)(request, **options)

    def _metadata(self) -> List[Tuple[str, str]]:
        # The deadline is the call's own, by grpc-timeout.
        headers = self._whole.call.headers(self.target)
        metadata = self._whole.client._key + [(name, value) for name, value in headers.items() if name != "x-hadal-deadline-ms"]
        if len(self._whole.client.targets.all) > 1:
            metadata.append(load_reports.ASK)
        # Whether a call is let in is decided before its message is read.
        priority = _PRIORITY_NAMES.get(getattr(self._whole.request, "priority", None))
        return metadata if priority is None else [*metadata, ("x-hadal-priority", priority)]
