# SPDX-License-Identifier: Apache-2.0
"""gRPC through the gateway configurations of gateways/ and of the edges in k8s/overlays, with the real gateways in front of two servers."""

import contextlib
import threading
import time

import grpc
import pytest

from gateway_fleet import SMALL, answer, end_one_under_load, kill, start_fleet, stub_of
from gateway_process import GatewayProcess
from hadal_process import PATIENCE, HadalProcess, filled
from test_grpc import RETRY, chat, details_of, long_request


@pytest.fixture
def fleet(gateway, tmp_path):
    """(port for gRPC, the two servers): small ones."""
    with start_fleet(gateway, tmp_path, *SMALL) as (process, servers):
        yield process.grpc_port, servers


def refusal(stub, stubs):
    with pytest.raises(grpc.RpcError) as caught:
        answer(stub, stubs)
    return caught.value


def served(server):
    return server.metric("hadal_admission_attempts_total")


def test_unary_calls_and_streams_pass(gateway, tmp_path, stubs):
    with start_fleet(gateway, tmp_path, "--load-format=null:1ms") as (process, servers):
        with stub_of(process.grpc_port, stubs) as stub:
            ids = stub.Tokenize(stubs.pb.TokenizeRequest(text="17 + 25"), timeout=PATIENCE).token_ids
            assert stub.Detokenize(stubs.pb.DetokenizeRequest(token_ids=ids, skip_special_tokens=True), timeout=PATIENCE).text == "17 + 25"
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.Chat(chat(stubs, "hi", model="nobody"), timeout=PATIENCE))
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            assert details_of(caught.value, stubs)[1]["ErrorInfo"].reason == "MODEL_NOT_FOUND"
        for _ in range(8):
            with stub_of(process.grpc_port, stubs) as stub:
                assert answer(stub, stubs, 50) == 50
        assert all(served(server) for server in servers), "each connection's first call goes to the server that has the fewest"


def test_an_upload_arrives_while_it_is_sent(gateway, tmp_path, stubs):
    """A gateway that waits for the end of what a client sends would hold a long upload back."""
    with HadalProcess("--load-format=null", f"--batch-store={tmp_path}/batches") as server, \
            GatewayProcess(gateway, tmp_path, [server.port] * 2) as process, grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}") as channel:
        arrived = threading.Event()

        def pieces():
            yield stubs.batches.UploadFileRequest(file=stubs.batches.NewFile(name="in.jsonl", purpose="batch"))
            yield stubs.batches.UploadFileRequest(data=b"{}\n" * 10)
            assert arrived.wait(PATIENCE)
            yield stubs.batches.UploadFileRequest(last=True)

        upload = stubs.batch_services.BatchesStub(channel).UploadFile.future(pieces(), timeout=PATIENCE)
        server.wait_metric("hadal_body_uploads", 1)
        arrived.set()
        assert upload.result().bytes == 30


def test_tokens_come_as_they_are_made(fleet, stubs):
    port, servers = fleet
    with stub_of(port, stubs) as stub:
        assert answer(stub, stubs, 20) == 20
        call = stub.Generate(long_request(stubs, 30000))
        next(call)
        assert sum(server.metric("hadal_requests_running") for server in servers) == 1, "the others are still to come"
        call.cancel()
    for server in servers:
        server.wait_idle()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_refusal_reaches_the_client_whole(gateway, tmp_path, stubs, code):
    with start_fleet(gateway, tmp_path, *SMALL, f"--overload-grpc-code={code}") as (process, (one, two)), \
            filled(one), filled(two), stub_of(process.grpc_port, stubs) as stub, stub_of(one.port, stubs) as direct:
        error, wanted = refusal(stub, stubs), refusal(direct, stubs)
        metadata, found = details_of(error, stubs)
        hint = found["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
        assert abs(int(metadata["grpc-retry-pushback-ms"]) - hint * 1000) <= 1 and hint >= 1
        assert found["ErrorInfo"].reason == "CONNECTION_QUEUE_FULL" and "服务器繁忙" in error.details()
        assert error.code() == wanted.code() == grpc.StatusCode[code]
        # Nothing that the server says gets lost on the way. A ticket is for one that would wait for the place, and how long that is may not be known
        # to both servers.
        may_differ = {"x-hadal-ticket", "x-hadal-estimated-wait-ms"}
        assert details_of(wanted, stubs)[0].keys() - may_differ == metadata.keys() - may_differ - {"date", "server", "content-length"}


def test_the_library_retries_a_refusal_on_the_other_replica(gateway, tmp_path, stubs):
    with start_fleet(gateway, tmp_path, "--load-format=null:30ms", *SMALL[1:]) as (process, (one, two)):
        with filled(one), stub_of(process.grpc_port, stubs, RETRY) as stub:
            for _ in range(4):
                # As a gateway it is told the next free moment, at most 3 s from now.
                call = stub.Generate(long_request(stubs, 1), timeout=PATIENCE, metadata=[("x-hadal-client", "gateway")])
                assert list(call)[-1].usage.completion_tokens == 1
            assert one.metric("hadal_requests_running") == one.metric("hadal_requests_waiting") == 1
            assert served(two) == 4
            assert one.metric("hadal_admission_rejections_total") > 0, "it was asked, too"


def test_a_replica_that_refused_is_not_parked(fleet, stubs):
    port, (one, two) = fleet
    with filled(one), filled(two), stub_of(port, stubs) as stub:
        assert {refusal(stub, stubs).code() for _ in range(20)} == {grpc.StatusCode.UNAVAILABLE}
    # At once, not after a quarantine: both have room, so two at a time are served.
    with stub_of(port, stubs) as stub:
        calls = [stub.Generate(long_request(stubs, 100), timeout=PATIENCE) for _ in range(2)]
        assert [list(call)[-1].usage.completion_tokens for call in calls] == [100] * 2


def test_a_replica_that_ends_under_load_loses_no_call(gateway, tmp_path, stubs):
    """Clients retry refusals, as every gRPC client of a server that refuses has to: a call that a draining server gets is refused with a hint."""
    with start_fleet(gateway, tmp_path, "--load-format=null:5ms") as (process, (one, _)):

        def client(is_over, tell):
            with stub_of(process.grpc_port, stubs, RETRY) as stub:
                while not is_over():
                    try:
                        tell(answer(stub, stubs, 20))
                    except grpc.RpcError as error:
                        tell(f"{error.code()}: {error.details()}")

        assert set(end_one_under_load(one, client, threads=8, between=40)) == {20}


def test_a_killed_replica_is_survived(fleet, stubs):
    port, (one, _) = fleet
    kill(one)
    with stub_of(port, stubs, RETRY) as stub:
        assert [answer(stub, stubs) for _ in range(8)] == [1] * 8


def test_nobody_is_a_refusal_with_a_hint(gateway, tmp_path, stubs):
    """The edges turn to the backup first."""
    edge = gateway.startswith("edge")
    with HadalProcess(*SMALL) as backup, start_fleet(gateway, tmp_path, *SMALL, backup=backup if edge else None) as (process, servers):
        with stub_of(process.grpc_port, stubs) as stub:
            assert answer(stub, stubs) == 1 and served(backup) == 0
            for server in servers:
                kill(server)
            deadline = time.monotonic() + PATIENCE

            def wait(condition):
                while not condition():
                    with contextlib.suppress(grpc.RpcError):
                        answer(stub, stubs)
                    assert time.monotonic() < deadline
                    time.sleep(0.1)

            if edge:
                wait(lambda: served(backup))
                assert [answer(stub, stubs) for _ in range(5)] == [1] * 5
                kill(backup)
            pushback, wanted = None, "1000" if "nginx" in gateway else "10000"
            while pushback != wanted:
                error = refusal(stub, stubs)
                assert error.code() == grpc.StatusCode.UNAVAILABLE, "in no state anything else"
                pushback = dict(error.trailing_metadata()).get("grpc-retry-pushback-ms")
                assert time.monotonic() < deadline
            assert "Please retry later" in error.details()
