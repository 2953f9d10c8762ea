# SPDX-License-Identifier: Apache-2.0
"""Deadlines and limits that callers give in headers and metadata, with their own clients: what cannot be met is refused at once, with
the reason and the estimate."""

import json
import time

import grpc
import openai
import pytest

from hadal_process import HadalProcess
from http_client import post, send_raw

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


@pytest.fixture(scope="module")
def busy():
    """A server whose only place in the batch is taken by one long answer."""
    with HadalProcess("--load-format=null:20ms", "--max-model-len=65536", "--max-batch-size=1") as server:
        assert post(server, CHAT, ASK)[0] == 200
        long = send_raw(server, CHAT, {**ASK, "max_tokens": 50000, "ignore_eos": True})
        server.wait_metric("hadal_requests_running", 1)
        deadline = time.monotonic() + 20
        while post(server, CHAT, ASK, {"x-hadal-queue": "no"})[0] == 200:  # until it is seen to run
            assert time.monotonic() < deadline
        yield server
        long.close()


@pytest.mark.parametrize("headers, status, reason, retry", [
    ({"x-hadal-deadline-ms": "2000"}, 503, "DEADLINE_INFEASIBLE", "false"),
    ({"x-hadal-deadline-ms": "1"}, 400, "REQUEST_NEVER_FITS", "false"),
    ({"x-stainless-timeout": "2"}, 503, "DEADLINE_INFEASIBLE", "true"),
    ({"x-stainless-read-timeout": "2.5"}, 503, "DEADLINE_INFEASIBLE", "true"),
    ({"x-llm-d-slo-ttft-ms": "500"}, 503, "DEADLINE_INFEASIBLE", "true"),
    ({"x-hadal-queue": "no"}, 503, "WAIT_LIMIT", None),
    ({"x-hadal-queue": "maybe"}, 422, "OUT_OF_RANGE", "false"),
    ({"x-hadal-deadline-ms": "soon"}, 422, "OUT_OF_RANGE", "false"),
])
def test_a_limit_that_cannot_be_met_is_refused_at_once(busy, headers, status, reason, retry):
    started = time.monotonic()
    code, answer, body = post(busy, CHAT, ASK, headers)
    assert (code, answer["x-hadal-reason"]) == (status, reason), body
    assert retry is None or answer["x-should-retry"] == retry
    assert ("retry-after" in answer) == (status == 503)
    assert time.monotonic() - started < 10, "refused, not waited out"
    if status == 503:
        assert "服务器繁忙请稍后重试" in json.loads(body)["error"]["message"]


def test_the_time_out_of_the_openai_library_is_understood(busy):
    client = openai.OpenAI(base_url=busy.url + "/v1", api_key="none", max_retries=0, timeout=8)
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="hadal-demo", messages=ASK["messages"], max_tokens=1)
    assert refused.value.response.headers["x-hadal-reason"] == refused.value.code == "DEADLINE_INFEASIBLE"


def test_a_grpc_deadline_is_refused_at_once(busy, stubs):
    channel = grpc.insecure_channel(busy.target, options=[("grpc.enable_retries", 0)])
    stub = stubs.services.InferenceStub(channel)
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="x")
    request.stopping.max_tokens = 1
    for metadata, timeout, reason, again in [([], 8, b"DEADLINE_INFEASIBLE", False),
                                             ([("x-hadal-deadline-ms", "2000")], 60, b"DEADLINE_INFEASIBLE", False),
                                             ([("x-llm-d-slo-ttft-ms", "500")], 60, b"DEADLINE_INFEASIBLE", True),
                                             ([("x-hadal-queue", "no")], 60, b"WAIT_LIMIT", None)]:
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Chat(request, timeout=timeout, metadata=metadata))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE, refused.value
        trailers = dict(refused.value.trailing_metadata())
        assert reason in trailers["grpc-status-details-bin"]
        assert again is None or (trailers["grpc-retry-pushback-ms"] != "-1") == again, metadata
    with pytest.raises(grpc.RpcError) as mistake:
        list(stub.Chat(request, timeout=60, metadata=[("x-hadal-deadline-ms", "1")]))
    assert mistake.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    channel.close()


def test_what_is_refused_is_counted_by_its_reason(busy):
    name = 'hadal_admission_rejections_total{class="normal",length_class="256",reason="DEADLINE_INFEASIBLE"}'
    before = busy.metric(name)
    assert post(busy, CHAT, ASK, {"x-hadal-deadline-ms": "2000"})[0] == 503
    assert busy.metric(name) == before + 1
