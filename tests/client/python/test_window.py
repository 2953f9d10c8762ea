# SPDX-License-Identifier: Apache-2.0
"""max_calls: so many calls of a client are under way at once, the others wait in order and within their deadlines."""

import asyncio
import signal
import threading
import time
from concurrent import futures

import pytest

import hadal_client
from client_kinds import grpc_target, targets
from hadal_process import HadalProcess
from hadal_client._httpx import httpx
from hadal_client._window import Place, Window


def wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# ---- The window ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2"])
def test_nonsense_is_named(wrong):
    with pytest.raises(ValueError, match="max_calls is .*from 1 on, or None"):
        hadal_client.Client(max_calls=wrong)
    with pytest.raises(ValueError, match="max_calls is"):
        hadal_client.GrpcClient(max_calls=wrong)


def test_without_a_bound_nobody_waits():
    window = Window(None)
    for _ in range(1000):
        window.take(0)


def test_turns_come_in_order_and_once_a_room():
    window, turns = Window(2), []
    held = [window.take(0), window.take(0)]

    def wait(name):
        place = window.take(60)
        turns.append((name, place))

    threads = []
    for name in "abc":
        threads.append(threading.Thread(target=wait, args=name))
        threads[-1].start()
        wait_until(lambda: len(window._waiting) == len(threads))
    for count in (1, 2):
        held[count - 1].leave()
        held[count - 1].leave()  # a second time it is nothing
        wait_until(lambda: len(turns) == count)
    assert [name for name, _ in turns] == ["a", "b"] and len(window._waiting) == 1
    turns[0][1].leave()
    for thread in threads:
        thread.join()
    for _, place in turns:
        place.leave()
    assert window._calls == 0


def test_whose_deadline_passes_leaves_the_queue():
    window = Window(1)
    held = window.take(0)
    for seconds in (-1, 0, 0.01):
        with pytest.raises(hadal_client.DeadlineExceeded, match="waited for one of max_calls = 1 of this client"):
            window.take(seconds)
        with pytest.raises(hadal_client.DeadlineExceeded, match="max_calls = 1"):
            asyncio.run(window.take_async(seconds))
    held.leave()
    window.take(0).leave()
    assert window._calls == 0 and not window._waiting


def test_ctrl_c_leaves_the_queue():
    window = Window(1)
    held = window.take(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            window.take(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    held.leave()
    assert window._calls == 0 and not window._waiting


def test_a_task_that_is_cancelled_hands_on_a_turn_that_has_come():
    async def run():
        window = Window(1)
        held = window.take(0)
        gone, next_one = (asyncio.ensure_future(window.take_async(60)) for _ in range(2))
        while len(window._waiting) < 2:
            await asyncio.sleep(0)
        held.leave()   # it is the turn of the first one, which does not know yet
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert isinstance(await asyncio.wait_for(next_one, 5), Place)
        waits = asyncio.ensure_future(window.take_async(60))
        await asyncio.sleep(0.01)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        next_one.result().leave()
        assert window._calls == 0 and not window._waiting

    asyncio.run(run())


# ---- The clients -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def server():
    """One whose model writes on and on, a token in 5 ms."""
    with HadalProcess("--load-format=null:5ms", "--max-batch-size=32") as process:
        yield process


def nine_at_once(client):
    """A thread in which nine chats are asked for at once."""
    ask = {"max_tokens": 20, "ignore_eos": True}
    if hasattr(client, "run"):
        return threading.Thread(target=lambda: client.run(lambda one: asyncio.gather(*(one.chat("x", **ask) for _ in range(9)))))

    def run():
        with futures.ThreadPoolExecutor(9) as threads:
            list(threads.map(lambda _: client.chat("x", **ask), range(9)))

    return threading.Thread(target=run)


def test_no_more_than_so_many_are_under_way(server, connect):
    client = connect(server, max_calls=2)
    before, most = server.metric("hadal_requests_total"), 0
    thread = nine_at_once(client)
    thread.start()
    while thread.is_alive():
        most = max(most, sum(target.in_flight for target in targets(client)))
    thread.join()
    assert most == 2
    server.wait_idle()
    assert server.metric("hadal_requests_total") == before + 9
    assert client.chat("x", max_tokens=1, deadline=30).finish_reason, "each has left its place"


def test_a_stream_has_its_place_to_its_end_and_its_thinking_may_be_ended(server, connect):
    client = connect(server, max_calls=1)
    stream = client.stream("x", max_tokens=1500, ignore_eos=True, reasoning_control=True)
    next(stream)
    before = server.metric("hadal_requests_total")
    started = time.monotonic()
    for ask in (lambda: client.chat("y", deadline=0.3), lambda: client.complete("y", deadline=0.3)):
        with pytest.raises(hadal_client.DeadlineExceeded, match="max_calls = 1"):
            ask()
    assert time.monotonic() - started < 20 and server.metric("hadal_requests_total") == before, "they were not sent"
    stream.end_thinking()
    stream.close()
    assert client.chat("y", max_tokens=1, deadline=30).finish_reason
    with pytest.raises(hadal_client.RequestError):
        client.chat("y", model="no-such-model", deadline=30)
    assert client.chat("y", max_tokens=1, deadline=30).finish_reason, "an error has left its place"


def test_a_refused_call_keeps_its_place_while_it_waits_and_leaves_it_in_the_end():
    asked = []

    def full(request):
        asked.append(request)
        return httpx.Response(503, headers={"retry-after-ms": "10"}, json={"error": {"message": "full"}})

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(full), max_calls=1, retry=hadal_client.RetryOptions(max_attempts=3)) as client:
        for _ in range(2):
            with pytest.raises(hadal_client.ServerBusy):
                client.chat("x", deadline=30)
    assert len(asked) == 6


def test_nobody_there_leaves_no_place_taken(connect):
    class Nobody:
        url = "http://127.0.0.1:1"
        port = 1

    client = connect(Nobody, max_calls=1, retry=hadal_client.RetryOptions(max_attempts=1))
    for _ in range(2):
        with pytest.raises(hadal_client.ServerUnreachable):
            client.chat("x", deadline=20)


def test_a_caller_that_is_cancelled_while_it_waits_leaves_nothing(server):
    async def leave(client):
        stream = client.stream("x", max_tokens=1500, ignore_eos=True)
        await stream.__anext__()
        waits = asyncio.ensure_future(client.chat("y", max_tokens=1))
        await asyncio.sleep(0.1)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        await stream.aclose()
        answer = await asyncio.wait_for(client.chat("y", max_tokens=1), 30)
        await client.aclose()
        return bool(answer.finish_reason)

    async def both():
        return [await leave(hadal_client.AsyncClient(server.url, max_calls=1)), await leave(hadal_client.AsyncGrpcClient(grpc_target(server), max_calls=1))]

    assert asyncio.run(both()) == [True, True]
