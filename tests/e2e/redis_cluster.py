# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster of real redis-servers for tests: slots that can be moved, nodes that can be killed one by one, and, if asked for, a replica of each master."""

import contextlib
import shutil

import pytest
import redis
from redis.crc import key_slot

from ports import free_port
from redis_process import Redis, wait_for

SLOTS = 16384


class Node(Redis):
    """One master. What is in a cluster's configuration survives its restart."""

    def __init__(self, folder, *flags, timeout_ms=2000):
        folder.mkdir()
        # A node that is away takes no slots of others with it, and is found to be away after `timeout_ms`.
        super().__init__(folder, "--cluster-enabled", "yes", "--cluster-config-file", str(folder / "nodes.conf"), "--cluster-port", str(free_port()),
                         "--cluster-node-timeout", str(timeout_ms), "--cluster-require-full-coverage", "no", "--loglevel", "warning",
                         # Replicas begin at once, and one whose master has long been away may still take its place.
                         "--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0", *flags)
        self.client = redis.Redis(port=self.port, decode_responses=False)

    def run(self, *words):
        """The bare reply: the package shapes those of commands that it knows by two words."""
        return self.client.execute_command(*words[0].split(), *words[1:])

    @property
    def id(self):
        return self.run("CLUSTER MYID").decode()

    @property
    def bus_port(self):
        return int(self.flags[self.flags.index("--cluster-port") + 1])

    @property
    def is_master(self):
        return self.run("ROLE")[0] == b"master"

    def errors(self, name):
        """How often it answered with this error: MOVED, ASK, ..."""
        return self.client.info("errorstats").get(f"errorstat_{name}", {}).get("count", 0)

    def keys(self):
        return self.client.keys("*")


@contextlib.contextmanager
def clusters(folder, **options):
    """make(*flags), for fixtures: a Cluster in `folder`, stopped at the end; `flags` are redis-server's. Skips the test without redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (scripts/bootstrap --test)")
    made = []

    def make(*flags):
        made.append(Cluster(folder, flags=flags, **options))
        return made[0]

    try:
        yield make
    finally:
        for one in made:
            one.stop()


class Cluster:
    """`nodes` begins with the masters; replica number i is behind them at count + i."""

    def __init__(self, folder, count=3, replicas=False, flags=()):
        # On a busy machine a node may be silent for a while, which must not move its slots to its replica.
        timeout_ms = 5000 if replicas else 2000
        self.nodes = [Node(folder / f"node{number}", *flags, timeout_ms=timeout_ms) for number in range(2 * count if replicas else count)]
        edges = [SLOTS * number // count for number in range(count + 1)]
        for number, node in enumerate(self.nodes):
            node.run("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < count:
                node.run("CLUSTER ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            node.run("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus_port)
        for node in self.nodes:
            wait_for(lambda: self.agrees(node))  # noqa: B023
        for master, replica in zip(self.nodes, self.nodes[count:]):
            replica.run("CLUSTER REPLICATE", master.id)
        for master, replica in zip(self.nodes, self.nodes[count:]):
            wait_for(lambda: self.follows(replica, master))  # noqa: B023
        for node in self.nodes:
            wait_for(lambda: sum(len(row) - 3 for row in node.run("CLUSTER SLOTS")) == len(self.nodes) - count)  # noqa: B023

    @staticmethod
    def follows(replica, master):
        """It has all that the master has written so far."""
        role, _, port, state, offset, *_ = *replica.run("ROLE"), None, None, None, None
        return role == b"slave" and (port, state) == (master.port, b"connected") and offset >= master.run("ROLE")[1]

    def agrees(self, node):
        """It knows who has which slot, and finds all in order."""
        state = dict(line.split(":") for line in node.run("CLUSTER INFO").decode().split())
        return state["cluster_state"] == "ok" and int(state["cluster_slots_ok"]) == SLOTS and int(state["cluster_known_nodes"]) == len(self.nodes)

    def of(self, slot):
        return next(node for node in self.nodes if node.process.poll() is None and self.has(node, slot))

    @staticmethod
    def has(node, slot):
        own = [row for row in node.run("CLUSTER SLOTS") if row[0] <= slot <= row[1]]
        return bool(own) and own[0][2][1] == node.port

    @staticmethod
    def slot_of(key):
        return key_slot(key)

    def begin_move(self, slot, source, target):
        """The slot is on its way: its keys go one by one, and are asked for at both."""
        target.run("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        source.run("CLUSTER SETSLOT", slot, "MIGRATING", target.id)

    @staticmethod
    def move_keys(slot, source, target):
        keys = source.run("CLUSTER GETKEYSINSLOT", slot, 1000)
        for key in keys:
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 10000)
        return keys

    def end_move(self, slot, target):
        for node in sorted(self.nodes, key=lambda node: node is not target):
            node.run("CLUSTER SETSLOT", slot, "NODE", target.id)

    def stop(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.resume()
                node.stop()
