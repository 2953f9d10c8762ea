# SPDX-License-Identifier: Apache-2.0
"""The load generator of benchmarks/server/grpc_stream.py and refusals.py, against servers with room and without."""

import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "tests/e2e"))
from hadal_process import HadalProcess, filled  # noqa: E402
from tls_files import Authority  # noqa: E402

CLIENT = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build/release")) / "benchmarks/server/grpc_stream_client"


SMALL = ("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1")


def start(server, streams, tokens, *ca_file):
    return subprocess.run([CLIENT, server.target, str(streams), "2", str(tokens), "0.5", *ca_file], capture_output=True, text=True, timeout=120)


def run(*arguments):
    done = start(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_streams_are_counted_and_all_end():
    with HadalProcess("--load-format=null") as server:
        for _ in range(3):
            counts = run(server, 8, 20)
            assert counts["calls"] >= 8 and counts["refused"] == 0
            assert counts["tokens_per_s"] > 0
        server.wait_idle()


def test_refusals_are_no_failures():
    with HadalProcess(*SMALL) as server, filled(server):
        counts = run(server, 8, 20)
    assert counts["failures"] == 0 and counts["refused"] == counts["calls"] > 8
    assert counts["refusals_per_s"] > 0
    assert 0 < counts["refusal_p50_s"] <= counts["refusal_p99_s"]


def test_refusals_under_tls_come_from_the_server(tmp_path):
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    certificate, key = authority.sign("server")
    with HadalProcess(*SMALL, f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context()) as server, filled(server):
        before = server.metric("hadal_tls_handshakes_total")
        counts = run(server, 8, 20, authority.certificate)
        assert counts["refused"] == counts["calls"] > 8
        assert server.metric("hadal_tls_handshakes_total") >= before + 2
        # A connection that fails is no refusal, however fast.
        distrustful = start(server, 1, 20, other.certificate)
        assert distrustful.returncode == 1 and json.loads(distrustful.stdout)["refused"] == 0
    assert "cannot be read" in start(server, 1, 20, tmp_path / "none").stderr
