# SPDX-License-Identifier: Apache-2.0
"""What a client does with its servers beside answers: it asks for their load, opens connections ahead, and checks their certificates."""

import contextlib
import http.client
import socket
import threading
import time
import types

import openai
import pytest

import hadal_client
from client_kinds import KINDS, ONE_AT_A_TIME, grpc_target, targets, waited
from hadal_client import RetryOptions
from hadal_client._http_messages import load_of
from hadal_client._httpx import httpx
from hadal_client._load_reports import requests_in
from hadal_process import HadalProcess, fill
from tls_files import Authority

NOBODY = types.SimpleNamespace(url="http://127.0.0.1:1", port=1)
ONCE = RetryOptions(max_attempts=1)


def test_a_proxy_of_the_environment_is_no_way_to_this_host(server, connect, monkeypatch):
    monkeypatch.setenv("http_proxy", NOBODY.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert connect(server, retry=ONCE).load()[0].ready


# ---- Load ------------------------------------------------------------------------------------------------------------

def test_the_load_of_each_server(start_server, connect):
    full, idle = start_server(*ONE_AT_A_TIME), start_server("--load-format=null:2ms", "--memory-budget=512MiB")
    client = connect(full, idle, max_calls=1)
    holders = fill(full)
    busy, free = client.load()
    assert (busy.requests_running, busy.requests_waiting, busy.ready, busy.draining) == (1, 1, True, False)
    assert busy.queue_tokens > 0 and busy.kv_cache_usage_ratio > 0 and busy.memory_committed_bytes > 0
    assert free == hadal_client.Load(free.server, memory_budget_bytes=512 << 20, memory_committed_bytes=free.memory_committed_bytes, ready=True,
                                     queue_limit_requests=free.queue_limit_requests)
    assert str(full.port) in busy.server and str(idle.port) in free.server
    assert (busy.queue_limit_requests == 1) if connect.kind.startswith("grpc") else busy.queue_limit_requests is None
    for holder in holders:
        holder.close()
    assert all(target.in_flight == 0 for target in targets(client))


def test_a_client_that_is_full_asks_how_its_servers_are(start_server, connect):
    client = connect(start_server("--load-format=null:5ms"), max_calls=1)
    stream = client.stream("x", max_tokens=2000, ignore_eos=True)
    next(stream)
    assert client.load()[0].requests_running == 1
    client.warm_up(timeout=60)
    stream.close()


def test_nobody_has_a_load(connect, server):
    with pytest.raises(hadal_client.ServerUnreachable, match="127.0.0.1:1"):
        connect(server, NOBODY, retry=ONCE).load()


@pytest.mark.parametrize("kind", ["http", "http-async"])
def test_who_is_silent_has_no_load(kind, monkeypatch):
    monkeypatch.setattr("hadal_client._http_calls.LOAD_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = KINDS[kind]([types.SimpleNamespace(url=f"http://127.0.0.1:{port}")])
        with pytest.raises(hadal_client.ServerUnreachable, match=str(port)):
            client.load()
        client.close()


def test_the_metrics_of_another_server_are_no_load():
    for text in ("", "vllm:num_requests_running 1\n", "hadal_requests_running 1\n"):
        with pytest.raises(hadal_client.RequestError, match="http://a: its metrics lack hadal_requests_"):
            load_of(text, "http://a")


def hold(server, count):
    """Streams that run until they are closed."""
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(count)]
    for connection in connections:
        connection.request("POST", "/v1/completions", '{"prompt": "x", "max_tokens": 2000, "ignore_eos": true}', {"Content-Type": "application/json"})
    server.wait_metric("hadal_requests_running", count)
    return connections


ASK = {"chat": lambda client: client.chat("x", max_tokens=1), "models": lambda client: client.models(), "stream": lambda client: list(client.stream("x", max_tokens=9, ignore_eos=True)),
       "refused": lambda client: pytest.raises(hadal_client.RequestError, client.chat, "x", temperature=3)}


@pytest.mark.parametrize("call", ASK)
def test_each_answer_says_the_load(start_server, connect, monkeypatch, call):
    monkeypatch.setattr("hadal_client._retry.Target.should_ask_for_load", lambda target: False)
    busy, free = (start_server("--load-format=null:50ms", "--max-batch-size=8") for _ in range(2))
    holders = hold(busy, 3)
    client = connect(busy, free)
    first, second = targets(client)
    first.report(0), second.report(0.5)
    ASK[call](client)
    assert 3 <= first.load <= 4, "its own three, and maybe the call itself, which ends"
    assert second.load == 0.5
    client.chat("x", max_tokens=1)
    assert second.load in (0, 1), "it went there"
    for holder in holders:
        holder.close()


def test_an_idle_server_is_asked_for_its_load(start_server, connect):
    busy, free = (start_server("--load-format=null:50ms", "--max-batch-size=8") for _ in range(2))
    holders = hold(busy, 3)
    client = connect(busy, free)
    targets(client)[0].report(2)  # so that no call goes there
    targets(client)[0]._reported_at -= 2
    deadline = time.monotonic() + 20
    while targets(client)[0].load != 3:
        assert time.monotonic() < deadline
        client.chat("x", max_tokens=1)
    busy.signal()  # it drains: what runs goes on
    while targets(client)[0].load < 1e9:
        assert time.monotonic() < deadline
        client.chat("x", max_tokens=1)
        time.sleep(0.1)
    for holder in holders:
        holder.close()


def test_whose_report_it_is():
    said = 'JSON {"named_metrics": {"num_requests_running": 2, "num_requests_waiting": 1.0}}'
    assert requests_in(said) == 3
    for report in ("", "TEXT a=1", "BIN AAAA", "JSON", "JSON {}", "JSON []", said.replace("2", '"x"'), said.replace("2", "-9"), said.replace("2", "NaN"), said[:-3]):
        assert requests_in(report) is None, report


# ---- Connections ahead -----------------------------------------------------------------------------------------------

def wait_connections(server, kind, count):
    """So many beside the one that asks for the metrics; those of earlier questions end a little later than their answers."""
    if kind.startswith("grpc"):
        server.wait_metric("hadal_grpc_connections", count)
    else:
        server.wait_metric('hadal_open_connections{protocol="http"}', count + 1)


def test_each_server_is_connected_to_ahead(start_server, connect):
    servers = [start_server("--load-format=null:2ms") for _ in range(3)]
    client = connect(*servers, max_calls=1)
    client.warm_up()
    for server in servers:
        wait_connections(server, connect.kind, 1)
    assert all(target.in_flight == 0 for target in targets(client))


def test_a_full_server_and_a_wrong_key_are_connected_to(start_server, connect, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("right tenant\n")
    server = start_server(*ONE_AT_A_TIME, f"--api-key-file={keys}")
    holders = fill(server, {"Authorization": "Bearer right"})
    connect(server, api_key="wrong").warm_up(timeout=60)
    for holder in holders:
        holder.close()


def test_a_server_that_comes_in_time_is_waited_for(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    late = types.SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port)
    client = connect(late, retry=RetryOptions(initial_backoff=0.1, max_backoff=0.2, max_attempts=100))
    with contextlib.ExitStack() as running:
        start = threading.Timer(0.5, lambda: running.enter_context(HadalProcess("--load-format=null:2ms", f"--port={port}")))
        start.start()
        try:
            client.warm_up(timeout=120)
        finally:
            start.join()


def test_who_is_away_is_named_and_the_others_are_connected_to(start_server, connect):
    server = start_server("--load-format=null:2ms")
    client = connect(NOBODY, server)
    with pytest.raises(hadal_client.ServerUnreachable, match=r"^no connection after 3 s to (http://)?127\.0\.0\.1:1$"):
        client.warm_up(timeout=3)
    wait_connections(server, connect.kind, 1)
    for wrong in ("1", 0, None):
        with pytest.raises(ValueError, match="timeout: expected seconds"):
            client.warm_up(timeout=wrong)


# ---- A deadline of many prompts --------------------------------------------------------------------------------------

def test_the_deadline_of_many_prompts_is_of_the_whole(start_server, connect):
    server = start_server("--load-format=null:20ms", "--max-batch-size=1", "--wait-limits=none", "--max-queue-requests=512")
    client = connect(server, retry=ONCE)
    once = {} if connect.kind.startswith("http") else {"max_in_flight": 1}  # one after the other, each within a deadline of its own
    began = time.monotonic()
    with pytest.raises(hadal_client.HadalError) as caught:
        client.complete_all(["x"] * 20, max_tokens=40, ignore_eos=True, deadline=2, **once)
    # The last one's share can be less than an idle server needs.
    assert isinstance(caught.value, (hadal_client.DeadlineExceeded, hadal_client.ServerBusy)) or "the deadline leaves" in str(caught.value)
    assert time.monotonic() - began < 12, "20 answers take 16 s"
    with pytest.raises(hadal_client.DeadlineExceeded):
        client.complete_all(["x"], max_tokens=1, deadline=0)
    with pytest.raises(ValueError, match="deadline: expected seconds"):
        client.complete_all(["x"], deadline="1")
    server.wait_idle()
    assert all(target.in_flight == 0 for target in targets(client))


def test_after_an_error_nobody_asks_on(start_server):
    server = start_server("--load-format=null:20ms")

    async def ask(client):
        with pytest.raises(hadal_client.RequestError):
            await client.complete_all([[10**6], *["x"] * 4], max_tokens=1000, ignore_eos=True)
        return [target.in_flight for target in client.targets.all]

    client = KINDS["grpc-async"]([server])
    assert client.run(ask) == [0]
    server.wait_idle()
    client.close()


# ---- TLS -------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(authority):
    certificate, key = authority.sign("server")
    with HadalProcess(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context()) as process:
        yield process


MAKE = {
    "http": lambda server, **options: hadal_client.Client(server.url, **options),
    "http-async": lambda server, **options: waited(hadal_client.AsyncClient, server.url, **options),
    "grpc": lambda server, **options: hadal_client.GrpcClient("grpcs://" + grpc_target(server), **options),
    "grpc-async": lambda server, **options: waited(hadal_client.AsyncGrpcClient, "grpcs://" + grpc_target(server), **options)}


@pytest.mark.parametrize("kind", MAKE)
def test_every_call_by_tls(secure, authority, kind):
    assert secure.url.startswith("https://")
    client = MAKE[kind](secure, ca_file=str(authority.certificate))
    try:
        client.warm_up()
        assert "42" in client.chat("17 + 25", temperature=0, max_tokens=200).text
        assert "42" in "".join(piece.text for piece in client.stream("17 + 25", temperature=0, max_tokens=200))
        assert len(client.complete_all(["a", "b"], max_tokens=1)) == 2 and client.tokenize("x") and client.load()[0].ready
    finally:
        client.close()


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("trust", ["another authority", "the well-known ones"])
def test_a_certificate_of_nobody_that_is_trusted(secure, tmp_path, kind, trust):
    options = {"ca_file": Authority(tmp_path, "other").certificate} if trust == "another authority" else {}
    client = MAKE[kind](secure, retry=ONCE, **options)
    with pytest.raises(hadal_client.ServerUnreachable, match="(?i)certificate|ssl"):
        client.chat("x", max_tokens=1)
    with pytest.raises(hadal_client.ServerUnreachable, match="no connection after 1 s"):
        client.warm_up(timeout=1)
    client.close()


def test_a_plain_address_with_a_ca_file_is_tls_over_grpc(secure, authority):
    with hadal_client.GrpcClient(grpc_target(secure), ca_file=authority.certificate) as client:
        assert client.models()


def test_openai_by_tls(secure, authority):
    http = httpx.Client(transport=hadal_client.Transport(secure.url, ca_file=authority.certificate))
    client = openai.OpenAI(base_url=secure.url + "/v1", api_key="none", max_retries=0, http_client=http)
    assert client.models.list().data[0].id == "hadal-demo"
    client.close()


@pytest.mark.parametrize("kind", ["Client", "AsyncClient", "GrpcClient", "AsyncGrpcClient", "Transport", "AsyncTransport"])
def test_a_wrong_ca_file_is_named(tmp_path, authority, kind):
    make = getattr(hadal_client, kind)
    server = "127.0.0.1:1" if "Grpc" in kind else "https://127.0.0.1:1"
    (tmp_path / "empty").write_text("")
    with pytest.raises(ValueError, match="^ca_file: cannot read '.*none.pem': No such file"):
        make(server, ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="^ca_file: .*empty'.* holds no certificate in PEM"):
        make(server, ca_file=tmp_path / "empty")
    with pytest.raises(ValueError, match="^ca_file: cannot read 5.5"):
        make(server, ca_file=5.5)
    own = {"credentials": object()} if "Grpc" in kind else {"inner" if "Transport" in kind else "transport": object()}
    with pytest.raises(ValueError, match="^ca_file: "):
        make(server, ca_file=authority.certificate, **own)
