# SPDX-License-Identifier: Apache-2.0
"""A second attempt at another server where the first one lets its caller wait: with two real servers, of which one is slow."""

import asyncio
import contextlib
import json
import re
import signal
import threading
import time

import openai
import pytest

import hadal_client
from client_kinds import ONE_AT_A_TIME, counts_of, targets
from hadal_client import RetryOptions
from hadal_client._hedge_delay import HedgeDelay, kind_of
from hadal_client._hedging import first_of, first_of_async
from hadal_client._httpx import httpx
from hadal_process import filled

SLOW = "--load-format=null:3s"  # a step, and so the first piece; it notices between two steps that a caller has gone
FAST = "--load-format=null:2ms"
HEDGED = RetryOptions(hedge_after=0.2)
FEW = {"max_tokens": 3, "ignore_eos": True}


@pytest.fixture
def pair(start_server):
    """The slow one and the fast one."""
    return start_server(SLOW), start_server(FAST)


def ask_first(client, first):
    """For the next call the other one seems to have more."""
    for target in targets(client):
        target.has_no_reports()  # so that nobody asks
        target.report(0 if target is first else 0.5)
    return client


def slow_first(connect, servers, **options):
    client = connect(*servers, **{"retry": HEDGED, **options})
    return ask_first(client, targets(client)[0])


def counts(server):
    """(generations that were asked for, those whose caller went before their end)"""
    server.wait_idle()
    asked = cancelled = 0
    for line in server.get("/metrics")[1].splitlines():
        if re.match(r'hadal_requests_total{route="(Chat|Generate|/v1/chat/completions|/v1/completions)"', line):
            count = int(line.rsplit(" ", 1)[1])
            asked += count
            cancelled += count if 'outcome="cancelled"' in line else 0
    return asked, cancelled


ASK = {"chat": lambda client: client.chat("x", **FEW).usage.completion_tokens == 3,
       "complete": lambda client: client.complete("x", **FEW).usage.completion_tokens == 3,
       "stream": lambda client: "".join(piece.text + piece.reasoning for piece in client.stream("x", **FEW))}


@pytest.mark.parametrize("call", ASK)
def test_the_other_server_answers_and_the_slow_one_is_let_go(pair, connect, call):
    slow, fast = pair
    client = slow_first(connect, pair)
    assert ASK[call](client)
    assert counts(fast) == (1, 0) and counts(slow) == (1, 1)
    assert all(target.in_flight == 0 and target.state == "closed" for target in targets(client))


def test_it_is_off_by_default(pair, connect):
    slow, fast = pair
    client = slow_first(connect, pair, retry=RetryOptions())
    client.chat("x", max_tokens=1)
    assert counts(fast) == (0, 0) and counts(slow) == (1, 0)


def test_an_answer_that_has_begun_is_left_alone(start_server, connect):
    servers = start_server("--load-format=null:150ms"), start_server(FAST)
    client = slow_first(connect, servers, retry=RetryOptions(hedge_after=2.5))
    assert len([piece for piece in client.stream("x", max_tokens=25, ignore_eos=True)]) > 1  # 3.75 s
    assert counts(servers[1]) == (0, 0) and counts(servers[0]) == (1, 0)


def test_who_answers_first_is_heard_be_it_the_first(start_server, connect):
    servers = start_server("--load-format=null:600ms"), start_server("--load-format=null:3s")
    client = slow_first(connect, servers)
    answer = next(client.stream("x", max_tokens=2, ignore_eos=True))
    assert answer.text or answer.reasoning
    assert counts(servers[1]) == (1, 1)


def test_a_refusal_is_no_reason_and_a_refused_one_no_harm(start_server, connect):
    full, slow = start_server(*ONE_AT_A_TIME), start_server(SLOW)
    with filled(full):
        before = full.metric("hadal_admission_rejections_total")
        client = connect(full, slow, retry=HEDGED)
        ask_first(client, targets(client)[1])
        assert client.chat("x", max_tokens=1).finish_reason == "length"  # of the slow one, while the full one refuses the hedge
        assert full.metric("hadal_admission_rejections_total") == before + 1
        ask_first(client, targets(client)[0])
        assert client.chat("x", max_tokens=1).finish_reason == "length"  # refused at once, and so asked elsewhere; that is no hedge
        assert full.metric("hadal_admission_rejections_total") == before + 2
    assert counts(slow) == (2, 0)


def test_the_budget_bounds_it(pair, connect):
    slow, fast = pair
    client = slow_first(connect, pair, retry=RetryOptions(hedge_after=0.1, budget=0))
    client.chat("x", max_tokens=1)
    assert counts(fast) == (0, 0) and counts(slow) == (1, 0)


def test_a_hedge_that_cannot_be_answered_is_as_if_it_had_not_been(start_server, connect, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("right tenant\n")
    slow, strange = start_server(SLOW), start_server(FAST, f"--api-key-file={keys}")
    client = slow_first(connect, (slow, strange), api_key="wrong")
    assert client.chat("x", max_tokens=1).finish_reason == "length"
    assert counts(slow) == (1, 0)
    ask_first(client, targets(client)[1])
    with pytest.raises(hadal_client.RequestError) as caught:  # as a first attempt its word is the answer
        client.chat("x", max_tokens=1)
    assert caught.value.status == 401


def test_a_server_that_dies_while_both_are_asked(start_server, connect):
    dying, slow = start_server("--load-format=null:20s"), start_server(SLOW)
    client = slow_first(connect, (dying, slow), retry=RetryOptions(hedge_after=0.1, initial_backoff=0.05))
    killer = threading.Timer(0.6, dying.signal, [signal.SIGKILL])
    killer.start()
    assert client.chat("x", max_tokens=1).finish_reason == "length"
    killer.join()
    assert counts(slow) == (1, 0)


def test_whose_caller_goes_leaves_both(start_server, connect):
    servers = start_server("--load-format=null:700ms"), start_server("--load-format=null:700ms")
    client = slow_first(connect, servers, retry=RetryOptions(hedge_after=0.05))
    question = {"max_tokens": 2000, "ignore_eos": True}
    if connect.kind.endswith("async"):
        with pytest.raises(asyncio.TimeoutError):
            client.run(lambda one: asyncio.wait_for(one.chat("x", **question), 2))
    else:
        with ctrl_c(after=2), pytest.raises(KeyboardInterrupt):
            client.chat("x", **question)
    assert [counts(server) for server in servers] == [(1, 1), (1, 1)]
    assert all(target.in_flight == 0 for target in targets(client))


@contextlib.contextmanager
def ctrl_c(after):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_deadline_ends_both(start_server, connect):
    servers = start_server(SLOW), start_server(SLOW)
    client = slow_first(connect, servers, retry=RetryOptions(hedge_after=0.05))
    with pytest.raises((hadal_client.DeadlineExceeded, hadal_client.ServerUnreachable, hadal_client.ServerBusy)):
        client.chat("x", max_tokens=2000, ignore_eos=True, deadline=0.5)
    for server in servers:
        server.wait_idle()
    assert all(target.in_flight == 0 for target in targets(client))


def test_the_openai_package_is_hedged(pair):
    with httpx.Client(transport=hadal_client.Transport([server.url for server in pair], HEDGED)) as http:
        ask_first(http._transport, http._transport.targets.all[0])
        client = openai.OpenAI(base_url="http://any/v1", api_key="none", max_retries=0, http_client=http)
        stream = client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "x"}], stream=True, max_tokens=3)
        assert list(stream)[-1].choices[0].finish_reason
    assert counts(pair[1]) == (1, 0) and counts(pair[0]) == (1, 1)


# ---- When it is not known how long an answer takes --------------------------------------------------------------------

def test_the_delay_is_learnt_from_the_answers(start_server, connect):
    """From the 20th on; the slow server's first word comes after 3 s, when most have come within milliseconds."""
    servers = start_server(FAST), start_server(SLOW)
    client = connect(*servers, retry=RetryOptions(hedge_quantile=0.9, hedge_share=1))
    for _ in range(20):
        assert ASK["chat"](ask_first(client, targets(client)[0]))
    assert counts_of(client).calls == 20
    hedged = counts_of(client).hedges
    assert ASK["chat"](ask_first(client, targets(client)[1]))
    told = counts_of(client)
    assert (told.calls, told.hedges, told.attempts) == (21, hedged + 1, 21 + hedged + 1) and told.hedges_won >= 1


def test_before_the_twentieth_answer_nothing_is_hedged(start_server, connect):
    servers = start_server(SLOW), start_server(FAST)
    client = slow_first(connect, servers, retry=RetryOptions(hedge_quantile=0.9, hedge_after=0.1))
    assert ASK["chat"](client)
    assert counts_of(client) == hadal_client.CallCounts(calls=1, attempts=1)


def test_a_quantile_of_the_last_answers_of_its_kind_and_no_less_than_the_fixed_time():
    delay = HedgeDelay(None, 0.95)
    for number in range(1, 20):
        delay.answered("stream", number / 1000)
    assert delay.seconds("stream") is None, "too few to tell"
    for number in range(20, 101):
        delay.answered("stream", number / 1000)
    assert delay.seconds("stream") == pytest.approx(0.096)
    assert delay.seconds("whole") is None, "these take another time"
    for _ in range(256):
        delay.answered("stream", 2.0)
    assert delay.seconds("stream") == 2.0, "old ones are forgotten"
    both = HedgeDelay(3.0, 0.5)
    for _ in range(20):
        both.answered("question", 1.0)
    assert both.seconds("question") == 3.0
    assert HedgeDelay(3.0, None).seconds("question") == 3.0 and HedgeDelay(None, None).seconds("question") is None


def test_the_kinds_of_answers_over_http():
    assert kind_of("/v1/chat/completions", b'{"stream": true}') == kind_of("/v1/messages", b'{"a":1,"stream":true}') == "stream"
    assert kind_of("/v1/completions", b'{"stream":false}') == kind_of("/v1/responses", b'{"input": "x"}') == "whole"
    assert kind_of("/v1/completions", json.dumps({"prompt": '"stream":true'}).encode()) == "whole", "a text"
    assert kind_of("/tokenize", b'{"stream":true}') == "question"


# ---- What must not run twice -----------------------------------------------------------------------------------------

def test_a_batch_is_not_hedged(start_server, connect, tmp_path):
    servers = [start_server("--load-format=null:50ms", f"--batch-store={tmp_path / name}.db") for name in "ab"]
    client = connect(*servers, retry=RetryOptions(hedge_after=0, hedge_share=1))
    batch = client.submit_batch({"one": "x"}, max_tokens=1)
    assert client.batch(batch).id == batch.id
    for path in ("/v1/files", "/v1/batches"):
        there = [json.loads(server.get(path)[1])["data"] for server in servers]
        assert sorted(sum(one.get("purpose") != "batch_output" for one in data) for data in there) == [0, 1], path


# ---- Mistakes --------------------------------------------------------------------------------------------------------

def test_nonsense_is_named():
    for wrong in (-1, "1", float("nan"), float("inf")):
        with pytest.raises(ValueError, match="hedge_after: expected seconds, 0 or more"):
            RetryOptions(hedge_after=wrong)
    for wrong in (0, 1, -0.5, "0.9", float("nan")):
        with pytest.raises(ValueError, match="hedge_quantile: expected a number above 0 and below 1"):
            RetryOptions(hedge_quantile=wrong)
    with pytest.raises(ValueError, match="hedge_share: expected a number, 0 or more"):
        RetryOptions(hedge_share=-0.1)
    with pytest.raises(ValueError, match="hedge_after, hedge_quantile: a transport of your own must be one for asyncio"):
        hadal_client.Client("http://a:1", transport=httpx.HTTPTransport(), retry=HEDGED)


def test_a_client_that_is_closed_says_so(start_server):
    server = start_server(FAST)
    client = hadal_client.Client(server.url, retry=HEDGED)
    stream = client.stream("x", max_tokens=2000, ignore_eos=True)
    next(stream)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client._transport.handle_request(httpx.Request("GET", server.url))
    with contextlib.suppress(Exception):
        stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "hadal_client"]


# ---- Who is first ----------------------------------------------------------------------------------------------------

class Scripted:
    """An attempt that ends after so many seconds, with an answer, without one, or with an error."""

    def __init__(self, seconds, outcome):
        self.seconds, self.outcome, self.cancelled = seconds, outcome, 0
        self._gone = threading.Event()

    def make(self):
        self._gone.wait(self.seconds)

    async def amake(self):
        await asyncio.sleep(self.seconds)

    def judge(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def cancel(self):
        self.cancelled += 1
        self._gone.set()

    async def acancel(self):
        self.cancelled += 1


def race(kind, first, second, after):
    if kind == "threads":
        return first_of(Scripted.make, first, lambda: second, after)
    return asyncio.run(first_of_async(Scripted.amake, first, lambda: second, after))


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_each_end_of_a_race(kind):
    quick, late, refused = (lambda: Scripted(0.02, True)), (lambda: Scripted(5, True)), (lambda: Scripted(0.02, False))
    for first, second, after, won in ((quick(), quick(), None, 0), (quick(), late(), 5, 0), (late(), quick(), 0.02, 1), (Scripted(0.1, True), late(), 0, 0),
                                      (Scripted(0.1, True), refused(), 0, 0), (Scripted(0.1, False), Scripted(0.2, True), 0, 1), (refused(), late(), 5, None),
                                      (refused(), refused(), 0, None), (Scripted(0.1, True), None, 0, 0)):
        got = race(kind, first, second, after)
        assert got is (None if won is None else (first, second)[won])
        assert [one.cancelled > 0 for one in (first, second) if one is got] in ([], [False])
    for first, second in ((Scripted(0.02, OSError("x")), late()), (late(), Scripted(0.02, OSError("x")))):
        with pytest.raises(OSError):
            race(kind, first, second, 0)
        assert first.cancelled and second.cancelled
