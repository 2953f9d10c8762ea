# SPDX-License-Identifier: Apache-2.0
"""HAProxy's breaker on answers in k8s/overlays/edge: a server that fails is taken out although its health checks pass, one that refuses is not."""
import collections
import concurrent.futures
import contextlib
import json
import re
import time

import grpc
import pytest

from background_http import BackgroundServer, Handler
from gateway_fleet import SMALL, answer, ask, stub_of
from gateway_process import GatewayProcess, binary
from hadal_process import PATIENCE, HadalProcess, filled

pytestmark = pytest.mark.skipif(binary("edge") is None, reason="haproxy is not installed")
SHORT = {" expire 30s ": " expire 3s "}
LIMIT = 10  # failures in a row


class PretendedServer(BackgroundServer):
    """Is ready, and says so after `late` seconds; answers everything else with `status`, and as hadal's with `reason`."""

    def __init__(self, status, reason=None, late=0):
        self.status, self.reason, self.late = status, reason, late
        self.asked = self.health_asked = 0
        super().__init__(self.Answer)

    def handle_error(self, *_):  # HAProxy resets the connections of its health checks
        pass

    class Answer(Handler):
        def answer(self):
            self.body()
            probed = self.path in ("/health/ready", "/v1/models")  # the second: GatewayProcess, whether the gateway is there
            given = {"x-hadal-reason": self.server.reason} if self.server.reason and not probed else {}
            self.server.asked += not probed
            if self.path == "/health/ready":
                self.server.health_asked += 1
                time.sleep(self.server.late)
            self.reply(200 if probed else self.server.status, json.dumps({"object": "list", "data": [{"id": "hadal-demo"}]}).encode(), given)

        do_GET = do_POST = answer


def log_of(folder):
    return (folder / "edge.log").read_text()


def none_is_out(folder):
    return re.search(r"Server \w+/replica\d is DOWN", log_of(folder)) is None


def ask_until(done, ask_once):
    """The answers until then."""
    found, deadline = collections.Counter(), time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, found
        found[ask_once()] += 1
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("status, reason", [(500, "INTERNAL"), (502, None)])
def test_a_server_that_fails_is_taken_out_and_tried_again_later(status, reason, tmp_path):
    """502 without hadal's reason is a failure of something before it."""
    down, up = "Server replicas/replica1 is DOWN", "Server replicas/replica1 is UP"
    with PretendedServer(status, reason) as broken, PretendedServer(200) as sound, \
            GatewayProcess("edge", tmp_path, [broken.port, sound.port], edits=SHORT) as edge:
        seen = ask_until(lambda: down in log_of(tmp_path), lambda: ask(edge.port, 1)[0])
        assert seen[200] >= LIMIT and seen[status] >= LIMIT, seen
        assert "it has failed ten times in a row" in log_of(tmp_path)
        before = broken.asked
        assert [ask(edge.port, 1)[0] for _ in range(20)] == [200] * 20 and broken.asked == before
        broken.status = 200
        ask_until(lambda: up in log_of(tmp_path), lambda: ask(edge.port, 1)[0])
        ask_until(lambda: broken.asked > before, lambda: ask(edge.port, 1)[0])
        assert "Server replicas/replica2 is DOWN" not in log_of(tmp_path)


def test_failures_elsewhere_are_none_of_its_own(tmp_path):
    """What a server says of its upstream."""
    with PretendedServer(502, "UPSTREAM_FAILED") as one, PretendedServer(502, "UPSTREAM_FAILED") as two, \
            GatewayProcess("edge", tmp_path, [one.port, two.port]) as edge:
        assert [ask(edge.port, 1)[0] for _ in range(6 * LIMIT)] == [502] * 6 * LIMIT
        time.sleep(3)  # two health checks and more
        assert none_is_out(tmp_path)


@pytest.mark.parametrize("name", ["haproxy", "edge"])
def test_servers_whose_health_answers_late_stay_in(name, tmp_path):
    """As all of a node do that has no processor to give: without them nobody would be served."""
    with PretendedServer(200, late=2) as one, PretendedServer(200, late=2) as two, GatewayProcess(name, tmp_path, [one.port, two.port]) as process:
        checks = one.health_asked
        seen = ask_until(lambda: one.health_asked >= checks + 4, lambda: ask(process.port, 1)[0])
        assert set(seen) == {200}, seen


def test_one_success_between_failures_keeps_it_in(tmp_path):
    with PretendedServer(500) as flaky, PretendedServer(500) as other, GatewayProcess("edge", tmp_path, [flaky.port, other.port]) as edge:
        for turn in range(8 * LIMIT):
            flaky.status = other.status = 200 if turn % 5 == 0 else 500
            ask(edge.port, 1)
        time.sleep(3)  # two health checks and more
        assert none_is_out(tmp_path)
        assert flaky.asked > 3 * LIMIT and other.asked > 3 * LIMIT


def test_servers_that_refuse_stay_in(tmp_path):
    """Everybody is refused by both, for longer than the breaker needs; then both serve at once."""
    with HadalProcess(*SMALL) as one, HadalProcess(*SMALL) as two, GatewayProcess("edge", tmp_path, [one.port, two.port]) as edge:
        with filled(one), filled(two):
            until = time.monotonic() + 4  # health checks come every second
            refused = 0
            while time.monotonic() < until or refused <= 4 * LIMIT:
                status, headers, _ = ask(edge.port, 1)
                assert status == 503 and headers["x-hadal-reason"] == "CONNECTION_QUEUE_FULL" and int(headers["retry-after"]) >= 1
                refused += 1
        assert none_is_out(tmp_path)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda _: ask(edge.port, 100)[0], range(2))) == [200] * 2


def test_of_two_the_one_that_fails_goes_and_the_one_that_refuses_stays(tmp_path):
    with HadalProcess(*SMALL) as busy, PretendedServer(500) as broken, GatewayProcess("edge", tmp_path, [busy.port, broken.port]) as edge:
        with filled(busy):
            ask_until(lambda: "Server replicas/replica2 is DOWN" in log_of(tmp_path), lambda: ask(edge.port, 1)[0])
            assert "Server replicas/replica1 is DOWN" not in log_of(tmp_path)
            status, headers, _ = ask(edge.port, 1)
            assert status == 503 and "x-hadal-reason" in headers
        assert ask(edge.port, 1)[0] == 200


@contextlib.contextmanager
def pretended_grpc(stubs, code):
    """(port of one that ends every call with the code, list of the calls)."""
    calls = []

    class Servicer(stubs.services.InferenceServicer):
        def Generate(self, request, context):
            calls.append(request)
            if code == grpc.StatusCode.UNAVAILABLE:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", "1000"), ("x-request-id", "r")))
            context.abort(code, "by intention")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        stubs.services.add_InferenceServicer_to_server(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port, calls
        server.stop(None).wait()


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_of_grpc_only_failures_count_too(code, tmp_path, stubs):
    with pretended_grpc(stubs, code) as (port, calls), PretendedServer(200) as health, HadalProcess("--load-format=null") as sound:
        # Its health is asked for at another port.
        edits = {f"server replica1 127.0.0.1:{port}\n": f"server replica1 127.0.0.1:{port} port {health.port}\n"}
        with GatewayProcess("edge", tmp_path, [port, sound.port], edits=edits) as edge, stub_of(edge.grpc_port, stubs) as stub:
            down = "Server grpc_replicas/replica1 is DOWN"

            def call():
                try:
                    return answer(stub, stubs)
                except grpc.RpcError as error:
                    return error.code()

            if code == grpc.StatusCode.INTERNAL:
                seen = ask_until(lambda: down in log_of(tmp_path), call)
                assert seen[code] >= LIMIT and set(seen) == {1, code}
                before = len(calls)
                assert [call() for _ in range(20)] == [1] * 20 and len(calls) == before
                return
            until = time.monotonic() + 4
            while time.monotonic() < until or len(calls) <= 2 * LIMIT:
                assert call() in (1, code)
            assert none_is_out(tmp_path)
