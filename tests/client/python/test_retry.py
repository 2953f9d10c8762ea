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


# ---- Promises that calls share ----

PROMISED = {"reason": "WAIT_LIMIT", "ticket": "t", "held": True}


def refuse(servers, clock, *times):
    """Calls that are promised places for so many seconds from now."""
    for seconds in times:
        call = Call(servers)
        assert call.begin() is not None
        call.refused(Refusal(503, retry_after=seconds, **PROMISED))


def begins(servers, clock, count, **options):
    """When so many calls that come now ask first, in seconds."""
    calls, times, start = [Call(servers, **options) for _ in range(count)], {}, clock.now
    while len(times) < count:
        for number, call in enumerate(calls):
            if number not in times and call.begin() is not None:
                times[number] = clock.now - start
        waits = [call.wait() for number, call in enumerate(calls) if number not in times]
        clock.now += min(waits, default=0)
    return [times[number] for number in range(count)]


def test_who_would_be_refused_waits_behind_those_that_were_promised_places():
    clock, servers = targets(share_promises=True)
    for _ in range(5):  # it answers two a second
        served = Call(servers)
        served.begin().finish()
        served.served()
        clock.now += 0.5
    first, second = Call(servers), Call(servers)
    first.begin(), second.begin()
    for call, seconds in ((first, 5.0), (second, 5.5)):
        call.refused(Refusal(503, retry_after=seconds, **PROMISED))
    assert begins(servers, clock, 3) == pytest.approx([5.5, 6.0, 6.5])
    clock.now += 10
    assert begins(servers, clock, 2) == [0, 0], "the line has ended"
    assert first.begin() is not None and first.headers()["x-hadal-ticket"] == "t", "the promised ones go when told"


@pytest.mark.parametrize("options, refusal", [({}, PROMISED), ({"share_promises": True}, {**PROMISED, "held": False})], ids=["off", "no promise"])
def test_else_everybody_asks(options, refusal):
    clock, servers = targets(**options)
    call = Call(servers)
    call.begin()
    call.refused(Refusal(503, retry_after=5, **refusal))
    assert begins(servers, clock, 2) == [0, 0]


def test_who_has_no_time_for_the_line_asks_at_once():
    clock, servers = targets(share_promises=True)
    refuse(servers, clock, 5)
    assert begins(servers, clock, 1, deadline=4) == [0]


def test_another_server_has_no_line():
    clock, servers = targets("a", "b", share_promises=True)
    servers.at("b").report(1)
    refuse(servers, clock, 5)
    assert Call(servers).begin() is servers.at("b")
    refused = Call(servers)
    assert refused.begin() is servers.at("b")
    refused.refused(Refusal(503, retry_after=2, **PROMISED))
    assert begins(servers, clock, 1) == [2], "the shorter one, of b"


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
