# SPDX-License-Identifier: Apache-2.0
"""What the edges of k8s/overlays do about connections: kept ones to the servers, TCP Fast Open to clients, and HAProxy's breaker."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from background_http import BackgroundServer, Handler
from gateway_fleet import ask, kill
from gateway_process import GatewayProcess, binary
from hadal_process import PATIENCE, HadalProcess


class CountingServer(BackgroundServer):
    """Answers as a server would, and counts the connections by which requests came. Those of health checks do not count."""

    def __init__(self):
        self.used = set()
        super().__init__(self.Answer)

    class Answer(Handler):
        def answer(self):
            if self.path != "/health/ready":
                self.server.used.add(self.client_address)
            self.body()
            self.reply(200, json.dumps({"object": "list", "data": [{"id": "hadal-demo"}]}).encode())

        do_GET = do_POST = answer


def test_connections_to_the_servers_are_kept_for_other_clients(gateway, tmp_path):
    with CountingServer() as one, CountingServer() as two, GatewayProcess(gateway, tmp_path, [one.port, two.port]) as process:
        one.used.clear()
        two.used.clear()
        for _ in range(40):  # each by a client connection of its own
            assert ask(process.port, 1)[0] == 200
        # One per server, and per worker process of nginx or thread of HAProxy.
        assert len(one.used) + len(two.used) <= 2 * (os.cpu_count() + 1) < 40
        assert one.used and two.used


def test_the_breaker_takes_a_server_out_whose_connections_fail(tmp_path):
    """Health checks come too late here: the answers of clients have to show it. That refusals do not is in test_gateways.py."""
    if binary("edge") is None:
        pytest.skip("haproxy is not installed")
    with HadalProcess("--load-format=null") as one, HadalProcess("--load-format=null") as two, \
            GatewayProcess("edge", tmp_path, [one.port, two.port], edits={" inter 1s ": " inter 1h "}) as edge:
        kill(one)
        deadline = time.monotonic() + PATIENCE
        down = "Server replicas/replica1 is DOWN"
        asked = 0
        while down not in (log := (tmp_path / "edge.log").read_text()):
            assert ask(edge.port, 1)[0] == 200, "the other one answers meanwhile"
            asked += 1
            assert time.monotonic() < deadline, log
        assert asked >= 10, "error-limit"
        assert "Server replicas/replica2 is DOWN" not in log
        assert [ask(edge.port, 1)[0] for _ in range(5)] == [200] * 5


FAST_OPEN = """
import pathlib, socket, sys
port = int(sys.argv[1])
def passive():
    names, values = [line.split()[1:] for line in pathlib.Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")]
    return int(dict(zip(names, values))["TCPFastOpenPassive"])
for turn in range(2):  # the first gets a cookie, the second sends its request with its first packet
    with socket.socket() as client:
        client.sendto(b"GET /edge/live HTTP/1.1\\r\\nHost: t\\r\\nConnection: close\\r\\n\\r\\n", socket.MSG_FASTOPEN, ("127.0.0.1", port))
        assert b" 200 " in client.recv(4096)
print(passive())
"""


@pytest.mark.parametrize("name", ["edge", "edge-nginx"])
def test_clients_may_send_their_request_with_their_first_packet(name, tmp_path):
    """In a network namespace, where the system lets servers do it; a node has to (net.ipv4.tcp_fastopen=3)."""
    if binary(name) is None:
        pytest.skip(f"{name} is not installed")
    allowed = ["unshare", "-n", "sh", "-c", 'ip link set lo up && echo 3 > /proc/sys/net/ipv4/tcp_fastopen && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*allowed, "true"], capture_output=True).returncode != 0:
        pytest.skip("cannot make a network namespace")
    (tmp_path / "client.py").write_text(FAST_OPEN)
    script = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import subprocess
from gateway_process import GatewayProcess
with GatewayProcess({name!r}, {str(tmp_path)!r}, [1, 2], answers=503) as process:
    print(subprocess.run([sys.executable, {str(tmp_path / "client.py")!r}, str(process.port)], check=True, capture_output=True, text=True).stdout)
"""
    done = subprocess.run([*allowed, sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 1
