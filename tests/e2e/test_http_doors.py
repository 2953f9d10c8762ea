# SPDX-License-Identifier: Apache-2.0
"""Strangers at the HTTP door: half-sent bodies, silent connections, descriptors used up, work that cannot fit. Whatever
they do, others are served, health answers, and memory stays within what the flags say."""

import contextlib
import json
import os
import random
import select
import socket
import string
import threading
import time

import pytest

from hadal_process import PATIENCE

MIB = 1 << 20
ASK = json.dumps({"messages": [{"role": "user", "content": "17 + 25"}], "max_tokens": 4}).encode()


def head(path, length):
    return f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n".encode()


def connect(server, data=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    if data:
        connection.sendall(data)
    return connection


def read_response(connection):
    """(status, whole text) of one response; (0, ...) when the connection ended without one."""
    text = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while b"\r\n\r\n" not in text:
            piece = connection.recv(65536)
            if not piece:
                return 0, text
            text += piece
        length = int(text.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(text.split(b"\r\n\r\n", 1)[1]) < length:
            text += connection.recv(65536)
        return int(text[9:12]), text
    return 0, text


def post(server, path, body):
    with contextlib.closing(connect(server, head(path, len(body)) + body)) as connection:
        return read_response(connection)


@pytest.fixture
def opened():
    """Sockets that a test leaves open; closed at its end."""
    sockets = []
    yield sockets
    for connection in sockets:
        connection.close()


def test_half_sent_bodies_stay_within_their_budget(start_server, opened):
    server = start_server("--max-body-bytes-in-flight=64MiB", "--body-stall-timeout=10m", "--min-body-rate=0")
    before = server.resident_bytes()
    silent = []
    for _ in range(24):
        connection = connect(server, head("/v1/chat/completions", 16 * MIB))
        opened.append(connection)
        # A refusal closes the connection while bytes are still being sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(b" " * (15 * MIB))
            silent.append(connection)
    refused = 24 - len(silent)
    deadline = time.monotonic() + PATIENCE
    while refused < 20:  # one sender alone has half of the budget: two of them
        assert time.monotonic() < deadline, f"{refused} are refused"
        ready, _, _ = select.select(silent, [], [], 1)
        for connection in ready:
            silent.remove(connection)
            with contextlib.suppress(ConnectionError):
                assert b" 503 " in connection.recv(4096)
            refused += 1
    assert server.metric("hadal_body_bytes_in_flight") <= 64 * MIB
    assert server.metric("hadal_body_rejections_total") >= refused
    assert server.resident_bytes() - before < 96 * MIB
    assert post(server, "/v1/chat/completions", ASK)[0] == 200  # of the same sender, and small
    for connection in opened:
        connection.close()
    server.wait_metric("hadal_body_bytes_in_flight", 0)


def test_chunked_bodies_count_as_they_come(start_server, opened):
    server = start_server("--max-body=4MiB", "--max-body-bytes-in-flight=8MiB", "--body-stall-timeout=30s")
    chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
    chunked = b"POST /tokenize HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    opened.append(connect(server, chunked + chunk + chunk))
    deadline = time.monotonic() + PATIENCE
    while server.metric("hadal_body_bytes_in_flight") < 2 * MIB:
        assert time.monotonic() < deadline
    second = connect(server, chunked + chunk + chunk + chunk)
    opened.append(second)
    status, text = read_response(second)
    assert status == 503 and b"BODY_BUDGET_FULL" in text and b"retry-after-ms: 1" in text.lower()


def test_bodies_on_their_way_hold_no_slot(start_server, opened):
    server = start_server("--max-queue-requests=4", "--body-stall-timeout=8s")
    for _ in range(64):
        opened.append(connect(server, head("/v1/chat/completions", 1000) + b"{"))
    server.wait_metric("hadal_body_uploads", 64)
    assert server.metric("hadal_requests_waiting") == 0
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    begin = time.monotonic()
    for connection in opened:
        status, text = read_response(connection)
        assert status == 408 and b"REQUEST_TIMEOUT" in text
    assert time.monotonic() - begin < 64 * 8 / 4  # and not one after the other
    server.wait_metric("hadal_body_uploads", 0)


def test_a_drip_is_not_enough(start_server):
    server = start_server("--body-stall-timeout=1s", "--min-body-rate=1KiB")
    with contextlib.closing(connect(server, head("/v1/chat/completions", 1000) + b"{")) as connection:
        connection.settimeout(0.2)
        begin = time.monotonic()
        text = b""
        while not text:
            assert time.monotonic() - begin < 60
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                text = connection.recv(4096)
        assert text.startswith(b"HTTP/1.1 408 ")


def test_health_answers_above_the_connection_limit(start_server, opened):
    server = start_server("--max-connections=8")
    for _ in range(8 + 256 + 60):
        opened.append(connect(server))
    for _ in range(5):
        assert server.get("/health/live")[0] == 200
    # One that has bytes takes the place of one that has none.
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    assert server.metric('hadal_connections_evicted_total{phase="silent"}') > 0
    assert server.metric("hadal_open_connections") <= 8 + 256


def test_half_sent_bodies_give_way_when_connections_run_out(start_server, opened):
    server = start_server("--max-connections=8", "--body-stall-timeout=60s", "--min-body-rate=0")
    for _ in range(4):  # one sender has half of the uploads
        opened.append(connect(server, head("/v1/chat/completions", 1000) + b"{"))
    for _ in range(4):
        opened.append(connect(server, b"POST /v1/chat/completions HTTP/1.1\r\nHost:"))
    server.wait_metric("hadal_body_uploads", 4)
    server.wait_metric("hadal_open_connections", 8 + 1)  # with the scrape's own
    time.sleep(1.5)  # they are silent for so long, at least
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    assert server.metric('hadal_connections_evicted_total{phase="body"}') > 0
    server.wait_metric('hadal_requests_total{route="/v1/chat/completions",class="normal",http_code="503",grpc_code="",'
                       'outcome="shed",reason="CONNECTION_LIMIT"}', 1)
    # The one that has waited longest has given way, and its client is told.
    status, text = read_response(opened[0])
    assert status == 503 and b"CONNECTION_LIMIT" in text and b"retry-after-ms: 1" in text.lower()


def test_health_answers_when_descriptors_are_used_up(start_server, opened):
    server = start_server(open_files=(100, 100))
    server.wait_text("ulimit -n is 100")
    server.wait_text("--max-connections=4096 and --grpc-max-connections=1024 need")
    for _ in range(250):
        opened.append(connect(server))
    for _ in range(5):
        assert server.get("/health/live")[0] == 200
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    assert server.get("/health/ready")[0] == 200
    assert server.metric("hadal_accept_failures_total") > 0
    server.wait_text("no file descriptor is left")


def test_a_soft_limit_of_descriptors_is_raised(start_server):
    server = start_server("--max-connections=100", "--grpc-max-connections=100", open_files=(200, 4096))
    assert "ulimit" not in server.text()
    with open(f"/proc/{server.process.pid}/limits", encoding="ascii") as limits:
        soft = next(line.split()[3] for line in limits if line.startswith("Max open files"))
    assert int(soft) > 456


def cpu_seconds(server):
    """What the process has had of the processors, which others' load does not change as it does the time of a clock."""
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_cannot_fit_is_refused_before_it_is_tokenised(start_server):
    server = start_server()
    text = "".join(random.Random(1).choices(string.ascii_letters + " ", k=12 * MIB))
    begin = cpu_seconds(server)
    assert post(server, "/tokenize", json.dumps({"prompt": text[:MIB]}).encode())[0] == 200
    mebibyte = cpu_seconds(server) - begin
    begin = cpu_seconds(server)
    for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}),
                       ("/v1/completions", {"prompt": text})):
        status, answer = post(server, path, json.dumps(body).encode())
        assert status == 400 and b"maximum context length is 2048 tokens" in answer, answer
    status, answer = post(server, "/tokenize", json.dumps({"prompt": text}).encode())
    assert status == 400 and b"1048576" in answer and str(len(text)).encode() in answer, answer
    assert cpu_seconds(server) - begin < 12 * mebibyte  # for 36 MiB, which are parsed and not tokenised


def test_small_requests_do_not_wait_behind_long_texts(start_server):
    server = start_server()
    rng = random.Random(2)
    large = json.dumps({"prompt": "".join(rng.choices(string.ascii_letters + "     ", k=MIB - 1))}).encode()
    small = json.dumps({"prompt": "17 + 25"}).encode()
    done = []

    def send_large():
        status, _ = post(server, "/tokenize", large)
        assert status == 200
        done.append(time.monotonic())

    threads = [threading.Thread(target=send_large) for _ in range(8)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    latencies = []
    while any(thread.is_alive() for thread in threads):
        at = time.monotonic()
        assert post(server, "/tokenize", small)[0] == 200
        latencies.append(time.monotonic() - at)
    for thread in threads:
        thread.join()
    assert len(done) == 8
    total = max(done) - begin
    assert len(latencies) > 8
    assert sorted(latencies)[len(latencies) // 2] < total / 8
