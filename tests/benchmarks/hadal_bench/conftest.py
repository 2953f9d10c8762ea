# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(os.environ.setdefault("HADAL_SOURCE_DIR", str(pathlib.Path(__file__).parents[3])))
sys.path[:0] = [str(pathlib.Path(__file__).parent), str(SOURCE / "tests/e2e")]
from hadal_process import HadalProcess  # noqa: E402


@pytest.fixture
def out(tmp_path):
    return tmp_path / "result.json"


@pytest.fixture(scope="module")
def server():
    with HadalProcess() as process:
        yield process


@pytest.fixture
def start():
    running = []

    def start_server(*flags):
        running.append(HadalProcess(*flags))
        return running[-1]

    yield start_server
    for process in running:
        process.stop()
