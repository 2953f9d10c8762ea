# SPDX-License-Identifier: Apache-2.0
"""One reason for one cause, on both fronts and in every API: each refusal is provoked and asked for eight times, and all that clients
and gateways go by is compared: status or code, reason, hints, and what the body or the details say."""

import contextlib
import json
import math
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hadal_process import PATIENCE, HadalProcess, filled
from http_client import post, send_raw
from test_grpc import connect

BUSY = "服务器繁忙请稍后重试"
# The context is long enough for what fills a server to run until a test on a busy machine has asked for everything.
NULL = ("--load-format=null:20ms", "--max-model-len=16384")
ONE = (*NULL, "--max-batch-size=1", "--wait-limits=none")
SAYS = [{"role": "user", "content": "17 + 25"}]
# Each with the longest answer that is wanted.
HTTP = {
    "/v1/chat/completions": lambda n: {"messages": SAYS, "max_tokens": n},
    "/v1/completions": lambda n: {"prompt": "17 + 25", "max_tokens": n},
    "/v1/responses": lambda n: {"input": "17 + 25", "max_output_tokens": n},
    "/v1/messages": lambda n: {"model": "hadal-demo", "messages": SAYS, "max_tokens": n},
    "/api/chat": lambda n: {"model": "hadal-demo", "messages": SAYS, "stream": False, "options": {"num_predict": n}},
    "/api/generate": lambda n: {"model": "hadal-demo", "prompt": "17 + 25", "stream": False, "options": {"num_predict": n}},
}


def check_http(server, path, body, headers, reason, status, retry):
    code, answer, text = post(server, path, body, headers)
    assert (code, answer.get("x-hadal-reason")) == (status, reason), (path, text)
    assert answer["x-request-id"]
    assert answer["x-should-retry"] == ("true" if retry else "false"), path
    error = json.loads(text)["error"]
    if path.startswith("/api/"):
        message = error
    elif path == "/v1/messages":
        message, told = error["message"], error["details"]["error_code"]
        assert json.loads(text)["type"] == "error" and told.upper() == reason, text
    else:
        message, told = error["message"], error["code"]
        assert {"type", "param"} <= error.keys() and told.upper() == reason, text
    assert (BUSY in message) == (status == 503), message
    if status in (429, 503):
        milliseconds = int(answer["retry-after-ms"])
        assert 1000 <= milliseconds <= 30000 and int(answer["retry-after"]) == math.ceil(milliseconds / 1000), answer
        assert answer["x-hadal-promise"] == ("held" if "x-hadal-ticket" in answer else "none")
    else:
        assert not {"retry-after", "retry-after-ms", "x-hadal-promise", "x-hadal-ticket"} & answer.keys(), answer


def check_grpc(server, stubs, method, request, headers, reason, code, retry):
    channel, stub = connect(server, stubs)
    metadata = [(name.lower(), value) for name, value in headers.items()]
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(getattr(stub, method)(request, timeout=PATIENCE, metadata=metadata))
    error = refused.value
    assert error.code() == getattr(grpc.StatusCode, code), error
    trailers = dict(error.trailing_metadata())
    details = {}
    for packed in stubs.status.Status.FromString(trailers["grpc-status-details-bin"]).details:
        for kind in (stubs.error_details.ErrorInfo, stubs.error_details.RetryInfo, stubs.error_details.QuotaFailure):
            if packed.Is(kind.DESCRIPTOR):
                details[kind.__name__] = kind.FromString(packed.value)
    info = details["ErrorInfo"]
    assert (info.reason, info.domain) == (reason, "hadal")
    assert info.metadata["request_id"] == trailers["x-request-id"]
    assert (BUSY in error.details()) == (code == "UNAVAILABLE"), error.details()
    assert ("QuotaFailure" in details) == (reason == "TENANT_QUOTA")
    if retry:
        pushback = int(trailers["grpc-retry-pushback-ms"])
        assert 1000 <= pushback <= 30000
        assert abs(details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() * 1000 - pushback) <= 1
    else:
        assert trailers["grpc-retry-pushback-ms"] == "-1" and "RetryInfo" not in details
    if code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        held = "held" if "x-hadal-ticket" in trailers else "none"
        assert trailers["x-hadal-promise"] == info.metadata["promise"] == held


def check_everywhere(server, stubs, reason, status, code, retry=True, headers=None, tokens=16):
    headers = headers or {}
    for path, body in HTTP.items():
        check_http(server, path, body(tokens), headers, reason, status, retry)
    chat = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="17 + 25")])
    for method, request in (("Chat", chat), ("Generate", stubs.pb.GenerateRequest(text="17 + 25"))):
        request.stopping.max_tokens = tokens
        check_grpc(server, stubs, method, request, headers, reason, code, retry)


def wait_for_steps(server):
    """Waits are predicted once steps have been measured."""
    deadline = time.monotonic() + PATIENCE
    while server.metric("hadal_predicted_wait_seconds") == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("flag, reason", [("--max-queue-requests=1", "CONNECTION_QUEUE_FULL"), ("--max-queue-tokens=2", "QUEUE_TOKENS_FULL")])
def test_a_full_queue(start_server, stubs, flag, reason):
    server = start_server(*ONE, flag)
    with filled(server):
        check_everywhere(server, stubs, reason, 503, "UNAVAILABLE")
        # Load is no fault: neither front may be taken out of service for it.
        assert server.get("/health/ready")[0] == server.get("/health/live")[0] == 200
        with grpc.insecure_channel(server.target) as channel:
            for name in ("", "hadal.v1.Inference"):
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_waits_and_deadlines(start_server, stubs):
    server = start_server(*NULL, "--max-batch-size=1", "--wait-limits=normal=1s")
    with filled(server):
        wait_for_steps(server)
        check_everywhere(server, stubs, "WAIT_LIMIT", 503, "UNAVAILABLE")
        unlimited = {"x-hadal-priority": "batch"}  # which has no limit
        check_everywhere(server, stubs, "WAIT_LIMIT", 503, "UNAVAILABLE", headers={**unlimited, "x-hadal-queue": "no"})
        check_everywhere(server, stubs, "DEADLINE_INFEASIBLE", 503, "UNAVAILABLE", retry=False,
                         headers={**unlimited, "x-hadal-deadline-ms": "2000"})
        check_everywhere(server, stubs, "REQUEST_NEVER_FITS", 400, "INVALID_ARGUMENT", retry=False,
                         headers={**unlimited, "x-hadal-deadline-ms": "1"})


def test_a_deadline_that_passes_while_the_answer_is_written(start_server, stubs):
    server = start_server(*NULL)
    check_everywhere(server, stubs, "DEADLINE_EXPIRED", 504, "DEADLINE_EXCEEDED", retry=False, headers={"x-hadal-deadline-ms": "1500"},
                     tokens=1500)


def test_memory(start_server, stubs):
    server = start_server("--load-format=null:50ms", "--max-model-len=1024", "--max-batch-size=16", "--memory-budget=2432KiB", "--wait-limits=none")
    with contextlib.ExitStack() as stack:
        for running in range(1, 4):
            stack.enter_context(send_raw(server, "/v1/completions", {"prompt": "x", "max_tokens": 700, "ignore_eos": True}))
            server.wait_metric("hadal_requests_running", running)
        check_everywhere(server, stubs, "GPU_MEMORY_EXHAUSTED", 503, "UNAVAILABLE", tokens=900)


def test_keys_and_quotas(start_server, stubs, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("k-one acme normal requests=1\n")
    server = start_server(*NULL, f"--api-key-file={keys}")
    key = {"Authorization": "Bearer k-one"}
    check_everywhere(server, stubs, "UNAUTHENTICATED", 401, "UNAUTHENTICATED", retry=False)
    check_everywhere(server, stubs, "PERMISSION_DENIED", 403, "PERMISSION_DENIED", retry=False, headers={**key, "x-hadal-priority": "high"})
    with send_raw(server, "/v1/completions", {"prompt": "x", "max_tokens": 16000, "ignore_eos": True}, key):
        server.wait_metric("hadal_requests_running", 1)
        check_everywhere(server, stubs, "TENANT_QUOTA", 429, "RESOURCE_EXHAUSTED", headers=key)
        server.signal()
        server.wait_metric("hadal_draining", 1)
        check_everywhere(server, stubs, "DRAINING", 503, "UNAVAILABLE", headers=key)


def test_loading(stubs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    # It waits for a host that does not answer.
    with HadalProcess("--pipeline-workers=127.0.0.1:9", f"--pipeline-key-file={secret}", wait_ready=False, expect_exit=None) as server:
        check_everywhere(server, stubs, "MODEL_LOADING", 503, "UNAVAILABLE")
