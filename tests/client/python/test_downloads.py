# SPDX-License-Identifier: Apache-2.0
"""The answers of a batch whose download breaks off: it goes on where it was, and says how far it is."""

import contextlib
import json
import socket
import threading
import time
from concurrent import futures

import grpc
import pytest

import hadal_client
from client_kinds import KINDS, waited
from hadal_client import RetryOptions
from hadal_client import _batches_pb2 as pb
from hadal_client._batches import Batch, answers_in
from hadal_client._httpx import httpx
from hadal_process import HadalProcess

QUICK = RetryOptions(initial_backoff=0.01, max_attempts=3)


class CuttingRelay:
    """Between a client and a server: breaks connections off after so many bytes of the server, so often; then it lets all through."""

    def __init__(self, server, after, times):
        self._server, self._after, self.left = server, after, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.passed = []  # bytes of the server, of each connection
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._server.port)) as server:
            sender = threading.Thread(target=self._copy, args=(client, server), daemon=True)
            sender.start()
            passed, number = 0, len(self.passed)
            self.passed.append(0)
            while True:
                data = server.recv(16384)
                if not data:
                    return
                cut = self.left > 0 and passed + len(data) > self._after
                data = data[:self._after - passed] if cut else data
                client.sendall(data)
                passed += len(data)
                self.passed[number] = passed
                if cut:
                    self.left -= 1
                    client.shutdown(socket.SHUT_WR)
                    sender.join()  # a socket that is closed with something unread takes back what it has sent
                    return

    @staticmethod
    def _copy(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(16384):
                server.sendall(data)

    def close(self):
        self._listener.close()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A server with a batch that has ended, whose answers are some 300 kB."""
    with HadalProcess("--load-format=null:1ms", f"--batch-store={tmp_path_factory.mktemp('store') / 'b.db'}") as server:
        with hadal_client.Client(server.url) as client:
            batch = client.submit_batch({f"q{number}": "x" for number in range(400)}, max_tokens=60, ignore_eos=True)
            deadline = time.monotonic() + 120
            while not client.batch(batch).ended:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield server, client.batch(batch)


def moved(batch, kind, relay):
    """As the client knows it that goes through the relay."""
    return Batch(batch.id, batch.status, batch.total, batch.completed, batch.failed, [], batch.files, relay.url if kind.startswith("http") else f"127.0.0.1:{relay.port}")


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_where_it_broke_off(done, kind):
    server, batch = done
    after, times = (60_000, 3) if kind.startswith("http") else (300_000, 1)  # over gRPC in pieces of 256 KiB
    relay = CuttingRelay(server, after, times)
    client = KINDS[kind]([relay], retry=QUICK)
    seen = []
    answers = client.batch_answers(moved(batch, kind, relay), progress=lambda here, all_of_it: seen.append((here, all_of_it)))
    assert len(answers) == 400 and all(answer.usage.completion_tokens == 60 for answer in answers.values())
    assert relay.left == 0, "it was cut"
    size = seen[-1][1]
    assert seen[-1] == (size, size) and size > 350_000
    assert [here for here, _ in seen] == sorted(here for here, _ in seen), "nothing came twice"
    assert all(all_of_it == size for _, all_of_it in seen)
    if kind.startswith("http"):  # gRPC may lose a message that has arrived when its connection breaks
        assert sum(relay.passed) < size + 60_000, "nor went over the wire twice"
    client.close()
    relay.close()


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_up_when_nothing_comes(done, kind):
    server, batch = done
    relay = CuttingRelay(server, after=150, times=10 ** 6)
    client = KINDS[kind]([relay], retry=QUICK)
    with pytest.raises(hadal_client.ServerUnreachable):
        client.batch_answers(moved(batch, kind, relay))
    client.close()
    relay.close()


def line(name):
    return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": {"choices": [{"message": {"content": name}}]}}}) + "\n"


FILE = (line("a") + line("b")).encode()


class Broken(httpx.SyncByteStream):
    def __init__(self, data):
        self._data = data

    def __iter__(self):
        yield self._data
        raise httpx.ReadError("gone")


@pytest.mark.parametrize("second", ["ranges", "no ranges", "another file", "all was there"])
def test_what_servers_do_with_a_range(second):
    asked = []

    def answer(request):
        at = int(request.headers["range"][6:-1])
        asked.append((at, request.headers.get("if-range")))
        if len(asked) == 1:
            size = len(FILE) if second == "all was there" else 100
            first = {"content-range": f"bytes 0-{len(FILE) - 1}/{len(FILE)}", "etag": '"one"'} if second != "no ranges" else {}
            return httpx.Response(206 if first else 200, headers=first, stream=Broken(FILE[:size]))
        if second == "ranges":
            return httpx.Response(206, headers={"content-range": f"bytes {at}-{len(FILE) - 1}/{len(FILE)}"}, content=FILE[at:])
        return httpx.Response(200, content=FILE if second == "no ranges" else line("c").encode())

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer), retry=QUICK) as client:
        found = client.batch_answers(Batch("b", "completed", files=("f",), server="http://a:1"))
    assert {name: one.text for name, one in found.items()} == ({"c": "c"} if second == "another file" else {"a": "a", "b": "b"})
    tag = None if second == "no ranges" else '"one"'
    assert asked == ([(0, None)] if second == "all was there" else [(0, None), (100, tag)])


def test_a_server_that_begins_anew_and_breaks_off_is_given_up():
    asked = []

    def answer(request):
        asked.append(request.headers["range"])
        return httpx.Response(200, stream=Broken(FILE[:100]))

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer), retry=QUICK) as client, pytest.raises(hadal_client.ServerUnreachable, match="gone"):
        client.batch_answers(Batch("b", "completed", files=("f",), server="http://a:1"))
    assert asked == ["bytes=0-", *["bytes=100-"] * 3], "one that brought something, and three that did not"


@pytest.mark.parametrize("kind", ["grpc", "grpc-async"])
@pytest.mark.parametrize("knows", [True, False], ids=["offsets", "no offsets"])
def test_what_grpc_servers_do_with_an_offset(kind, knows):
    offsets, seen = [], []

    def download(request, context):
        offsets.append(request.offset)
        at = request.offset if knows else 0
        pieces = [FILE[start:start + 20] for start in range(at, len(FILE), 20)]
        for number, piece in enumerate(pieces):
            yield pb.DownloadFileResponse(data=piece, file_bytes=len(FILE) if knows and number == 0 else 0)
            if number == 1 and len(offsets) < 4:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hadal.v1.Batches", {"DownloadFile": grpc.unary_stream_rpc_method_handler(
        download, request_deserializer=pb.DownloadFileRequest.FromString, response_serializer=pb.DownloadFileResponse.SerializeToString)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = f"127.0.0.1:{port}"
    client = hadal_client.GrpcClient(address, retry=QUICK) if kind == "grpc" else waited(hadal_client.AsyncGrpcClient, address, retry=QUICK)
    found = client.batch_answers(Batch("b", "completed", files=("f",), server=address), progress=lambda here, _: seen.append(here))
    assert {name: one.text for name, one in found.items()} == {"a": "a", "b": "b"} and seen[-1] == len(FILE)
    assert offsets == ([0, 40, 80, 120] if knows else [0, 40, 40, 40])
    client.close()
    server.stop(None)


def test_nonsense_is_named():
    with hadal_client.Client("http://a:1") as client, pytest.raises(ValueError, match="progress: expected a function of two numbers, found 5"):
        client.batch_answers(Batch("b", "completed", files=("f",), server="http://a:1"), progress=5)
    assert dict(answers_in("")) == {}
