# SPDX-License-Identifier: Apache-2.0
"""A storm of 2,000 requests through both fronts, plain and under TLS, most of them cut off at a random moment: afterwards everything is
accounted for.

HADAL_STORM_REQUESTS sets another number, for long runs.
"""

import contextlib
import json
import os
import random
import socket
import ssl
import threading
import time

import grpc
import pytest

from hadal_process import descriptors
from tls_files import Authority

REQUESTS = int(os.environ.get("HADAL_STORM_REQUESTS", "2000"))
THREADS = 16


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.values = {}

    def add(self, key):
        with self.lock:
            self.values[key] = self.values.get(key, 0) + 1


def client_hello():
    """What a client of TLS sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def reset_at_end(connection):
    """A reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def http_call(server, rng, counts):
    body = json.dumps({"messages": [{"role": "user", "content": f"{rng.randrange(10000)} + {rng.randrange(10000)}"}],
                       "max_tokens": rng.choice([1, 20, 200]), "stream": rng.random() < 0.7, "n": rng.choice([1, 1, 3])}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    message = head + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        if server.tls and rng.random() < 0.2:  # gone in the middle of the handshake
            raw.sendall(client_hello()[:rng.randrange(1, 200)])
            if rng.random() < 0.5:
                reset_at_end(raw)
            return counts.add("http cut handshake")
        with contextlib.closing(server.tls.wrap_socket(raw, server_hostname="localhost") if server.tls else raw) as connection:
            fate = rng.random()
            if fate < 0.1:  # gone in the middle of the request
                connection.sendall(message[:rng.randrange(len(message))])
                return counts.add("http cut request")
            connection.sendall(message)
            if fate < 0.7:  # gone at some moment of the answer
                time.sleep(rng.random() * 0.05)
                if rng.random() < 0.5:
                    reset_at_end(connection)
                return counts.add("http cut answer")
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200") or answer.startswith(b"HTTP/1.1 503"), answer[:200]
            return counts.add("http " + answer[9:12].decode())


def grpc_call(stub, stubs, rng, counts):
    request = stubs.pb.ChatRequest(n=rng.choice([1, 1, 2]))
    request.messages.add(role="user", content=f"{rng.randrange(100)} * {rng.randrange(100)}")
    request.stopping.max_tokens = rng.choice([1, 20, 200])
    fate = rng.random()
    call = stub.Chat(request, timeout=0.05 * rng.random() if fate < 0.2 else 30)
    try:
        if fate < 0.4:
            time.sleep(rng.random() * 0.03)
            call.cancel()
        for index, _ in enumerate(call):
            if fate < 0.7 and index >= 2:
                call.cancel()
        counts.add("grpc ok")
    except grpc.RpcError as error:
        expected = error.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        # Some deadlines are shorter than an idle server needs; the server may say so before the client's own timer fires.
        hopeless = fate < 0.2 and error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details().startswith("the deadline leaves ")
        assert expected or hopeless, error
        counts.add(f"grpc {error.code().name}")


@pytest.fixture(params=["plain", "tls"])
def server(request, start_server, tmp_path):
    small = ("--max-queue-requests=64", "--max-batch-size=32", "--memory-budget=64MiB")
    if request.param == "plain":
        return start_server(*small)
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    server = start_server(*small, f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context())
    server.authority = authority.certificate.read_bytes()
    return server


def channel_to(server):
    options = [("grpc.enable_retries", 0)]
    if server.tls is None:
        return grpc.insecure_channel(server.target, options)
    return grpc.secure_channel(server.target, grpc.ssl_channel_credentials(server.authority), options)


def test_nothing_is_lost_in_a_storm_of_cancels(server, stubs):
    before = descriptors(server)
    channel = channel_to(server)
    stub = stubs.services.InferenceStub(channel)
    counts, failures = Counts(), []

    def run(number):
        rng = random.Random(number)
        for _ in range(REQUESTS // THREADS):
            try:
                if rng.random() < 0.5:
                    http_call(server, rng, counts)
                else:
                    grpc_call(stub, stubs, rng, counts)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    print(counts.values)
    assert not failures, failures[:5]
    assert sum(counts.values.values()) == REQUESTS // THREADS * THREADS
    server.wait_idle(30)
    if server.tls:
        check_handshakes(server, counts.values)
    # It still works, and says so.
    assert server.get("/health/live", timeout=60)[0] == 200
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="1 + 1")
    assert list(stub.Chat(request, timeout=30))[-1].usage.completion_tokens > 0
    # Every connection has gone, and with it its descriptors.
    channel.close()
    server.wait_metric("hadal_open_connections", 1)  # the scrape's own
    deadline = time.monotonic() + 30
    while descriptors(server) > before:
        assert time.monotonic() < deadline, f"{descriptors(server)} descriptors, {before} before the storm"
        time.sleep(0.05)


def check_handshakes(server, counts):
    """None is stuck or was given up for another; those that failed were cut off."""
    server.wait_metric("hadal_tls_connections", 2, timeout=30)  # the channel's and the scrape's own
    failures = {reason: server.metric(f'hadal_tls_handshake_failures_total{{reason="{reason}"}}')
                for reason in ("timeout", "evicted", "closed", "malformed")}
    assert failures["timeout"] == failures["evicted"] == 0
    assert 0 < failures["closed"] + failures["malformed"] == server.metric("hadal_tls_handshake_failures_total")
    answered = sum(number for key, number in counts.items() if key in ("http 200", "http 503"))
    assert server.metric("hadal_tls_handshakes_total") > answered
