# SPDX-License-Identifier: Apache-2.0
"""Two servers with a gateway in front."""

import contextlib
import http.client
import json
import signal
import threading
import time

import grpc

from gateway_process import GatewayProcess
from hadal_process import PATIENCE, HadalProcess
from test_grpc import long_request

# One request runs and one waits: full with two, for minutes.
SMALL = ("--load-format=null:5ms", "--max-model-len=32768", "--max-batch-size=1", "--max-queue-requests=1", "--wait-limits=none")


@contextlib.contextmanager
def start_fleet(gateway, folder, *flags, backup=None):
    """(the gateway, the two servers)."""
    with HadalProcess(*flags) as one, HadalProcess(*flags) as two, \
            GatewayProcess(gateway, folder, [one.port, two.port], backup and backup.port) as process:
        yield process, (one, two)


def kill(server):
    server.expect_exit = -signal.SIGKILL
    server.process.kill()
    server.process.wait(PATIENCE)


def ask(port, tokens, timeout=PATIENCE, host="127.0.0.1"):
    """(status, headers, body) of a completion."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    body = json.dumps({"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    found = response.status, response.headers, response.read()
    connection.close()
    return found


@contextlib.contextmanager
def stub_of(port, stubs, retry=None):
    """A stub with a connection of its own; it retries only with a service config."""
    options = [("grpc.service_config", retry)] if retry else [("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[*options, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield stubs.services.InferenceStub(channel)


def answer(stub, stubs, tokens=1, timeout=PATIENCE):
    """How many tokens came."""
    return list(stub.Generate(long_request(stubs, tokens), timeout=timeout))[-1].usage.completion_tokens


def end_one_under_load(server, client, threads, between):
    """Each of the threads calls `client(is_over, tell)`, which asks and tells its answers until it is over. The server ends in order, with at
    least `between` answers before that and after it. Returns the answers."""
    answers, over = [], threading.Event()
    clients = [threading.Thread(target=client, args=(over.is_set, answers.append)) for _ in range(threads)]

    def wait_for_more():
        wanted, deadline = len(answers) + between, time.monotonic() + PATIENCE
        while len(answers) < wanted:
            assert time.monotonic() < deadline, f"{len(answers)} of {wanted} answers"
            time.sleep(0.01)

    for thread in clients:
        thread.start()
    try:
        wait_for_more()
        assert server.metric("hadal_admission_attempts_total"), "it has its share of the requests"
        server.signal()
        server.process.wait(PATIENCE)
        wait_for_more()
    finally:
        over.set()
        for thread in clients:
            thread.join()
    return answers
