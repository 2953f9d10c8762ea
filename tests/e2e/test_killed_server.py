# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of one of two servers under load, behind each gateway and without one: it loses its own streams and nothing else, and whoever read one
of them gets an error of the kind that docs/kubernetes.md promises."""
import collections
import contextlib
import http.client
import json
import pathlib
import sys
import threading
import time
import types

import grpc
import openai
import pytest

from gateway_fleet import answer, ask, kill, start_fleet, stub_of
from hadal_process import HadalProcess
from test_grpc import RETRY, long_request

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "client/python/src"))

import hadal_client  # noqa: E402

SLOW = "--load-format=null:20ms"
TOKENS = 700
# What gRPC's library makes of a stream that its gateway cuts off; of a lost server itself it says UNAVAILABLE. None of them is OK.
CUT = {"haproxy": grpc.StatusCode.UNKNOWN, "edge": grpc.StatusCode.UNKNOWN, "nginx": grpc.StatusCode.INTERNAL, "edge-nginx": grpc.StatusCode.INTERNAL,
       "none": grpc.StatusCode.UNAVAILABLE}
STREAMS = 3  # of each kind of client


@pytest.fixture(params=["none", "haproxy", "nginx", "edge", "edge-nginx"])
def fleet(request, tmp_path):
    """(name of the gateway, its ports for HTTP and gRPC by turns, the servers). Without a gateway clients have one server each."""
    from gateway_process import binary

    if request.param == "none":
        with HadalProcess(SLOW) as one, HadalProcess(SLOW) as two:
            yield "none", [types.SimpleNamespace(port=server.port, grpc_port=server.port, url=server.url) for server in (one, two)], (one, two)
        return
    if binary(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with start_fleet(request.param, tmp_path, SLOW) as (process, servers):
        yield request.param, [process, process], servers


class Reader(threading.Thread):
    """Reads a stream on a thread of its own: `begun` once something has come, `outcome` at its end. `read` makes what it asks
    with and then waits at `start_line`, so that all streams begin at about the same time on a slow machine, too."""

    def __init__(self, read, go):
        super().__init__(daemon=True)
        self.read, self.go, self.ready, self.begun, self.outcome = read, go, threading.Event(), threading.Event(), None
        self.start()

    def start_line(self):
        self.ready.set()
        assert self.go.wait(120)

    def run(self):
        try:
            self.outcome = self.read(self.start_line, self.begun)
        except BaseException as error:
            self.outcome = repr(error)
            raise
        finally:
            self.ready.set()
            self.begun.set()


def raw_events(door):
    """The bytes of the stream, as they are on the wire."""

    def read(start_line, begun):
        connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
        start_line()
        body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": TOKENS, "ignore_eos": True, "stream": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        text, whole = response.readline(), True
        begun.set()
        try:
            while piece := response.read1():
                text += piece
        except http.client.IncompleteRead:
            whole = False
        connection.close()
        # All events that came are whole but perhaps the last, and none of a lost stream claims to be its end.
        ended = b"[DONE]" in text
        assert ended == (b'"finish_reason":"length"' in text.replace(b" ", b""))
        return "whole" if whole and ended else "cut" if not whole and not ended else f"ended without a word: {text[-200:]}"

    return read


def by_openai(door):
    def read(start_line, begun):
        client = openai.OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0, timeout=60)
        start_line()
        stream = client.completions.create(model="hadal-demo", prompt="x", max_tokens=TOKENS, stream=True, extra_body={"ignore_eos": True})
        last = None
        try:
            for last in stream:
                begun.set()
        except openai.APIConnectionError as error:
            return "cut" if "incomplete chunked read" in str(error.__cause__) else str(error.__cause__)
        return "whole" if last.choices[0].finish_reason == "length" else "ended without a word"

    return read


def by_grpc(door, stubs, code):
    def read(start_line, begun):
        with stub_of(door.grpc_port, stubs) as stub:
            start_line()
            last, call = None, stub.Generate(long_request(stubs, TOKENS), timeout=60)
            try:
                for last in call:
                    begun.set()
            except grpc.RpcError as error:
                assert "x-request-id" not in dict(error.trailing_metadata()), "hadal has not said it"
                return "cut" if error.code() == code else str(error.code())
            return "whole" if last.usage.completion_tokens == TOKENS else "ended without a word"

    return read


def by_hadal_client(make):
    def read(start_line, begun):
        with make() as client:
            start_line()
            came = 0
            try:
                for delta in client.stream([{"role": "user", "content": "x"}], max_tokens=TOKENS, ignore_eos=True):
                    came += 1
                    begun.set()
            except hadal_client.AnswerInterrupted as error:
                return "cut" if came and error.answer.text + error.answer.reasoning else "cut without what had come"
            return "whole"

    return read


def test_it_loses_its_own_streams_and_their_readers_are_told(fleet, stubs):
    name, doors, (one, two) = fleet
    readers, go = [], threading.Event()
    for number in range(STREAMS):
        door = doors[number % 2]
        for read in (raw_events(door), by_openai(door), by_grpc(door, stubs, CUT[name]), by_hadal_client(lambda door=door: hadal_client.Client(door.url)),
                     by_hadal_client(lambda door=door: hadal_client.GrpcClient(f"127.0.0.1:{door.grpc_port}"))):
            readers.append(Reader(read, go))
    for reader in readers:
        assert reader.ready.wait(120)
    go.set()
    for reader in readers:
        assert reader.begun.wait(60) and reader.outcome is None, reader.outcome
    lost, kept = one.metric("hadal_requests_running"), two.metric("hadal_requests_running")
    assert lost and kept and lost + kept == len(readers)
    kill(one)
    for reader in readers:
        reader.join(60)
    assert collections.Counter(reader.outcome for reader in readers) == {"cut": lost, "whole": kept}


def test_what_had_not_begun_is_answered_by_the_other(gateway, tmp_path, stubs):
    """Requests that only wait have had no answer yet: HTTP and HAProxy's gRPC go to the other server by the gateway's doing, nginx's gRPC by the
    library's, after its pushback."""
    answers, threads = [], []
    with start_fleet(gateway, tmp_path, SLOW, "--max-batch-size=1", "--wait-limits=none") as (process, (one, two)), contextlib.ExitStack() as held:
        holders = []
        for server in (one, two):
            stub = held.enter_context(stub_of(server.port, stubs))
            holders.append(stub.Generate(long_request(stubs, 2000), timeout=60))
            next(holders[-1])

        def by_http():
            answers.append(ask(process.port, 3)[0])

        def by_grpc_with_retries():
            with stub_of(process.grpc_port, stubs, RETRY) as stub:
                answers.append(answer(stub, stubs, 3))

        for target in (by_http, by_grpc_with_retries) * 4:
            threads.append(threading.Thread(target=target))
            threads[-1].start()
            sum_of(one, two, "hadal_requests_waiting", len(threads))
        assert one.metric("hadal_requests_waiting") and two.metric("hadal_requests_waiting")
        kill(one)
        holders[1].cancel()
        for thread in threads:
            thread.join(60)
        with pytest.raises(grpc.RpcError) as caught:
            list(holders[0])
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert sorted(answers) == [3] * 4 + [200] * 4


def sum_of(one, two, metric, wanted):
    """Waits for it."""
    deadline = time.monotonic() + 30
    while (found := one.metric(metric) + two.metric(metric)) != wanted:
        assert time.monotonic() < deadline, f"{metric} is {found}, not {wanted}"
        time.sleep(0.02)
