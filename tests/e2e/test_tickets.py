# SPDX-License-Identifier: Apache-2.0
"""A refused client that has no key and no address of its own gets its place back with the ticket of its refusal, on both fronts."""

import contextlib
import http.client
import json
import time

import grpc
import pytest

from hadal_process import HadalProcess
from http_client import post

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
FLAGS = ("--load-format=null:10ms", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


@pytest.fixture(scope="module")
def server():
    with HadalProcess(*FLAGS) as process:
        assert post(process, CHAT, ASK)[0] == 200
        yield process


def count(server, outcome):
    return server.metric('hadal_retry_tickets_total{outcome="%s"}' % outcome)


@contextlib.contextmanager
def briefly_full(server, headers=None):
    """One request runs and one waits, unless the machine is so slow that they have ended. A refusal promises a place if the server expects one
    within half a minute for those who return, beside the fresh arrivals: so what fills it is short, and other answers are known to be shorter."""
    for _ in range(20):
        assert post(server, CHAT, ASK, headers)[0] == 200
    with contextlib.ExitStack() as held:
        for _ in range(2):
            attempts = server.metric("hadal_admission_attempts_total")
            connection = held.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)))
            connection.request("POST", CHAT, json.dumps({**ASK, "max_tokens": 400, "ignore_eos": True}), headers or {})  # four seconds
            while server.metric("hadal_admission_attempts_total") == attempts:
                time.sleep(0.02)
        yield
    server.wait_idle()


@contextlib.contextmanager
def refused_with_ticket(server, ask, headers=None):
    """`ask` has had a refusal with a place promised, which is the value. The forecast needs steps to look at, and fresh arrivals must have become
    few."""
    deadline = time.monotonic() + 120
    while True:
        with briefly_full(server, headers):
            refused = ask()
            while refused["status"] == 503 and "x-hadal-ticket" not in refused:
                assert time.monotonic() < deadline, refused
                time.sleep(1)
                refused = ask()
            if refused["status"] == 503:
                yield refused
                return


def test_a_ticket_is_good_once(server):
    def ask(**headers):
        status, answer, _ = post(server, CHAT, ASK, {"x-stainless-retry-count": "0", **headers})
        return {"status": status, **answer}

    with refused_with_ticket(server, ask) as refused:
        assert refused["x-hadal-promise"] == "held"
        ticket = refused["x-hadal-ticket"]
        early = ask(**{"x-hadal-ticket": ticket})
        if early["status"] == 503:
            assert early["x-hadal-promise"] == "held" and count(server, "accepted") >= 1
        forged = count(server, "forged")
        assert ask(**{"x-hadal-ticket": "A" * 43})["status"] in (200, 503) and count(server, "forged") == forged + 1
    assert ask(**{"x-hadal-ticket": ticket})["status"] == 200
    used = count(server, "used")
    assert ask(**{"x-hadal-ticket": ticket})["status"] == 200 and count(server, "used") == used + 1


def test_a_grpc_refusal_has_a_ticket_in_its_trailers(server, stubs):
    channel = grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)])
    stub = stubs.services.InferenceStub(channel)
    request = stubs.pb.ChatRequest()
    request.messages.add(role="user", content="x")
    request.stopping.max_tokens = 1

    def ask():
        try:
            list(stub.Chat(request, timeout=60))
        except grpc.RpcError as refused:
            assert refused.code() == grpc.StatusCode.UNAVAILABLE, refused
            return {"status": 503, **dict(refused.trailing_metadata())}
        return {"status": 200}

    with refused_with_ticket(server, ask) as refused:
        assert refused["x-hadal-promise"] == "held" and int(refused["grpc-retry-pushback-ms"]) >= 1000
        assert int(refused["x-hadal-estimated-wait-ms"]) > 0  # as over HTTP
        ticket = refused["x-hadal-ticket"]
    accepted = count(server, "accepted")
    assert list(stub.Chat(request, timeout=60, metadata=[("x-hadal-ticket", ticket)]))
    assert count(server, "accepted") == accepted + 1
    channel.close()


def test_a_ticket_is_worth_nothing_to_another_key(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("mine acme\nyours other\n")
    server = start_server(*FLAGS, f"--api-key-file={keys}")

    def ask(key, **headers):
        status, answer, _ = post(server, CHAT, ASK, {"authorization": f"Bearer {key}", "x-stainless-retry-count": "0", **headers})
        return {"status": status, **answer}

    assert ask("mine")["status"] == 200
    with refused_with_ticket(server, lambda: ask("mine"), {"authorization": "Bearer mine"}) as refused:
        ticket = refused["x-hadal-ticket"]
        forged, accepted = count(server, "forged"), count(server, "accepted")
        ask("yours", **{"x-hadal-ticket": ticket})
        assert (count(server, "forged"), count(server, "accepted")) == (forged + 1, accepted)
        ask("mine", **{"x-hadal-ticket": ticket})
        assert (count(server, "forged"), count(server, "accepted")) == (forged + 1, accepted + 1)
