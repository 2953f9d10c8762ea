# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
if sys.version_info < (3, 10):
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # else servers die before they begin, as README.md says
# scripts/client-pythons tests what pip has installed.
PACKAGE = [] if os.environ.get("HADAL_CLIENT_INSTALLED") else [str(SOURCE / "client/python/src")]
sys.path[:0] = [*PACKAGE, str(SOURCE / "tests/client/python"), str(SOURCE / "tests/e2e")]
from client_kinds import KINDS  # noqa: E402
from hadal_process import HadalProcess  # noqa: E402


@pytest.fixture(scope="module")
def server():
    """One server with the demo model for the tests of a module."""
    with HadalProcess() as process:
        yield process


@pytest.fixture
def start_server():
    """start_server(*flags): a server of its own for one test, stopped at its end."""
    running = []

    def start(*flags, **options):
        running.append(HadalProcess(*flags, **options))
        return running[-1]

    yield start
    for process in running:
        process.stop()


@pytest.fixture(params=KINDS)
def connect(request):
    """connect(*servers, **options): a client of each kind, closed at the end; then no call may be left in flight."""
    with contextlib.ExitStack() as made:
        def connect_to(*servers, **options):
            client = KINDS[request.param](servers, **options)
            made.callback(client.close)
            return client

        connect_to.kind = request.param
        yield connect_to
