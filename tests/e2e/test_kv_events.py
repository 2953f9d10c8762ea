# SPDX-License-Identifier: Apache-2.0
"""What the prefix cache holds, as routers read it over ZeroMQ. The reader is Debian's pyzmq and msgpack in a process of its own."""

import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import queue
import re
import subprocess
import threading
import time

import pytest
from http_client import client_of, post

BLOCK = 32
FLAGS = ("--kv-events=tcp://127.0.0.1:*", "--kv-events-replay=tcp://127.0.0.1:*", "--kv-events-pod=10.0.0.7:8000",
         f"--kv-block-tokens={BLOCK}")
TOPIC = "kv@10.0.0.7:8000@hadal-demo"


class Subscriber:
    def __init__(self, server):
        server.wait_text("KV events are published", timeout=30)
        events, replay = re.search(r"endpoint=(\S+) replay=(\S+)", server.text()).groups()
        script = os.path.join(os.path.dirname(__file__), "kv_subscriber.py")
        self.process = subprocess.Popen(["/usr/bin/python3", script, events, replay], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.live, self.replayed = queue.Queue(), queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            (self.live if message.get("live") else self.replayed).put(message)

    def replay(self, start=0):
        """What the server has kept from there on."""
        self.process.stdin.write(f"{start}\n")
        self.process.stdin.flush()
        messages = []
        while not (message := self.replayed.get(timeout=60)).get("end"):
            messages.append(message)
        return messages

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def events_server():
    from hadal_process import HadalProcess

    with HadalProcess(*FLAGS) as server:
        yield server


@pytest.fixture
def subscriber(events_server):
    subscriber = Subscriber(events_server)
    yield subscriber
    subscriber.close()


def ask(server, words, max_tokens=4):
    body = {"model": "hadal-demo", "prompt": " ".join(f"word{i}" for i in words), "temperature": 0, "max_tokens": max_tokens, "ignore_eos": True}
    tokens = json.loads(post(server, "/v1/completions/render", body)[2])[0]["token_ids"]
    answer = client_of(server).completions.create(**{k: v for k, v in body.items() if k != "ignore_eos"}, extra_body={"ignore_eos": True})
    server.wait_idle()
    return tokens, answer


def digest(data):
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def chain(fingerprint, tokens):
    """Hashes of the full blocks, by the formula of docs/kv-events.md."""
    previous, hashes = digest(b"hadal kv 1" + fingerprint.encode() + bytes(8)), []
    for begin in range(0, len(tokens) - BLOCK + 1, BLOCK):
        block = b"".join(token.to_bytes(4, "little") for token in tokens[begin:begin + BLOCK])
        previous = digest(previous.to_bytes(8, "big") + block)
        hashes.append(previous)
    return hashes


def stored_blocks(messages):
    """{hash: (parent, tokens)} after all events, as a router keeps it."""
    blocks = {}
    for message in messages:
        timestamp, events, rank = message["batch"]
        assert abs(timestamp - time.time()) < 3600 and rank == 0
        for tag, *fields in events:
            if tag == "BlockStored":
                hashes, parent, tokens, block_size, lora, medium, *rest = fields
                assert not rest or (rest[0] is None and parent is None and len(rest[1]) == len(hashes))
                assert (block_size, lora, medium) == (BLOCK, None, "GPU") and len(tokens) == BLOCK * len(hashes)
                for i, name in enumerate(hashes):
                    assert name not in blocks, "stored twice"
                    blocks[name] = (parent, tokens[i * BLOCK:(i + 1) * BLOCK])
                    parent = name
            elif tag == "BlockRemoved":
                hashes, medium = fields
                assert medium == "GPU"
                for name in hashes:
                    del blocks[name]
            else:
                assert tag == "AllBlocksCleared" and not fields
                blocks = {}
    return blocks


def settled(subscriber, server):
    """The router's blocks, once they are as many as the server holds."""
    deadline = time.monotonic() + 60
    while True:
        blocks = stored_blocks(subscriber.replay())
        if len(blocks) == server.metric('hadal_kv_blocks{state="cached"}') or time.monotonic() > deadline:
            return blocks
        time.sleep(0.05)


def test_a_prompts_blocks_are_published_under_documented_hashes(events_server, subscriber):
    tokens, answer = ask(events_server, range(100, 200))
    blocks = settled(subscriber, events_server)
    expected = chain(answer.system_fingerprint, tokens)
    assert len(expected) >= 3
    parent = None
    for i, name in enumerate(expected):
        assert blocks[name] == (parent, tokens[i * BLOCK:(i + 1) * BLOCK])
        parent = name
    # What a router would predict from this is what the server finds.
    _, again = ask(events_server, range(100, 200))
    assert again.usage.prompt_tokens_details.cached_tokens == (len(tokens) - 1) // BLOCK * BLOCK
    assert settled(subscriber, events_server) == blocks


def test_live_messages_are_numbered_and_a_replay_repeats_them(events_server, subscriber):
    first, words = None, 1000
    while first is None:  # until the subscription has arrived
        words += 100
        assert words < 20000
        ask(events_server, range(words, words + 50))
        try:
            first = subscriber.live.get(timeout=0.2)
        except queue.Empty:
            pass
    ask(events_server, range(words + 100, words + 150))
    second = subscriber.live.get(timeout=60)
    assert first["topic"] == second["topic"] == TOPIC
    assert second["seq"] == first["seq"] + 1
    replayed = subscriber.replay(first["seq"])
    assert [{**message, "live": True} for message in replayed[:2]] == [first, second]
    settled(subscriber, events_server)  # nothing is on its way
    everything = subscriber.replay()
    assert [message["seq"] for message in everything] == list(range(len(everything)))
    assert subscriber.replay(len(everything) + 100) == []
    assert events_server.metric("hadal_kv_event_batches_total") == len(everything)
    assert events_server.metric("hadal_kv_event_replays_total") >= 3
    assert events_server.metric("hadal_kv_event_overflows_total") == 0


def test_salted_prompts_have_hashes_of_their_own(events_server, subscriber):
    body = {"model": "hadal-demo", "prompt": " ".join(f"salt{i}" for i in range(60)), "max_tokens": 1}
    client = client_of(events_server)
    before = settled(subscriber, events_server)
    client.completions.create(**body)
    client.completions.create(**body, user="alice")
    events_server.wait_idle()
    new = {name: block for name, block in settled(subscriber, events_server).items() if name not in before}
    tokens = json.loads(post(events_server, "/tokenize", {"prompt": body["prompt"]})[2])["tokens"]
    contents = sorted(block[1] for block in new.values())
    assert contents == sorted([tokens[i * BLOCK:(i + 1) * BLOCK] for i in range(len(tokens) // BLOCK)] * 2)


def extra_keys(messages):
    """{tokens of a first block: the extra keys of each block of its event}."""
    stored = [event[1:] for message in messages for event in message["batch"][1] if event[0] == "BlockStored"]
    return {tuple(event[2][:BLOCK]): event[7] for event in stored if event[1] is None and len(event) > 6}


def test_a_cache_salt_is_an_extra_key_of_the_first_block(events_server, subscriber):
    client = client_of(events_server)

    def tokens_of(words, **fields):
        body = {"model": "hadal-demo", "prompt": " ".join(f"{words}{i}" for i in range(60)), "max_tokens": 1}
        client.completions.create(**body, **fields)
        return json.loads(post(events_server, "/tokenize", {"prompt": body["prompt"]})[2])["tokens"]

    salted = tokens_of("blue", extra_body={"cache_salt": "the color"})
    with_user = tokens_of("red", user="bob")
    events_server.wait_idle()
    settled(subscriber, events_server)
    keys = extra_keys(subscriber.replay())
    blocks = keys[tuple(salted[:BLOCK])]
    assert blocks[0] == ["the color"] and len(blocks) >= 2 and set(map(str, blocks[1:])) == {"None"}
    assert tuple(with_user[:BLOCK]) not in keys


def test_what_is_evicted_is_removed(start_server):
    server = start_server(*FLAGS, "--max-model-len=512", "--max-batch-size=2", "--max-batch-tokens=256", "--memory-budget=8MiB")
    subscriber = Subscriber(server)
    total = sum(server.metric(f'hadal_kv_blocks{{state="{state}"}}') for state in ("free", "cached", "leased"))
    words, removed = 0, 0
    while removed == 0:
        words += 200
        assert words < 200 * 400, f"nothing of {total} blocks is removed"
        ask(server, range(words, words + 60), max_tokens=1)
        removed = server.metric('hadal_kv_events_total{event="removed"}')
    blocks = settled(subscriber, server)
    assert len(blocks) == server.metric('hadal_kv_blocks{state="cached"}')
    assert removed == server.metric('hadal_kv_events_total{event="stored"}') - len(blocks)
    subscriber.close()


PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


@contextlib.contextmanager
def halted(server, name):
    """One thread of the server stands still until the block ends, as on a host without a processor for it. All others go on."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task")
    thread, = [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request):
        if libc.ptrace(request, thread, None, None) != 0:
            pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")

    ptrace(PTRACE_SEIZE)
    ptrace(PTRACE_INTERRUPT)
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH)


def test_after_an_overflow_everything_is_cleared_and_told_again(start_server):
    """The publisher stands still for more events than wait for it. The router that follows its messages then has what the server has."""
    server = start_server(*FLAGS, "--load-format=null", "--max-model-len=2048", "--max-batch-size=2", "--memory-budget=16MiB")
    subscriber = Subscriber(server)
    ask(server, range(60))
    early = settled(subscriber, server)
    assert early and server.metric('hadal_kv_events_total{event="cleared"}') == 0
    words = 1000
    with halted(server, "kv_events"):
        deadline = time.monotonic() + 60
        while server.metric("hadal_kv_event_overflows_total") == 0:
            assert time.monotonic() < deadline, "the queue takes everything"
            words += 400
            client_of(server).completions.create(model="hadal-demo", prompt=" ".join(f"word{i}" for i in range(words, words + 400)), max_tokens=1)
        server.wait_idle()
        assert server.metric('hadal_kv_events_total{event="cleared"}') == 0
    # The next round of the engine that finds room tells everything.
    tokens, answer = ask(server, range(100, 200))
    server.wait_metric('hadal_kv_events_total{event="cleared"}', 1)
    blocks = settled(subscriber, server)
    assert len(blocks) == server.metric('hadal_kv_blocks{state="cached"}')
    tags = [event[0] for message in subscriber.replay() for event in message["batch"][1]]
    assert tags.count("AllBlocksCleared") == 1 and tags[-1] == "BlockStored"
    # What was there before is not lost on the way, if the server still has it; and new blocks have the documented hashes.
    for name in chain(answer.system_fingerprint, tokens):
        assert name in blocks
    _, again = ask(server, range(100, 200))
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    assert settled(subscriber, server) == blocks
    # The live subscriber, that was there all the time, has the same.
    while "AllBlocksCleared" not in [event[0] for event in subscriber.live.get(timeout=60)["batch"][1]]:
        pass
    subscriber.close()


def maps(server):
    with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as file:
        return file.read()


def test_the_library_is_loaded_only_where_events_are_asked_for(server, events_server):
    assert "libzmq" not in maps(server)
    assert "libzmq" in maps(events_server)


@pytest.mark.parametrize("flags, message", [
    (("--kv-events=5557",), "--kv-events is '5557'; expected tcp://*:PORT"),
    (("--kv-events-replay=tcp://*:1",), "--kv-events-replay needs --kv-events"),
    (("--kv-events=tcp://*:0", "--prefix-cache=false"), "--kv-events needs --prefix-cache"),
])
def test_what_cannot_be_published_ends_the_start(flags, message):
    source = os.environ["HADAL_SOURCE_DIR"]
    binary = os.environ.get("HADAL_BINARY", os.path.join(source, "build/release/hadal"))
    result = subprocess.run([binary, "serve", "--port=0", f"--model={source}/models/demo", *flags], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and message in result.stderr
