# SPDX-License-Identifier: Apache-2.0
"""TCP Fast Open of the clients over HTTP, with a real server, in a network of their own: the kernel counts."""

import socket

import pytest

import hadal_client
from client_kinds import KINDS
from hadal_client._httpx import httpx
from hadal_process import HadalProcess
from own_network import own_network, tcp_counter, why_not
from tls_files import Authority

HTTP = [kind for kind in KINDS if kind.startswith("http")]
CLIENTS_AND_SERVERS, CLIENTS = 3, 1
in_a_network = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def ask_thrice(kind, server, **options):
    """Each over a connection of its own: an answer that is whole, one that is streamed, and one larger than a packet."""
    for call in (lambda client: client.chat("17 + 25", temperature=0).text, lambda client: "".join(piece.text for piece in client.stream("17 + 25", temperature=0)),
                 lambda client: client.complete("42" * 1000, max_tokens=1, echo=True).text):
        client = KINDS[kind]([server], **options)
        assert "42" in call(client)
        client.close()


@in_a_network
@pytest.mark.parametrize("kind", HTTP)
def test_connections_that_are_made_again_save_a_round_trip(kind):
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS), HadalProcess("--tcp-fast-open=true") as server:
        ask_thrice(kind, server)
        assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 0
        ask_thrice(kind, server, tcp_fast_open=True)
        # The first connection brings the cookie that the others show.
        assert tcp_counter("TCPFastOpenActive") == tcp_counter("TCPFastOpenPassive") == 2


@in_a_network
@pytest.mark.parametrize("kind", HTTP)
def test_by_tls(kind, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS), \
            HadalProcess("--tcp-fast-open=true", f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context()) as server:
        ask_thrice(kind, server, tcp_fast_open=True, ca_file=authority.certificate)
        assert tcp_counter("TCPFastOpenActive") == 2


@in_a_network
@pytest.mark.parametrize("kind", HTTP)
def test_where_the_kernel_or_the_server_does_not_have_it_connections_are_made_as_ever(kind):
    for setting, flag in ((CLIENTS_AND_SERVERS, "false"), (CLIENTS, "true")):
        with own_network(tcp_fastopen=setting), HadalProcess(f"--tcp-fast-open={flag}") as server:
            ask_thrice(kind, server, tcp_fast_open=True)
            assert tcp_counter("TCPFastOpenActive") == 0


@in_a_network
@pytest.mark.parametrize("kind", HTTP)
def test_a_server_that_has_gone_since_is_not_reached(kind):
    with own_network(tcp_fastopen=CLIENTS_AND_SERVERS):
        with HadalProcess("--tcp-fast-open=true") as server:
            ask_thrice(kind, server, tcp_fast_open=True)
        client = KINDS[kind]([server], tcp_fast_open=True, retry=hadal_client.RetryOptions(max_attempts=2, initial_backoff=0.01))
        with pytest.raises(hadal_client.ServerUnreachable):
            client.chat("x", deadline=20)
        client.close()


@pytest.mark.parametrize("kind", HTTP)
def test_a_hedging_client_has_it_and_idle_connections_are_used_again(start_server, kind):
    servers = [start_server("--load-format=null:2ms") for _ in range(2)]
    client = KINDS[kind](servers, tcp_fast_open=True, retry=hadal_client.RetryOptions(hedge_after=5))
    for _ in range(4):
        assert client.chat("x", max_tokens=2, ignore_eos=True, deadline=30).usage.completion_tokens == 2
    client.close()


def test_what_has_no_connections_of_ours_is_named():
    for kind, transport in ((hadal_client.Client, httpx.HTTPTransport()), (hadal_client.AsyncClient, httpx.AsyncHTTPTransport())):
        with pytest.raises(ValueError, match="tcp_fast_open: a transport of your own"):
            kind("http://a:1", transport=transport, tcp_fast_open=True)


def test_nobody_there_and_no_such_name(start_server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for server in (address, "http://no-such-host.invalid:1"):
        with hadal_client.Client(server, tcp_fast_open=True, retry=hadal_client.RetryOptions(max_attempts=1)) as client:
            with pytest.raises(hadal_client.ServerUnreachable):
                client.chat("x", deadline=20)
