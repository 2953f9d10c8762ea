# SPDX-License-Identifier: Apache-2.0
"""TCP Fast Open of the C++ client, and of curl, with a real server, in a network of their own: the kernel counts."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/client")]
from cpp_programs import compiled, include, needs  # noqa: E402, F401
from hadal_process import HadalProcess  # noqa: E402
from own_network import own_network, tcp_counter, why_not  # noqa: E402

pytestmark = [needs["c++"], needs["pkg-config"], pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
CLIENTS_AND_SERVERS, CLIENTS = 3, 1


def run(program, port, switch):
    asked = subprocess.run([program, f"127.0.0.1:{port}", switch], capture_output=True, text=True, timeout=60)
    assert asked.stdout == "asked\n" * 3, asked.stderr


def test_connections_that_are_made_again_save_a_round_trip(tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_fast_open_program.cc")
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS), HadalProcess("--tcp-fast-open=true") as server:
        run(program, server.port, "off")
        assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 0
        run(program, server.port, "on")
        # The first connection brings the cookie that the others show.
        assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 2
        assert "--tcp-fast-open has no effect" not in server.text()


def test_the_port_of_grpc_has_it_too(tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_fast_open_program.cc")
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS), HadalProcess("--tcp-fast-open=true", "--grpc-port=0") as server:
        run(program, server.grpc_port, "on")
        assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 2


def test_where_the_kernel_or_the_server_does_not_have_it_connections_are_made_as_ever(tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_fast_open_program.cc")
    for setting, flag in ((CLIENTS_AND_SERVERS, "false"), (CLIENTS, "true"), (0, "true")):
        with own_network(tcp_fastopen=setting), HadalProcess(f"--tcp-fast-open={flag}") as server:
            run(program, server.port, "on")
            assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 0
            if flag == "true":
                server.wait_text("--tcp-fast-open has no effect")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_has_it_over_http():
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS), HadalProcess("--tcp-fast-open=true") as server:
        for _ in range(3):
            body = subprocess.run(["curl", "-sS", "--tcp-fastopen", f"http://127.0.0.1:{server.port}/v1/models"], check=True, capture_output=True, text=True)
            assert "hadal-demo" in body.stdout
        assert tcp_counter("TCPFastOpenPassive") == 2
