# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster of three masters with a replica each, of real servers: masters are killed and paused under load, and their replicas take their places."""

import pytest

from batch_client import expect_each_once, lines, submit, wait
from http_client import client_of, post
from redis_cluster import clusters
from redis_process import wait_for
from test_redis_cluster import NUMBERS, PERSISTENT, batches_in, cached_by, fill, hits
from test_response_cache_store import Load


@pytest.fixture
def cluster(tmp_path):
    """cluster(*flags): three masters, number i with the replica number i + 3."""
    with clusters(tmp_path, replicas=True) as make:
        yield make


@pytest.mark.parametrize("victim", [0, 1], ids=["the node that the flag names", "another one"])
def test_the_answers_of_a_killed_master_are_found_at_its_replica(start_server, cluster, victim):
    made = cluster()
    master, replica = made.nodes[victim], made.nodes[victim + 3]
    server = start_server(*cached_by(made.nodes[0]))
    answers = fill(server)
    assert master.keys()
    wait_for(lambda: made.follows(replica, master))
    with Load(server) as load:
        load.go_on()
        master.stop()
        wait_for(lambda: replica.is_master)
        load.go_on()
    # Nothing was lost, so that every answer is found, and is the right one.
    wait_for(lambda: hits(server, answers) == set(NUMBERS))
    # The first one comes back as a replica, and takes its place again when the other one is gone.
    master.start()
    wait_for(lambda: made.follows(master, replica))
    assert hits(server, answers) == set(NUMBERS)
    with Load(server) as load:
        replica.stop()
        wait_for(lambda: master.is_master)
        load.go_on()
    wait_for(lambda: hits(server, answers) == set(NUMBERS))


def test_a_paused_master_is_replaced_and_gives_no_answer_afterwards(start_server, cluster):
    made = cluster()
    master, replica = made.nodes[0], made.nodes[3]
    server = start_server(*cached_by(master))
    answers = fill(server)
    wait_for(lambda: made.follows(replica, master))
    with Load(server) as load:
        master.pause()
        wait_for(lambda: replica.is_master)
        load.go_on()
        master.resume()  # it takes itself for the master until the others have told it
        load.go_on()
    wait_for(lambda: made.follows(master, replica))
    wait_for(lambda: hits(server, answers) == set(NUMBERS))


def test_batches_go_on_at_the_replica_of_their_master(start_server, cluster):
    made = cluster(*PERSISTENT)
    owner = made.of(made.slot_of(b"hadal:{batches}:"))
    number = made.nodes.index(owner)
    replica = made.nodes[number + 3]
    # One names the master that dies, which has never had to name another one; the other one names another.
    servers = [start_server(*batches_in(node)) for node in (owner, made.nodes[(number + 1) % 3])]
    clients = [client_of(server) for server in servers]
    for old, new in ((owner, replica), (replica, owner)):
        batch = submit(clients[0], lines(200, max_tokens=200, ignore_eos=True))
        wait_for(lambda: clients[0].batches.retrieve(batch.id).request_counts.completed > 0)  # noqa: B023
        old.stop()
        # Other requests do not notice.
        assert all(post(server, "/v1/completions", {"prompt": "1 + 1", "max_tokens": 4})[0] == 200 for server in servers)
        wait_for(lambda: new.is_master)  # noqa: B023
        wait_for(lambda: all(server.get("/v1/files")[0] == 200 for server in servers))
        expect_each_once(clients[1], wait(clients[1], batch, timeout=300), 200)
        assert new.keys()
        old.start()
        wait_for(lambda: made.follows(old, new))  # noqa: B023
