# SPDX-License-Identifier: Apache-2.0
"""The response cache and batches in a Redis Cluster of real servers: answers on every node, slots that move, nodes that are killed."""

import openai
import pytest

from batch_client import expect_each_once, lines, submit, wait
from http_client import client_of, post
from redis_cluster import clusters
from redis_process import wait_for
from test_response_cache_store import Load, PATIENT, ask, plain, store_errors

NUMBERS = range(60)
WRITES = "hadal_response_cache_store_writes_total"
# Written at once and never synced, as in test_batches_redis.py.
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "no")


@pytest.fixture
def cluster(tmp_path):
    """cluster(*flags): three masters; `flags` are redis-server's."""
    with clusters(tmp_path) as make:
        yield make


def cached_by(node, size="1KiB"):
    """Flags of a server whose second level is the cluster; too little memory for any answer unless `size` says otherwise."""
    return (f"--response-cache=memory,redis://127.0.0.1:{node.port}", f"--response-cache-size={size}", PATIENT)


def fill(server):
    """Each number's answer, all of them written to the cluster."""
    before = server.metric(WRITES)
    answers = {number: ask(server, plain(number), mode="no-cache")[1:] for number in NUMBERS}
    server.wait_metric(WRITES, before + len(NUMBERS))
    return answers


def hits(server, answers):
    """The numbers that are answered from the cluster; whatever the answer comes from, it is the right one."""
    found = set()
    for number in NUMBERS:
        result, *answer = ask(server, plain(number), mode="use")
        assert tuple(answer) == answers[number]
        if result == "hit":
            found.add(number)
    return found


def test_replicas_share_answers_whichever_node_they_name(start_server, cluster):
    nodes = cluster().nodes
    first, second = start_server(*cached_by(nodes[0])), start_server(*cached_by(nodes[2]))
    answers = fill(first)
    assert all(node.keys() for node in nodes) and sum(len(node.keys()) for node in nodes) == len(NUMBERS)
    assert hits(second, answers) == set(NUMBERS)
    assert second.metric('hadal_response_cache_lookups_total{result="hit_redis"}') == len(NUMBERS)
    # What was redirected is remembered, by each of its few connections: not every request is redirected again.
    for _ in range(8):
        hits(second, answers)
    moved = nodes[2].errors("MOVED")
    hits(second, answers)
    assert moved > 0 and nodes[2].errors("MOVED") - moved < len(NUMBERS) // 4
    assert store_errors(first, "put_failed") + store_errors(second, "get_failed") == 0


def test_answers_are_found_while_their_slot_moves_and_after(start_server, cluster):
    made = cluster()
    source, target = made.nodes[:2]
    first, second = start_server(*cached_by(source)), start_server(*cached_by(source))
    answers = fill(first)
    slots = {made.slot_of(key) for key in source.keys()}
    for slot in slots:
        made.begin_move(slot, source, target)
    assert hits(second, answers) == set(NUMBERS), "no key has moved yet"
    keys = [key for slot in slots for key in made.move_keys(slot, source, target)]
    assert keys and not source.keys()
    assert hits(second, answers) == set(NUMBERS) and source.errors("ASK") >= len(keys)
    fill(first)  # a key that is written meanwhile goes where the slot will be
    assert not source.keys()
    for slot in slots:
        made.end_move(slot, target)
    moved = source.errors("MOVED")
    assert hits(second, answers) == set(NUMBERS) and source.errors("MOVED") > moved
    assert store_errors(first, "put_failed") + store_errors(second, "get_failed") == 0


@pytest.mark.parametrize("victim", [0, 1], ids=["the node that the flag names", "another one"])
def test_a_killed_node_costs_misses_of_its_keys_alone(start_server, cluster, victim):
    nodes = cluster().nodes
    server = start_server(*cached_by(nodes[0]))
    answers = fill(server)
    assert hits(server, answers) == set(NUMBERS)
    lost = len(nodes[victim].keys())
    with Load(server) as load:
        load.go_on()
        nodes[victim].stop()
        load.go_on()
    # Callers of the load have refreshed some; those of the node that is gone are answered, and not kept.
    wait_for(lambda: len(hits(server, answers)) == len(NUMBERS) - lost)
    with Load(server) as load:
        nodes[victim].start()
        load.go_on()
        writes = server.metric(WRITES)
        wait_for(lambda: server.metric(WRITES) > writes)
    wait_for(lambda: hits(server, answers) == set(NUMBERS))


def test_a_paused_node_holds_nobody_up(start_server, cluster):
    nodes = cluster().nodes
    server = start_server(*cached_by(nodes[0])[:2], "--response-cache-lookup-timeout=50ms")
    answers = fill(server)
    with Load(server) as load:
        nodes[1].pause()
        load.go_on()
        wait_for(lambda: store_errors(server, "get_failed") + store_errors(server, "too_late") > 0)
        load.go_on()
        nodes[1].resume()
    wait_for(lambda: hits(server, answers) == set(NUMBERS))


def batches_in(node):
    """A line of 200 tokens takes a second, on a busy machine as well: what is to happen in the middle of a batch has time for that."""
    return ("--load-format=null:5ms", f"--batch-store=redis://127.0.0.1:{node.port}", "--batch-reclaim-after=5s", "--batch-max-in-flight=4")


def test_batches_are_kept_by_the_node_that_has_their_slot(start_server, cluster):
    made = cluster(*PERSISTENT)
    owner = made.of(made.slot_of(b"hadal:{batches}:"))
    others = [node for node in made.nodes if node is not owner]
    servers = [start_server(*batches_in(node)) for node in others]
    client = client_of(servers[0])
    batch = submit(client, lines(200, max_tokens=200, ignore_eos=True))
    expect_each_once(client_of(servers[1]), wait(client_of(servers[1]), batch), 200)
    assert owner.keys() and not any(node.keys() for node in others)
    # The owner dies in the middle of another one, and comes back.
    batch = submit(client, lines(200, max_tokens=200, ignore_eos=True))
    wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed > 0)
    owner.stop()
    with pytest.raises(openai.InternalServerError) as away:
        while True:
            client.batches.retrieve(batch.id)
    assert away.value.status_code == 503 and away.value.body["code"] == "STORAGE_UNAVAILABLE"
    assert post(servers[0], "/v1/completions", {"prompt": "1 + 1", "max_tokens": 4})[0] == 200
    owner.start()
    wait_for(lambda: servers[0].get("/v1/files")[0] == 200)
    expect_each_once(client, wait(client, batch, timeout=300), 200)


def test_batches_wait_while_their_slot_moves(start_server, cluster):
    made = cluster(*PERSISTENT)
    slot = made.slot_of(b"hadal:{batches}:")
    source = made.of(slot)
    target = next(node for node in made.nodes if node is not source)
    servers = [start_server(*batches_in(node)) for node in made.nodes[:2]]
    client = client_of(servers[0])
    batch = submit(client, lines(300, max_tokens=200, ignore_eos=True))
    wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed > 0)
    made.begin_move(slot, source, target)
    # From now on nobody writes: what is moved key by key is moved whole.
    with pytest.raises(openai.InternalServerError) as away:
        client.files.create(file=("a.jsonl", b"x"), purpose="batch")
    assert away.value.status_code == 503 and away.value.body["code"] == "STORAGE_UNAVAILABLE"
    moved = made.move_keys(slot, source, target)
    assert moved and not source.keys() and sorted(target.keys()) == sorted(moved)
    made.end_move(slot, target)
    wait_for(lambda: all(server.get("/v1/files")[0] == 200 for server in servers))
    expect_each_once(client, wait(client, batch, timeout=300), 300)
    assert not source.keys()


def test_a_node_that_may_drop_lines_ends_the_start_although_the_named_one_may_not(start_server, cluster):
    """The policy that counts is that of the node with the batches, whichever is named."""
    made = cluster(*PERSISTENT)
    owner = made.of(made.slot_of(b"hadal:{batches}:"))
    owner.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    other = next(node for node in made.nodes if node is not owner)
    with pytest.raises(RuntimeError) as error:
        start_server(*batches_in(other))
    assert "--batch-store: Redis has the maxmemory-policy 'allkeys-lfu'" in str(error.value)
