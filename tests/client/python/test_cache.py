# SPDX-License-Identifier: Apache-2.0
"""The cache on the client's side, and equal calls at the same time: what is kept, for how long, and for whom."""

import asyncio
import os
import threading

import pytest

from hadal_client import Cache
from hadal_client._cache import determined, key_of
from hadal_client._errors import DeadlineExceeded, RequestError
from hadal_client._sharing import AsyncFlights, Asker, Flights
from hadal_client._types import Answer, Usage

WHOLE = Answer("42", "hm", "stop", [{"id": "c", "function": {"name": "f", "arguments": "{}"}}], Usage(1, 2, 3, 4), "m", "r")
A, B, C, D = (key_of(letter) for letter in "abcd")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize("fields, expected", [
    ({}, False), ({"temperature": 0}, True), ({"temperature": 0.0, "n": 1}, True), ({"temperature": 0.5}, False), ({"temperature": None}, False),
    ({"seed": 0}, True), ({"seed": 1, "temperature": 1}, True), ({"temperature": 0, "n": 2}, False), ({"temperature": 0, "reasoning_control": True}, False)])
def test_what_is_determined(fields, expected):
    assert determined(fields) is expected


@pytest.mark.parametrize("where", ["memory", "disk", "both"])
def test_keeps_all_of_an_answer_for_its_time(tmp_path, clock, where):
    options = dict(memory_bytes=0 if where == "disk" else 100_000, folder=None if where == "memory" else tmp_path / "cache", ttl=60, clock=clock)
    cache = Cache(**options)
    assert cache.find(A) is None
    cache.add(A, WHOLE)
    found = cache.find(A)
    assert found.from_cache and not WHOLE.from_cache
    found.from_cache = False
    assert found == WHOLE
    if where != "memory":
        cache = Cache(**options)
        assert cache.find(A).text == "42", "the next run"
    found.tool_calls.clear()
    clock.now += 59
    assert cache.find(A).tool_calls, "nobody changes another one's answer"
    clock.now += 1
    assert cache.find(A) is None
    assert where == "memory" or os.listdir(tmp_path / "cache") == []


def test_keeps_what_has_ended_alone(clock):
    cache = Cache(clock=clock)
    for reason in ("", "insufficient_system_resource"):
        cache.add(A, Answer("4", finish_reason=reason))
        assert cache.find(A) is None


def test_memory_drops_the_least_lately_used(clock):
    cache = Cache(memory_bytes=6000, clock=clock)
    for key in (A, B, C):
        cache.add(key, Answer("x" * 1200, finish_reason="stop"))
    assert cache.find(A)
    cache.add(D, Answer("x" * 1200, finish_reason="stop"))
    assert [bool(cache.find(key)) for key in (A, B, C, D)] == [True, False, True, True]
    cache.add(A, Answer("x" * 6000, finish_reason="stop"))
    assert cache.find(A) is None, "the new one does not fit, and the old one is wrong"


def test_a_folder_drops_the_oldest_and_nothing_of_others(tmp_path, clock):
    cache = Cache(memory_bytes=0, folder=tmp_path, disk_bytes=6000, clock=clock)
    for age, key in ((5, A), (9, B), (1, C)):
        cache.add(key, Answer("x" * 1200, finish_reason="stop"))
        os.utime(tmp_path / key, (1e9 - age, 1e9 - age))
    (tmp_path / "notes.txt").write_text("somebody's own")
    cache.add(D, Answer("x" * 1200, finish_reason="stop"))
    assert [bool(cache.find(key)) for key in (A, B, C, D)] == [True, False, True, True] and (tmp_path / "notes.txt").exists()
    assert (tmp_path / A).stat().st_mode & 0o777 == 0o600


def test_a_broken_file_is_a_miss_and_goes(tmp_path, clock):
    cache = Cache(memory_bytes=0, folder=tmp_path, clock=clock)
    cache.add(A, WHOLE)
    good = (tmp_path / A).read_text()
    for broken in (good[:at] for at in range(0, len(good), 7)):
        (tmp_path / A).write_text(broken)
        assert cache.find(A) is None and not (tmp_path / A).exists()
    for other in (good.replace("42", "43"), good.replace("4660", "9999"), "[]", '{"answer": 1}', "\udc80"):
        (tmp_path / A).write_bytes(other.encode("utf-8", "surrogateescape"))
        assert cache.find(A) is None or other == good
    cache.add(B, WHOLE)
    os.rename(tmp_path / B, tmp_path / A)
    assert cache.find(A) is None, "another answer's file"


def test_a_disk_that_is_gone_costs_misses_only(tmp_path, clock):
    cache = Cache(memory_bytes=0, folder=tmp_path / "cache", clock=clock)
    os.rmdir(tmp_path / "cache")
    cache.add(A, WHOLE)
    assert cache.find(A) is None


def test_what_a_killed_writer_left_goes_in_time(tmp_path):
    young, old = tmp_path / f"{A}.x.unfinished", tmp_path / f"{B}.x.unfinished"
    young.write_text("half")
    old.write_text("half")
    os.utime(old, (1e9, 1e9))
    Cache(folder=tmp_path)
    assert young.exists() and not old.exists()


def test_options_are_checked(tmp_path):
    (tmp_path / "file").write_text("")
    for options in ({"memory_bytes": -1}, {"ttl": 0}, {"disk_bytes": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Cache(**options)
    with pytest.raises(OSError, match="file"):
        Cache(folder=tmp_path / "file")


def test_who_asks_is_part_of_the_key():
    def key(kind="http", servers=("a", "b"), api_key="k", private=False, method="m", request=None, fields=None):
        return Asker(kind, servers, api_key, private, Cache(), False).key(method, fields or {"seed": 1}, request or {"x": 1, "y": [1, 2]})

    base = key()
    assert base == key(servers=("b", "a")) == key(request={"y": [1, 2], "x": 1})
    different = [key(kind="grpc"), key(servers=("a",)), key(api_key="l"), key(api_key=None), key(private=True), key(private=True), key(method="n"),
                 key(request={"x": 1, "y": [2, 1]}), key(request={"x": "1", "y": [1, 2]}), key(request={"x": 1.5, "y": [1, 2]})]
    assert len({base, *different}) == len(different) + 1
    assert key(fields={"temperature": 1}) is None
    assert Asker("http", ["a"], None, False, None, False).key("m", {"seed": 1}, {}) is None, "off"


# ---- Equal calls at the same time ------------------------------------------------------------------------------------

def flights(kind=Flights, cache=None):
    return kind(Asker("http", ["a"], None, False, cache, True))


def in_threads(count, call):
    """What each thread got or raised, once `call` has been begun by all of them."""
    got = []

    def run():
        try:
            got.append(call())
        except Exception as error:  # noqa: BLE001
            got.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, got


class Held:
    """A call that goes on until it is let go, and counts how often it was made."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.made = 0
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, left):
        self.made += 1
        self.begun.set()
        assert self.go.wait(60)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def wait_for_followers(shared, key, count):
    future = shared._under_way[key]
    while len(future._condition._waiters) < count:
        pass


@pytest.mark.parametrize("outcome", [WHOLE, RequestError("no", status=400)])
def test_equal_calls_of_threads_share_an_answer_or_an_error(outcome):
    shared, make = flights(), Held(outcome)
    threads, got = in_threads(5, lambda: shared.ask(A, None, make))
    wait_for_followers(shared, A, 4)
    make.go.set()
    for thread in threads:
        thread.join()
    assert got == [outcome] * 5 and make.made == 1
    if outcome is WHOLE:
        assert len({id(answer) for answer in got}) == 5, "each has its own copy"
        shared.ask(A, None, make)
        assert make.made == 2, "there is no cache"


def test_who_waits_for_an_equal_call_keeps_its_own_deadline():
    shared, make = flights(), Held(WHOLE)
    threads, got = in_threads(1, lambda: shared.ask(A, None, make))
    make.begun.wait(60)
    with pytest.raises(DeadlineExceeded):
        shared.ask(A, 0.05, make)
    make.go.set()
    threads[0].join()
    assert got == [WHOLE] and make.made == 1


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), KeyboardInterrupt()])
def test_a_call_that_is_given_up_is_made_by_another_one(error):
    shared, first, second = flights(), Held(error), Held(WHOLE)
    second.go.set()

    def lead():
        try:
            return shared.ask(A, None, first)
        except KeyboardInterrupt:
            return "interrupted"

    leader, _ = in_threads(1, lead)
    first.begun.wait(60)
    threads, got = in_threads(3, lambda: shared.ask(A, None, second))
    wait_for_followers(shared, A, 3)
    first.go.set()
    for thread in leader + threads:
        thread.join()
    assert got == [WHOLE] * 3 and 1 <= second.made <= 3


def test_a_kept_answer_asks_nobody():
    cache = Cache()
    shared = flights(cache=cache)
    assert shared.ask(A, None, lambda left: WHOLE) == WHOLE
    assert shared.ask(A, None, lambda left: pytest.fail("asked")).from_cache


def test_equal_calls_of_asyncio_share_an_answer_and_go_on_without_the_first():
    async def run():
        shared = flights(AsyncFlights)
        made, go, ended = [], asyncio.Event(), []

        async def make(left):
            made.append(left)
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return WHOLE

        first, second, third = (asyncio.ensure_future(shared.ask(A, deadline, make)) for deadline in (None, None, 0.01))
        while not made:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await third
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert await second == WHOLE and len(made) == 1 and not ended
        # The last one that leaves ends it.
        go.clear()
        alone = asyncio.ensure_future(shared.ask(A, None, make))
        while len(made) < 2:
            await asyncio.sleep(0)
        alone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await alone
        await asyncio.sleep(0)
        assert ended == ["cancelled"] and not shared._under_way

    asyncio.run(run())


def test_a_late_one_of_asyncio_asks_again_when_the_first_ones_deadline_was_shorter():
    async def run():
        shared = flights(AsyncFlights)
        begun = asyncio.Event()

        async def late(left):
            begun.set()
            await asyncio.sleep(0.02)
            raise DeadlineExceeded("late")

        async def good(left):
            return WHOLE

        first = asyncio.ensure_future(shared.ask(A, None, late))
        await begun.wait()
        assert await shared.ask(A, 60, good) == WHOLE
        with pytest.raises(DeadlineExceeded):
            await first

    asyncio.run(run())
