# SPDX-License-Identifier: Apache-2.0
"""The gateway benchmark leaves nothing running when a part of it does not start."""

import os
import pathlib
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "benchmarks/server"))
import gateways  # noqa: E402

CORES = (sorted(os.sched_getaffinity(0)),) * 2


class Server:
    """Counts what runs; the third one does not start."""
    running = 0

    def __init__(self, *_):
        if Server.running == 2:
            raise RuntimeError("no third server")
        Server.running += 1
        self.port = 1

    def stop(self):
        Server.running -= 1


def no_gateway(*_):
    raise RuntimeError("no gateway")


def test_servers_end_when_the_gateway_does_not_start(monkeypatch):
    monkeypatch.setattr(gateways.load, "HadalProcess", Server)
    monkeypatch.setattr(gateways, "GatewayProcess", no_gateway)
    with pytest.raises(RuntimeError, match="no gateway"), gateways.Fleet("nginx", 2, 4, CORES):
        pass
    assert Server.running == 0


def test_servers_end_when_one_of_them_does_not_start(monkeypatch):
    monkeypatch.setattr(gateways.load, "HadalProcess", Server)
    with pytest.raises(RuntimeError, match="no third server"), gateways.Fleet("direct", 3, 4, CORES):
        pass
    assert Server.running == 0


def test_a_whole_fleet_ends_with_its_block(monkeypatch):
    monkeypatch.setattr(gateways.load, "HadalProcess", Server)
    with gateways.Fleet("direct", 2, 4, CORES) as fleet:
        assert len(fleet.servers) == Server.running == 2
    assert Server.running == 0
