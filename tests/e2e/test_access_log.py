# SPDX-License-Identifier: Apache-2.0
"""--access-log: a line for each request of either front, whatever becomes of it; rotated without loss."""

import http.client
import json
import os
import signal
import subprocess
import time

import grpc
import pytest

from hadal_process import PATIENCE, fill
from http_client import post, read_until, send_raw

SECRET = "correct horse battery staple"
ASK = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 8, "temperature": 0}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "access.log"


def wait_lines(log, count, timeout=PATIENCE):
    """The lines once there are `count`: a thread of its own writes them."""
    deadline = time.monotonic() + timeout
    while True:
        text = log.read_text() if log.exists() else ""
        lines = text[:text.rfind("\n") + 1].splitlines()  # the last may be half written
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < deadline, f"{len(lines)} lines instead of {count}: {lines}"
        time.sleep(0.02)


def test_an_answer_over_each_front(start_server, stubs, log):
    server = start_server(f"--access-log={log}")
    status, headers, body = post(server, "/v1/chat/completions", ASK, {"x-request-id": "mine", "traceparent": TRACEPARENT})
    assert status == 200
    wait_lines(log, 1)  # a line comes after the answer: without a wait the next one's could be before it
    post(server, "/v1/chat/completions", {**ASK, "stream": True, "n": 2}, {"x-hadal-priority": "low"})
    wait_lines(log, 2)
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    request = stubs.pb.GenerateRequest(text=SECRET)
    request.stopping.max_tokens = 8
    request.stopping.ignore_eos = True
    list(stub.Generate(request, metadata=[("traceparent", TRACEPARENT), ("x-hadal-priority", "batch")]))
    wait_lines(log, 3)
    server.get("/health/ready"), server.get("/metrics"), server.get("/v1/models")

    chat, stream, generate, models = wait_lines(log, 4)
    assert (chat["protocol"], chat["route"], chat["status"], chat["outcome"]) == ("http", "/v1/chat/completions", 200, "ok")
    assert chat["request_id"].startswith("mine-") and chat["trace_id"] == TRACE_ID
    usage = json.loads(body)["usage"]
    assert chat["prompt_tokens"] == usage["prompt_tokens"] > 0
    assert chat["completion_tokens"] == usage["completion_tokens"] > 0
    assert (chat["class"], chat["model"], chat["client"]) == ("normal", "hadal-demo", "127.0.0.1")
    assert chat["finish_reason"] == json.loads(body)["choices"][0]["finish_reason"] and stream["finish_reason"].count(",") == 1
    assert 0 <= chat["queue_ms"] <= chat["ttft_ms"] <= chat["duration_ms"]
    assert "reason" not in chat and "tenant" not in chat
    assert stream["class"] == "low" and "trace_id" not in stream
    assert (generate["protocol"], generate["status"], generate["outcome"], generate["class"]) == ("grpc", 0, "ok", "batch")
    assert generate["trace_id"] == TRACE_ID and 0 <= generate["queue_ms"] <= generate["ttft_ms"] <= generate["duration_ms"]
    assert models["route"] == "/v1/models" and "model" not in models and "queue_ms" not in models
    assert SECRET not in log.read_text() and SECRET not in server.text()


def test_refusals_have_their_reason(start_server, stubs, log, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("sk-very-secret acme\n")
    key = {"Authorization": "Bearer sk-very-secret"}
    server = start_server(f"--access-log={log}", f"--api-key-file={keys}")
    for number, (path, body, headers, status) in enumerate((("/v1/chat/completions", ASK, None, 401),
                                                            ("/v1/chat/completions", {**ASK, "temperature": 9}, key, 422),
                                                            ("/no/such/route", ASK, key, 404)), 1):
        assert post(server, path, body, headers)[0] == status
        wait_lines(log, number)
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    with pytest.raises(grpc.RpcError):
        list(stub.Generate(stubs.pb.GenerateRequest(text="x")))
    lines = wait_lines(log, 4)
    assert [(line["status"], line["outcome"], line["reason"]) for line in lines] == [
        (401, "invalid", "UNAUTHENTICATED"), (422, "invalid", "OUT_OF_RANGE"), (404, "invalid", "ROUTE_NOT_FOUND"),
        (16, "invalid", "UNAUTHENTICATED")]
    assert [line.get("tenant") for line in lines] == [None, "acme", None, None]
    assert "very-secret" not in log.read_text() and "/no/such" not in log.read_text()


def test_a_full_server_says_when_to_return(start_server, log):
    server = start_server("--load-format=null:20ms", f"--access-log={log}", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    running, waiting = fill(server)
    status, headers, _ = post(server, "/v1/chat/completions", ASK)
    assert status == 503
    refused = wait_lines(log, 1)[0]
    assert (refused["status"], refused["outcome"]) == (503, "shed")
    assert refused["retry_after_ms"] == pytest.approx(int(headers["retry-after-ms"]), abs=1)
    assert "model" not in refused
    waiting.close()
    wait_lines(log, 2)
    running.close()
    waited, ran = wait_lines(log, 3)[1:]
    assert waited["outcome"] == ran["outcome"] == "cancelled"
    assert "queue_ms" not in waited and "queue_ms" in ran


def test_a_client_that_leaves_was_given_some_tokens(start_server, log):
    server = start_server(f"--access-log={log}", "--load-format=null:5ms", "--max-model-len=4096")
    sock = send_raw(server, "/v1/completions", {"prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True})
    read_until(sock, b"data: ")
    sock.close()
    line = wait_lines(log, 1)[0]
    assert (line["outcome"], line["reason"]) == ("cancelled", "CANCELLED")
    assert 0 < line["completion_tokens"] < 3000 and line["prompt_tokens"] > 0
    assert line["ttft_ms"] <= line["duration_ms"]


def test_rotation_loses_no_line(start_server, log):
    server = start_server(f"--access-log={log}")
    moved = log.with_suffix(".1")

    def ask(request_id):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("GET", "/v1/models", headers={"x-request-id": request_id})
        assert connection.getresponse().status == 200
        connection.close()

    ask("first")
    wait_lines(log, 1)
    log.rename(moved)
    ask("second")
    assert [line["request_id"] for line in wait_lines(moved, 2)] == ["first", "second"]
    server.signal(signal.SIGHUP)
    server.wait_text("--access-log was opened again")
    ask("third")
    assert [line["request_id"] for line in wait_lines(log, 1)] == ["third"]
    os.truncate(log, 0)
    ask("fourth")
    assert [line["request_id"] for line in wait_lines(log, 1)] == ["fourth"]
    assert server.metric("hadal_access_log_dropped_total") == 0


def test_a_full_disk_costs_lines_and_no_request(start_server):
    server = start_server("--access-log=/dev/full")
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    server.wait_metric("hadal_access_log_dropped_total", 1)


def test_standard_output_takes_it_too(start_server):
    server = start_server("--access-log=stdout")
    assert post(server, "/v1/chat/completions", ASK, {"x-request-id": "mine"})[0] == 200
    server.wait_text('"request_id":"mine-')


def test_a_file_that_cannot_be_opened_ends_the_start():
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    ended = subprocess.run([binary, "serve", "--port=0", "--access-log=/no/such/folder/access.log"], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert "--access-log: cannot open /no/such/folder/access.log" in ended.stderr
