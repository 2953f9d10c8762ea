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

CLIENT = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build/release")) / "benchmarks/server/grpc_stream_client"


def run(server, streams, tokens):
    done = subprocess.run([CLIENT, server.target, str(streams), "2", str(tokens), "0.5"], capture_output=True, text=True, timeout=120)
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
    with HadalProcess("--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1") as server, filled(server):
        counts = run(server, 8, 20)
    assert counts["failures"] == 0 and counts["refused"] == counts["calls"] > 8
    assert counts["refusals_per_s"] > 0
    assert 0 < counts["refusal_p50_s"] <= counts["refusal_p99_s"]
