# SPDX-License-Identifier: Apache-2.0
"""When a call is made again and where, on a clock that the test turns."""


import pytest

from hadal_client._retry import Call, Refusal, RetryBudget, RetryOptions, Targets

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


def test_backs_off_with_full_jitter_where_no_time_is_named():
    clock, servers = targets(max_attempts=9)
    assert waits(Call(servers, draw=lambda: 1.0), clock, BUSY) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    clock, servers = targets(max_attempts=4)
    assert waits(Call(servers, draw=lambda: 0.25), clock, BUSY) == [0.125, 0.25, 0.5]


def test_gives_up_after_its_attempts_or_when_told_to():
    clock, servers = targets(max_attempts=5)
    assert len(waits(Call(servers), clock, BUSY)) == 4
    assert waits(Call(servers), clock, Refusal(503, should_retry=False)) == []
    assert waits(Call(servers), clock, Refusal(504)) == [], "its deadline passed in the queue"


def test_gives_up_when_the_time_named_is_behind_the_deadline():
    clock, servers = targets()
    call = Call(servers, deadline=10)
    call.begin()
    assert call.headers()["x-hadal-deadline-ms"] == "10000"
    call.refused(Refusal(503, retry_after=10.5))
    assert call.wait() is None and clock.now == 100


def test_tries_the_other_servers_before_it_waits():
    clock, servers = targets("a", "b", "c")
    call = Call(servers)
    seen = []
    for after in (9, 3, 6):
        seen.append(call.begin())
        call.headers()
        call.refused(Refusal(503, retry_after=after, ticket=f"t{after}", held=True))
    assert {target.address for target in seen} == {"a", "b", "c"} and call.begin() is None
    assert call.wait() == 3
    clock.now += 3
    assert call.begin() is seen[1]
    assert call.headers()["x-hadal-ticket"] == "t3", "each server gets the ticket that it gave"


def test_the_least_loaded_server_goes_first():
    _, servers = targets("a", "b")
    busy = servers.all[0]
    assert busy.start() and busy.start()
    for _ in range(2):
        assert Call(servers).begin() is servers.all[1]


def test_the_budget_bounds_retries_but_not_promised_ones():
    clock, servers = targets(budget=2, budget_refill=0.5, max_attempts=100)
    assert len(waits(Call(servers), clock, BUSY)) == 2
    assert len(waits(Call(servers), clock, BUSY)) == 0
    promised = Refusal(503, retry_after=1, ticket="t", held=True)
    assert len(waits(Call(servers), clock, promised)) == 99
    budget = RetryBudget(RetryOptions(budget=1, budget_refill=0.5))
    assert budget.take() and not budget.take()
    budget.served()
    budget.served()
    budget.served()
    assert budget.take() and not budget.take(), "never above its full stock"


def fail(servers, times):
    for _ in range(times):
        call = Call(servers)
        assert call.begin() is not None
        call.failed()


def test_a_circuit_opens_probes_once_and_closes():
    clock, servers = targets(breaker_failures=3, breaker_pause=2, max_attempts=1)
    server = servers.all[0]
    fail(servers, 2)
    assert server.state == "closed"
    fail(servers, 1)
    assert server.state == "open"
    waiting = Call(servers)
    assert waiting.begin() is None and waiting.wait() == 2
    clock.now += 2
    assert server.state == "half-open"
    probe = Call(servers)
    assert probe.begin() is server
    assert waiting.begin() is None and waiting.wait() == pytest.approx(0.1), "one call probes, others look again"
    probe.failed()
    assert server.state == "open" and Call(servers).wait() == 4, "the pause doubles"
    clock.now += 4
    probe = Call(servers)
    probe.begin()
    probe.served()
    server.finish()
    assert server.state == "closed" and Call(servers).begin() is server


def test_refusals_for_capacity_open_no_circuit():
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


def test_needs_a_server():
    with pytest.raises(ValueError, match="at least one"):
        Targets([], RetryOptions())
