# SPDX-License-Identifier: Apache-2.0
"""What strangers and careless clients can do to the gRPC front: memory, streams and connections have bounds."""

import struct
import time
import zlib

import grpc
import pytest

from h2 import PING, WINDOW_UPDATE, H2Client, frame
from hadal_process import PATIENCE
from test_grpc import chat, connect, details_of, long_request

CHAT = "/hadal.v1.Inference/Chat"
MIB = 1 << 20


def resident_bytes(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024


class Growth:
    """The most memory that the server has taken on top of what it had at the beginning."""

    def __init__(self, server):
        self.server = server
        self.before = resident_bytes(server)
        self.most = 0

    def look(self):
        self.most = max(self.most, resident_bytes(self.server) - self.before)
        return self.most


@pytest.fixture
def warm_server(start_server, stubs):
    """warm_server(*flags): a server that has answered a call, so that what everybody shares has been allocated."""

    def start(*flags, key=None):
        server = start_server(*flags)
        _, stub = connect(server, stubs)
        metadata = [("authorization", f"Bearer {key}")] if key else None
        list(stub.Chat(chat(stubs, "1 + 1"), metadata=metadata, timeout=PATIENCE))
        return server

    return start


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text("secret tenant\n")
    return f"--api-key-file={path}"


@pytest.mark.parametrize("acknowledge, with_keys, path", [
    (True, True, CHAT), (False, True, CHAT), (False, False, CHAT), (False, True, "/grpc.health.v1.Health/Watch"),
    (False, False, "/no.such.Service/Method")])
def test_silent_streams_take_no_memory(warm_server, keys, acknowledge, with_keys, path):
    server = warm_server("--drain-timeout=1s", "--grpc-message-timeout=10m", *([keys] if with_keys else []), key="secret" if with_keys else None)
    growth = Growth(server)
    client = H2Client(server.port, acknowledge)
    for _ in range(20):
        client.open_silent_streams(1000, path)
        client.read(0.01)
        growth.look()
    client.read(0.3)
    assert growth.look() < 100 * MIB
    assert server.get("/health/live")[0] == 200
    assert server.stop() == 0, "after the drain, long before the streams' own time has passed"
    client.close()


def test_a_client_that_reads_nothing_takes_no_memory(warm_server, keys):
    server = warm_server("--drain-timeout=1s", "--grpc-message-timeout=10m", keys, key="secret")
    growth = Growth(server)
    client = H2Client(server.port, acknowledge=False)
    client.socket.settimeout(1)  # the server stops reading, or closes
    for _ in range(50):
        client.open_silent_streams(1000, CHAT)
        growth.look()
        if client.closed:
            break
    assert growth.look() < 100 * MIB
    assert server.stop() == 0, "after the drain, long before the streams' own time has passed"
    client.close()


def test_the_key_is_checked_before_the_message_is_there(start_server, keys):
    server = start_server(keys)
    client = H2Client(server.port)
    stranger = client.open_stream(CHAT)
    assert client.read_until(lambda: stranger in client.ended)
    known = client.open_stream(CHAT, authorization="Bearer secret")
    server.wait_metric("hadal_grpc_pending_calls", 1)
    client.read(0.3)
    assert known not in client.ended
    assert server.metric('hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="16",'
                         'outcome="invalid",reason="UNAUTHENTICATED"}') == 1
    client.close()
    server.wait_metric("hadal_grpc_pending_calls", 0)


def test_a_compressed_message_is_refused_before_it_is_inflated(warm_server, stubs):
    server = warm_server()
    # the library's own client is told which coding is not understood
    channel = grpc.insecure_channel(server.target, compression=grpc.Compression.Gzip)
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.services.InferenceStub(channel).Chat(chat(stubs, "hello " * 1000), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and "gzip" in caught.value.details()
    server.wait_metric('hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="12",outcome="invalid",'
                       'reason="UNSUPPORTED_MEDIA_TYPE"}', 1)

    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MIB)
    bomb = b"".join(squeeze.compress(zeros) for _ in range(300)) + squeeze.flush()
    growth = Growth(server)
    client = H2Client(server.port)
    for _ in range(4):
        stream = client.open_stream(CHAT, grpc_encoding="gzip")
        client.send_data(stream, b"\x01" + struct.pack(">I", len(bomb)) + bomb)
        client.read_until(lambda: stream in client.ended)
        assert stream in client.ended
        growth.look()
    assert growth.look() < 60 * MIB
    client.close()


def test_half_a_message_is_let_go(warm_server):
    server = warm_server("--grpc-message-timeout=2s", "--grpc-memory=64MiB")
    growth = Growth(server)
    client = H2Client(server.port)
    streams = []
    for _ in range(24):
        stream = client.open_stream(CHAT)
        if client.closed:
            break
        streams.append(stream)
        client.send_data(stream, b"\x00" + struct.pack(">I", 15 * MIB) + bytes(7 * MIB), seconds=0.1)
        growth.look()
    assert growth.look() < 160 * MIB
    client.read_until(lambda: all(s in client.ended for s in streams))
    assert client.closed or all(s in client.ended for s in streams)
    server.wait_metric("hadal_grpc_pending_calls", 0)
    client.close()


def test_a_message_that_does_not_come_ends_its_call(start_server):
    server = start_server("--grpc-message-timeout=1s")
    client = H2Client(server.port)
    begun = time.monotonic()
    stream = client.open_stream(CHAT)
    assert client.read_until(lambda: stream in client.ended)
    assert 0.9 < time.monotonic() - begun < 25, "30 s without the flag"
    assert server.metric('hadal_grpc_refusals_total{limit="message_timeout"}') == 1
    assert server.metric('hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="4",'
                         'outcome="invalid",reason="REQUEST_TIMEOUT"}') == 1
    client.close()


def test_pending_calls_have_a_limit(start_server, stubs):
    server = start_server("--grpc-max-pending-calls=8")
    client = H2Client(server.port)
    for _ in range(8):
        client.open_stream(CHAT)
    server.wait_metric("hadal_grpc_pending_calls", 8)
    _, stub = connect(server, stubs)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(chat(stubs, "1 + 1"), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE and "8/8" in caught.value.details()
    metadata, found = details_of(caught.value, stubs)
    assert found["ErrorInfo"].reason == "CONNECTION_LIMIT" and int(metadata["grpc-retry-pushback-ms"]) >= 1000
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(server.target))
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == health_pb2.HealthCheckResponse.SERVING
    client.close()
    server.wait_metric("hadal_grpc_pending_calls", 0)
    assert list(stub.Chat(chat(stubs, "1 + 1"), timeout=PATIENCE))


def test_a_client_that_takes_nothing_of_a_finished_response_is_cut_off(start_server, stubs):
    server = start_server("--slow-reader-timeout=1s")
    client = H2Client(server.port, window=0)
    body = chat(stubs, "1 + 1").SerializeToString()
    stream = client.open_stream(CHAT)
    client.send_data(stream, b"\x00" + struct.pack(">I", len(body)) + body, end=True)
    assert client.read_until(lambda: stream in client.ended)
    server.wait_metric("hadal_slow_readers_total", 1)
    client.close()


def test_a_client_that_takes_nothing_does_not_hold_up_the_end(start_server, stubs):
    """As one whose host has vanished: the server's socket is full, and stays so."""
    calls = 64
    server = start_server("--load-format=null:1ms", "--max-model-len=32768", f"--max-batch-size={calls}", "--slow-reader-timeout=1s")
    client = H2Client(server.port, window=2**31 - 1, receive_buffer=4096)
    client.send(frame(WINDOW_UPDATE, payload=struct.pack(">I", 2**31 - 1 - 65535)))
    request = long_request(stubs, 30000)
    request.logprobs = 20  # so that much comes with each token
    body = request.SerializeToString()
    for _ in range(calls):
        stream = client.open_stream("/hadal.v1.Inference/Generate")
        client.send_data(stream, b"\x00" + struct.pack(">I", len(body)) + body, end=True)
    server.wait_metric("hadal_slow_readers_total", calls)  # once the kernel's buffers are full
    server.wait_idle()
    assert server.stop() == 0
    client.close()


@pytest.mark.parametrize("own_port", [False, True])
def test_connections_have_a_limit(start_server, stubs, own_port):
    server = start_server("--grpc-max-connections=4", *(["--grpc-port=0"] if own_port else []))
    port = server.grpc_port if own_port else server.port
    idle = [H2Client(port) for _ in range(10)]  # they make room for each other
    # On the shared port a connection without a request is looked at for a moment before gRPC has it.
    server.wait_metric("hadal_open_connections", 1)  # the scrape's own
    server.wait_metric("hadal_grpc_connections", 4)
    clients = [H2Client(port) for _ in range(4)]
    for client in clients:
        client.open_stream(CHAT)
    server.wait_metric("hadal_grpc_pending_calls", 4)
    server.wait_metric("hadal_grpc_connections", 4)
    assert server.metric("hadal_grpc_refusals_total") == 0 and len(idle) == 10
    refused = H2Client(port)
    assert refused.read_until(lambda: refused.closed or refused.goaway is not None)
    assert refused.goaway in (None, b"too many connections")
    server.wait_metric('hadal_grpc_refusals_total{limit="connections"}', 1)
    assert server.get("/health/ready")[0] == 200
    for client in clients:
        client.close()
    server.wait_metric("hadal_grpc_connections", 0)
    stub = stubs.services.InferenceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
    assert list(stub.Chat(chat(stubs, "1 + 1"), timeout=PATIENCE))


def test_calls_of_a_client_with_too_many_streams_count_as_refused(start_server):
    server = start_server("--grpc-max-streams=4")
    client = H2Client(server.port, acknowledge=False)
    client.open_silent_streams(140, CHAT)
    assert client.read_until(lambda: client.closed) or client.closed
    server.wait_metric('hadal_grpc_refusals_total{limit="streams"}', 1)
    server.wait_metric("hadal_grpc_pending_calls", 0)
    name = 'hadal_requests_total{{route="Chat",class="normal",http_code="",grpc_code="{}",outcome="{}",reason="{}"}}'
    assert server.metric(name.format(14, "shed", "CONNECTION_LIMIT")) > 128
    assert server.metric(name.format(1, "cancelled", "CANCELLED")) == 0
    client.close()


@pytest.mark.parametrize("flags, with_call, pings, goaway", [
    (["--grpc-max-idle=1s"], False, 0, b"enter idle"),
    (["--grpc-max-connection-age=1s", "--grpc-connection-age-grace=1s"], True, 0, b""),
    (["--grpc-min-ping-interval=1m"], True, 8, b"too_many_pings")])
def test_connections_have_limits_in_time(start_server, flags, with_call, pings, goaway):
    server = start_server(*flags)
    client = H2Client(server.port)
    stream = client.open_stream(CHAT) if with_call else None
    for _ in range(pings):
        client.send(frame(PING, payload=bytes(8)))
        client.read(0.02)
    assert client.read_until(lambda: client.goaway is not None) and client.goaway == goaway
    # what has begun goes on for the grace; the call waits for its message and would do so for 30 s
    assert client.read_until(lambda: client.closed or stream in client.ended)
    client.close()


def test_clients_may_ping_as_often_as_the_flag_says(start_server, stubs):
    server = start_server("--grpc-min-ping-interval=1ms", "--grpc-max-idle=0s", "--grpc-max-connection-age=0s")
    client = H2Client(server.port)
    body = chat(stubs, "1 + 1").SerializeToString()
    for _ in range(20):
        client.send(frame(PING, payload=bytes(8)))
        client.read(0.05)
    stream = client.open_stream(CHAT)
    client.send_data(stream, b"\x00" + struct.pack(">I", len(body)) + body, end=True)
    assert client.read_until(lambda: stream in client.ended) and client.goaway is None
    client.close()


def test_millions_of_empty_messages_are_counted_before_they_are_built(warm_server, stubs):
    server = warm_server("--wait-limits=none")
    growth = Growth(server)
    channel, _ = connect(server, stubs)
    call = channel.unary_stream(CHAT, request_serializer=lambda b: b, response_deserializer=lambda b: b)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(b"\x12\x00" * 5_000_000))  # without a deadline, which it could be refused for
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "`messages` has more than 2048 entries" in caught.value.details()
    assert growth.look() < 100 * MIB


def test_a_timeout_of_centuries_is_one(start_server, stubs):
    server = start_server()
    client = H2Client(server.port)
    body = chat(stubs, "1 + 1").SerializeToString()
    for timeout in ("2562047H", "99999999H", "99999999M", "99999999S"):
        stream = client.open_stream(CHAT, grpc_timeout=timeout)
        client.send_data(stream, b"\x00" + struct.pack(">I", len(body)) + body)
        assert client.read_until(lambda: stream in client.ended), timeout
    ok = server.metric('hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="0",outcome="ok",reason=""}')
    assert ok == 4


def test_each_end_has_its_own_reason(start_server, stubs):
    server = start_server("--load-format=null:20ms", "--max-model-len=2048")
    name = 'hadal_requests_total{{route="{}",class="normal",http_code="",grpc_code="{}",outcome="{}",reason="{}"}}'
    client = H2Client(server.port)
    for _ in range(3):
        client.open_stream(CHAT)
    server.wait_metric("hadal_grpc_pending_calls", 3)
    client.close()
    server.wait_metric(name.format("Chat", 1, "cancelled", "CANCELLED"), 3)

    # By hand: of a library that cancels at its own deadline the server may hear before its own, which began later.
    client = H2Client(server.port)
    stream = client.open_stream("/hadal.v1.Inference/Generate", grpc_timeout="2S")
    body = long_request(stubs, 2000).SerializeToString()
    client.send_data(stream, b"\x00" + struct.pack(">I", len(body)) + body, end=True)
    assert client.read_until(lambda: stream in client.ended)
    client.close()
    server.wait_metric(name.format("Generate", 4, "error", "DEADLINE_EXPIRED"), 1)

    channel, _ = connect(server, stubs)
    call = channel.stream_stream(CHAT, request_serializer=lambda b: b, response_deserializer=lambda b: b)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter(()), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    server.wait_metric(name.format("Chat", 3, "invalid", "INVALID_REQUEST"), 1)


def test_health_watch_follows_the_server(start_server):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = start_server("--load-format=null:20ms", "--max-model-len=2048", "--drain-timeout=2s")
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(server.target))
    watch = health.Watch(health_pb2.HealthCheckRequest(service="hadal.v1.Inference"), timeout=PATIENCE)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    unknown = health.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE)
    assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    server.signal()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.stop() == 0


def test_reflection_describes_the_messages(server):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(server.target))
    assert set(database.get_services()) == {"hadal.v1.Inference", "grpc.health.v1.Health",
                                            "grpc.reflection.v1.ServerReflection"}
    file = database.FindFileContainingSymbol("hadal.v1.ChatRequest")
    assert file.name == "hadal/v1/inference.proto" and any(s.name == "Inference" for s in file.service)
    assert database.FindFileByName("hadal/v1/inference.proto").package == "hadal.v1"
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("hadal.v1.Nothing")
