# SPDX-License-Identifier: Apache-2.0
"""What readers by the C++ client are told when one of two servers behind a gateway is killed: the same as without one."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/client")]
from cpp_programs import compiled, include, needs  # noqa: E402, F401
from gateway_fleet import kill, start_fleet  # noqa: E402
from gateway_process import binary  # noqa: E402

pytestmark = [needs["c++"], needs["pkg-config"]]
TOKENS = 300
CUT = re.compile(r"ABORTED: the server was lost: .*; the response broke off after \d+ pieces? with \d+ bytes of text and \d+ of reasoning, and was not asked "
                 r"for again: they would have come twice\n")


@pytest.fixture(params=["haproxy", "nginx", "edge", "edge-nginx"])
def gateway(request):
    if binary(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_what_was_read_is_aborted_and_what_waited_is_answered(gateway, tmp_path, include):  # noqa: F811
    """Each server runs one of the four chats and has one waiting."""
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_lost_server_program.cc")
    with start_fleet(gateway, tmp_path, "--load-format=null:10ms", "--max-batch-size=1", "--wait-limits=none") as (process, (one, two)):
        running = subprocess.Popen([program, f"127.0.0.1:{process.grpc_port}", "4", str(TOKENS)], stdout=subprocess.PIPE, text=True)
        try:
            assert [running.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
            for server in (one, two):
                server.wait_metric("hadal_requests_running", 1)
                server.wait_metric("hadal_requests_waiting", 1)
            kill(one)
            said, _ = running.communicate(timeout=60)
        finally:
            running.kill()
            running.wait()
    ends = sorted(line + "\n" for line in said.splitlines() if line != "begun")
    assert running.returncode == 0 and len(ends) == 4, said
    assert CUT.fullmatch(ends[0]), said
    assert ends[1:] == [f"OK {TOKENS}\n"] * 3, said


def test_what_nobody_reads_piece_by_piece_is_asked_for_again(gateway, tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_complete_all_program.cc")
    with start_fleet(gateway, tmp_path, "--load-format=null:2ms") as (process, (one, _)):
        address = f"127.0.0.1:{process.grpc_port}"
        running = subprocess.Popen([program, address, address], stdout=subprocess.PIPE, text=True)
        # Calls run there whose answers have begun.
        while one.metric("hadal_generation_tokens_total") < 20:
            assert running.poll() is None
        kill(one)
        said, _ = running.communicate(timeout=60)
    assert said == "24 of 24 answered, some asked again\n"
