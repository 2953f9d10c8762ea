# SPDX-License-Identifier: Apache-2.0
"""A download of the C++ client whose server is killed in the middle and comes back: it goes on where it was."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/client")]
from cpp_programs import compiled, include, needs  # noqa: E402, F401
from hadal_process import HadalProcess  # noqa: E402

pytestmark = [needs["c++"], needs["pkg-config"]]
SIZE = 48 << 20  # more than connections and libraries hold


def test_a_download_goes_on_when_its_server_is_back(tmp_path, include):  # noqa: F811
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_download_program.cc")
    (tmp_path / "in").write_bytes(random.Random(7).randbytes(SIZE))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = (f"--port={port}", f"--batch-store={tmp_path / 'batches'}", "--batch-max-file=64MiB")
    with HadalProcess(*flags, expect_exit=None) as server:
        running = subprocess.Popen([program, f"127.0.0.1:{port}", tmp_path / "in", tmp_path / "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert running.stdout.readline() == "begun\n"
        server.signal(signal.SIGKILL)
        server.process.wait(30)
    with HadalProcess(*flags):
        said, _ = running.communicate("go\n", timeout=120)
    assert said == f"{SIZE} of {SIZE}, resumed 1\n" and running.returncode == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
