# SPDX-License-Identifier: Apache-2.0
"""A refused client that has no key and no address of its own gets its place back with the ticket of its refusal, on both fronts."""

import time

import grpc
import pytest

from hadal_process import HadalProcess, filled
from http_client import post, send_raw

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
HELD = {**ASK, "max_tokens": 400, "ignore_eos": True}  # four seconds of the null model


@pytest.fixture(scope="module")
def server():
    flags = ("--load-format=null:10ms", "--max-model-len=65536", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")
    with HadalProcess(*flags) as process:
        assert post(process, CHAT, ASK)[0] == 200
        yield process


def count(server, outcome):
    return server.metric('hadal_retry_tickets_total{outcome="%s"}' % outcome)


def fill(server):
    """One runs and one waits."""
    server.wait_idle()
    held = []
    for level in ("hadal_requests_running", "hadal_requests_waiting"):
        held.append(send_raw(server, CHAT, HELD))
        server.wait_metric(level, 1)
    return held


def refusal_with_ticket(server, ask):
    """Asks until a place is promised: the forecast needs steps to look at, and fresh arrivals must have become few."""
    deadline = time.monotonic() + 60
    while True:
        refused = ask()
        if "x-hadal-ticket" in refused:
            return refused
        assert time.monotonic() < deadline, refused
        time.sleep(1)


def test_a_ticket_is_good_once(server):
    held = fill(server)

    def ask(**headers):
        status, answer, _ = post(server, CHAT, ASK, {"x-stainless-retry-count": "0", **headers})
        return {"status": status, **answer}

    refused = refusal_with_ticket(server, ask)
    assert refused["status"] == 503 and refused["x-hadal-promise"] == "held"
    ticket = refused["x-hadal-ticket"]
    early = ask(**{"x-hadal-ticket": ticket})
    if early["status"] == 503:
        assert early["x-hadal-promise"] == "held" and count(server, "accepted") >= 1
    forged = count(server, "forged")
    assert ask(**{"x-hadal-ticket": "A" * 43})["status"] in (200, 503) and count(server, "forged") == forged + 1
    for sock in held:
        sock.close()
    server.wait_idle()
    assert ask(**{"x-hadal-ticket": ticket})["status"] == 200
    used = count(server, "used")
    assert ask(**{"x-hadal-ticket": ticket})["status"] == 200 and count(server, "used") == used + 1


def test_a_grpc_refusal_has_a_ticket_in_its_trailers(server, stubs):
    held = fill(server)
    channel = grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)])
    stub = stubs.services.InferenceStub(channel)
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="x")
    request.stopping.max_tokens = 1

    def ask():
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Chat(request, timeout=60))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE, refused.value
        return dict(refused.value.trailing_metadata())

    refused = refusal_with_ticket(server, ask)
    assert refused["x-hadal-promise"] == "held" and int(refused["grpc-retry-pushback-ms"]) >= 1000
    assert int(refused["x-hadal-estimated-wait-ms"]) > 0  # as over HTTP
    ticket = refused["x-hadal-ticket"]
    for sock in held:
        sock.close()
    server.wait_idle()
    accepted = count(server, "accepted")
    assert list(stub.Chat(request, timeout=60, metadata=[("x-hadal-ticket", ticket)]))
    assert count(server, "accepted") == accepted + 1
    channel.close()


def test_a_ticket_is_worth_nothing_to_another_key(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("mine acme\nyours other\n")
    server = start_server("--load-format=null:10ms", "--max-model-len=65536", "--max-batch-size=1", "--max-queue-requests=1",
                          "--wait-limits=none", f"--api-key-file={keys}")

    def ask(key, **headers):
        status, answer, _ = post(server, CHAT, ASK, {"authorization": f"Bearer {key}", "x-stainless-retry-count": "0", **headers})
        return {"status": status, **answer}

    assert ask("mine")["status"] == 200
    with filled(server, {"authorization": "Bearer mine"}):
        ticket = refusal_with_ticket(server, lambda: ask("mine"))["x-hadal-ticket"]
        forged, accepted = count(server, "forged"), count(server, "accepted")
        ask("yours", **{"x-hadal-ticket": ticket})
        assert (count(server, "forged"), count(server, "accepted")) == (forged + 1, accepted)
        ask("mine", **{"x-hadal-ticket": ticket})
        assert (count(server, "forged"), count(server, "accepted")) == (forged + 1, accepted + 1)
