# SPDX-License-Identifier: Apache-2.0
"""What is said with a call that is made again, and what is read, on a clock that the test turns. When and where stands in retry_cases.json."""

from concurrent import futures

import pytest

from hadal_client._retry import Call, Refusal, RetryOptions, Targets

BUSY = Refusal(503, "CONNECTION_QUEUE_FULL")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def targets(*addresses, **options):
    clock = Clock()
    return clock, Targets(addresses or ("a",), RetryOptions(**options), clock)


def waits(call, clock, refusal, draw=None):
    """The times that a call waits for when each attempt ends with that refusal."""
    slept = []
    while True:
        if call.begin() is not None:
            call.headers()
            call.refused(refusal)
            continue
        wait = call.wait()
        if wait is None:
            return slept
        slept.append(wait)
        clock.now += wait


def test_returns_exactly_when_told_and_with_the_ticket():
    clock, servers = targets()
    call = Call(servers)
    call.begin()
    assert call.headers() == {"x-stainless-retry-count": "0"}
    call.refused(Refusal(503, "WAIT_LIMIT", retry_after=2.5, ticket="t1", held=True))
    assert call.begin() is None and call.wait() == 2.5
    clock.now += 2.4
    assert call.begin() is None
    clock.now += 0.1
    assert call.begin() is servers.all[0]
    assert call.headers() == {"x-stainless-retry-count": "1", "x-hadal-ticket": "t1"}
    call.refused(BUSY)
    clock.now += 30
    call.begin()
    assert "x-hadal-ticket" not in call.headers(), "a ticket counts once"


def test_gives_up_when_told_to():
    clock, servers = targets()
    assert waits(Call(servers), clock, Refusal(503, should_retry=False)) == []
    assert waits(Call(servers), clock, Refusal(504)) == [], "its deadline passed in the queue"


def test_gives_up_when_the_time_named_is_behind_the_deadline():
    clock, servers = targets()
    call = Call(servers, deadline=10)
    call.begin()
    assert call.headers()["x-hadal-deadline-ms"] == "10000"
    call.refused(Refusal(503, retry_after=10.5))
    assert call.wait() is None and clock.now == 100


def test_a_proxy_that_says_that_nobody_answers_opens_the_circuit():
    clock, servers = targets(breaker_failures=2, max_attempts=50)
    waits(Call(servers), clock, BUSY)
    assert servers.all[0].state == "closed"
    waits(Call(servers), clock, Refusal(502))
    assert servers.all[0].state != "closed", "a proxy says that nobody answers"


@pytest.mark.parametrize("status, headers, expected", [
    (200, {}, None), (400, {}, None), (500, {}, None), (401, {"retry-after": "3"}, None),
    (503, {"retry-after-ms": "1500", "retry-after": "2"}, Refusal(503, retry_after=1.5)),
    (429, {"retry-after": "7", "x-hadal-reason": "TENANT_QUOTA"}, Refusal(429, "TENANT_QUOTA", 7)),
    (503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, Refusal(503)),
    (503, {"retry-after-ms": "-1", "retry-after": "inf"}, Refusal(503)),
    (503, {"x-should-retry": "false"}, Refusal(503, should_retry=False)),
    (503, {"x-hadal-ticket": "t", "x-hadal-promise": "held", "x-should-retry": "true"}, Refusal(503, should_retry=True, ticket="t", held=True))])
def test_reads_what_servers_say(status, headers, expected):
    assert Refusal.of_http(status, headers) == expected


def test_who_has_said_its_load_is_not_asked_for_it():
    clock, servers = targets("a", "b", "c")
    a, b, c = servers.all
    assert servers.to_ask_for_load() == [a, b, c] and servers.to_ask_for_load() == []
    clock.now += 1
    a.report(3)
    c.has_no_reports()
    assert servers.to_ask_for_load() == [b]
    clock.now += 1
    assert servers.to_ask_for_load() == [a, b]
    assert targets("a")[1].to_ask_for_load() == [], "there is no choice"


def test_needs_a_server():
    with pytest.raises(ValueError, match="at least one"):
        Targets([], RetryOptions())


def test_a_server_that_drains_or_loads_has_more_than_any_other():
    grpc_part = pytest.importorskip("hadal_client._grpc_calls")
    _, servers = targets("a", "b", "c")
    for target, load in zip(servers.all, ({"ready": True, "draining": True}, {"ready": True, "requests_waiting": 900}, {})):
        answer = futures.Future()
        answer.set_result(grpc_part.pb.GetLoadResponse(**load))
        grpc_part.note_load(target, answer)
    assert Call(servers).begin() is servers.all[1]
    failed = futures.Future()
    failed.set_exception(RuntimeError("gone"))
    grpc_part.note_load(servers.all[1], failed)
    assert servers.all[1].load == 901
