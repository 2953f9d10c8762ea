# SPDX-License-Identifier: Apache-2.0
"""Which of two real servers the C++ client asks: the one that has less, and a second one when the first stops and nothing comes of its calls."""

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/client")]
from cpp_programs import compiled, include, needs  # noqa: E402, F401
from hadal_process import HadalProcess  # noqa: E402

pytestmark = [needs["c++"], needs["pkg-config"]]
CHATS = 3
SERVED = 'hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="0",outcome="ok",reason=""}'
NULL = "--load-format=null:2ms"


def occupy(server, streams=1):
    """Streams that run until they are closed."""
    body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": 2000, "ignore_eos": True})
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(streams)]
    for connection in connections:
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    server.wait_metric("hadal_requests_running", streams)
    return connections


def ask(tmp_path, include, servers, meanwhile, delay_ms=0, deadline_ms=20000, chats=CHATS):  # noqa: F811
    """What the program says of its chats: (answered, hedged, won, attempts). `meanwhile` is called when it knows the loads of the two servers, and
    before it asks."""
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_targets_program.cc")
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    running = subprocess.Popen([program, *addresses, str(delay_ms), str(deadline_ms), str(chats)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "ready\n"
        meanwhile()
        said, _ = running.communicate("go\n", timeout=60)
    finally:
        running.kill()
        running.wait()
    numbers = re.fullmatch(r"(\d+) of (\d+) answered, (\d+) hedged, (\d+) won, (\d+) attempts\n", said)
    answered, calls, *others = map(int, numbers.groups())
    assert running.returncode == 0 and calls == chats
    return answered, *others


def stop(server):
    """Returns when none of its threads runs any more: on a busy machine the signal takes its time."""
    server.signal(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task")
    while any(stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in tasks.glob("*/stat")):
        time.sleep(0.01)


def ask_beside_a_stopped_one(tmp_path, include, **options):  # noqa: F811
    """As `ask`, while the server that has the least is stopped, and what the two have answered.

    What it has said of its load may be old when the calls begin, on a machine that has no time for the program, and then the other one is
    asked alone. That shows nothing, and is tried again.
    """
    for _ in range(4):
        said, served = ask_once_beside_a_stopped_one(tmp_path, include, **options)
        _, hedged, _, attempts = said
        if hedged or not served[1] == attempts:
            break
    return said, served


def ask_once_beside_a_stopped_one(tmp_path, include, **options):  # noqa: F811
    # Its other request lasts for longer than the test.
    with HadalProcess(NULL) as stops, HadalProcess("--load-format=null:20ms") as other:
        busy = occupy(other)
        try:
            said = ask(tmp_path, include, (stops, other), lambda: stop(stops), **options)
        finally:
            stops.signal(signal.SIGCONT)
        for connection in busy:
            connection.close()
        for server in (stops, other):
            server.wait_idle()
        return said, (stops.metric(SERVED), other.metric(SERVED))


def test_a_server_that_stops_is_answered_for_by_the_other(tmp_path, include):  # noqa: F811
    said, served = ask_beside_a_stopped_one(tmp_path, include, delay_ms=200)
    answered, hedged, won, attempts = said
    # What the stopped one has said of its load is old after a while, and later calls may begin at the other one.
    assert answered == CHATS and 1 <= hedged == won and attempts == CHATS + hedged, said
    # What the stopped server found when it woke up was cancelled already.
    assert served == (0, CHATS)


def test_without_hedging_its_calls_are_late(tmp_path, include):  # noqa: F811
    said, served = ask_beside_a_stopped_one(tmp_path, include, deadline_ms=1000, chats=1)
    assert said == (0, 0, 0, 1) and served == (0, 0)


def test_the_load_that_comes_with_an_answer_counts_at_once(tmp_path, include):  # noqa: F811
    """Both said that they were idle; one has become busy since. GetLoad would tell a second later."""
    chats = 30
    with HadalProcess(NULL) as fills, HadalProcess(NULL) as idle:
        streams = []
        said = ask(tmp_path, include, (fills, idle), lambda: streams.extend(occupy(fills, 4)), chats=chats)
        assert said == (chats, 0, 0, chats)
        for connection in streams:
            connection.close()
        served = fills.metric(SERVED), idle.metric(SERVED)
        assert sum(served) == chats and served[0] <= 2, served


def test_complete_all_survives_a_server_that_is_killed(tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_complete_all_program.cc")
    with HadalProcess(NULL, expect_exit=None) as killed, HadalProcess(NULL) as stays:
        running = subprocess.Popen([program, f"127.0.0.1:{killed.port}", f"127.0.0.1:{stays.port}"], stdout=subprocess.PIPE, text=True)
        # Calls run there whose answers have begun.
        while killed.metric("hadal_generation_tokens_total") < 20:
            assert running.poll() is None
        killed.signal(signal.SIGKILL)
        said, _ = running.communicate(timeout=60)
        assert said == "24 of 24 answered, some asked again\n"
