# SPDX-License-Identifier: Apache-2.0
"""Files and batches over gRPC with grpcio: they are those of the HTTP routes, tenants are apart, and an upload that breaks off leaves nothing."""

import time

import grpc
import openai
import pytest

from batch_client import CHAT, expect_each_once, lines, results, wait
from hadal_process import PATIENCE, HadalProcess
from http_client import client_of
from test_grpc import details_of

MAX_FILE = 4 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with HadalProcess(f"--batch-store={tmp_path_factory.mktemp('batches')}", "--batch-max-file=4MiB") as process:
        yield process


def batches_of(server, stubs):
    return stubs.batch_services.BatchesStub(grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)]))


def pieces(stubs, content, size=100_000, purpose="batch", last=True):
    yield stubs.batches.UploadFileRequest(file=stubs.batches.NewFile(name="in.jsonl", purpose=purpose))
    for at in range(0, len(content), size):
        yield stubs.batches.UploadFileRequest(data=content[at:at + size])
    if last:
        yield stubs.batches.UploadFileRequest(last=True)


def content_of(stub, stubs, file_id, offset=0, **options):
    request = stubs.batches.DownloadFileRequest(id=file_id, offset=offset)
    return b"".join(piece.data for piece in stub.DownloadFile(request, timeout=PATIENCE, **options))


def reads_from(client, file_id, offset):
    """The rest of a file over HTTP; b"" behind its end."""
    try:
        answer = client.files.with_raw_response.content(file_id, extra_headers={"Range": f"bytes={offset}-"})
    except openai.APIStatusError as error:
        assert error.status_code == 416
        return b""
    assert answer.status_code == 206 and answer.headers["content-range"].startswith(f"bytes {offset}-")
    return answer.content


def ended(stub, stubs, batch, timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    final = (stubs.batches.BATCH_STATUS_COMPLETED, stubs.batches.BATCH_STATUS_FAILED, stubs.batches.BATCH_STATUS_CANCELLED)
    while (now := stub.GetBatch(stubs.batches.GetBatchRequest(id=batch.id), timeout=PATIENCE)).status not in final:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def reason_of(call, stubs):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), details_of(caught.value, stubs)[1]["ErrorInfo"].reason, caught.value.details()


def test_a_batch_over_grpc_is_the_one_that_http_shows(server, stubs, client):
    stub = batches_of(server, stubs)
    content = "\n".join(lines(20)).encode()
    file = stub.UploadFile(pieces(stubs, content, size=333), timeout=PATIENCE)
    assert (file.bytes, file.purpose, client.files.retrieve(file.id).bytes) == (len(content), "batch", len(content))
    made = stub.CreateBatch(stubs.batches.CreateBatchRequest(input_file_id=file.id, endpoint=CHAT, metadata={"job": "ünï\n\"x\""}), timeout=PATIENCE)
    batch = ended(stub, stubs, made)
    assert (batch.status, batch.total, batch.completed, batch.failed) == (stubs.batches.BATCH_STATUS_COMPLETED, 20, 20, 0)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    shown = wait(client, made)
    assert dict(shown.metadata) == dict(batch.metadata) == {"job": "ünï\n\"x\""}
    expect_each_once(client, shown, 20)
    assert content_of(stub, stubs, batch.output_file_id) == client.files.content(batch.output_file_id).content
    assert content_of(stub, stubs, file.id) == content
    answers = content_of(stub, stubs, batch.output_file_id)
    for offset in (1, len(answers) // 2, len(answers)):
        assert content_of(stub, stubs, batch.output_file_id, offset=offset) == answers[offset:]
        assert reads_from(client, batch.output_file_id, offset) == answers[offset:]
    assert batch.id in [one.id for one in stub.ListBatches(stubs.batches.ListBatchesRequest(), timeout=PATIENCE).batches]


def test_a_batch_over_http_is_the_one_that_grpc_shows(server, stubs, client):
    stub = batches_of(server, stubs)
    file = client.files.create(file=("in.jsonl", "\n".join(lines(3)).encode()), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"a": "1", "b": "2"})
    batch = ended(stub, stubs, made)
    assert (batch.completed, dict(batch.metadata)) == (3, {"a": "1", "b": "2"})
    assert sorted(row["custom_id"] for row in results(client, batch.output_file_id)) == ["ask-0", "ask-1", "ask-2"]


def test_lines_that_are_not_valid_are_named(server, stubs):
    stub = batches_of(server, stubs)
    file = stub.UploadFile(pieces(stubs, b'{"custom_id": "a"}\n'), timeout=PATIENCE)
    batch = ended(stub, stubs, stub.CreateBatch(stubs.batches.CreateBatchRequest(input_file_id=file.id, endpoint=CHAT), timeout=PATIENCE))
    assert batch.status == stubs.batches.BATCH_STATUS_FAILED and batch.errors[0].line == 1 and batch.errors[0].message


def test_lists_come_in_pages(server, stubs):
    stub = batches_of(server, stubs)
    made = [stub.UploadFile(pieces(stubs, b"x"), timeout=PATIENCE).id for _ in range(5)]
    seen, after, more = [], "", True
    while more:
        page = stub.ListFiles(stubs.batches.ListFilesRequest(page_size=2, after=after), timeout=PATIENCE)
        seen += [file.id for file in page.files]
        after, more = seen[-1], page.has_more
    assert seen[:5] == made[::-1] and len(set(seen)) == len(seen)
    for file in made:
        stub.DeleteFile(stubs.batches.DeleteFileRequest(id=file), timeout=PATIENCE)
    assert reason_of(lambda: content_of(stub, stubs, made[0]), stubs)[:2] == (grpc.StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND")


def test_what_is_wrong_with_an_upload_is_named_and_nothing_is_left(server, stubs, client):
    stub = batches_of(server, stubs)
    before = {file.id for file in client.files.list()}
    large = reason_of(lambda: stub.UploadFile(pieces(stubs, b"x" * (MAX_FILE + 1), size=1 << 20), timeout=PATIENCE), stubs)
    assert large[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BODY_TOO_LARGE") and str(MAX_FILE) in large[2]
    unended = reason_of(lambda: stub.UploadFile(pieces(stubs, b"x" * 600_000, last=False), timeout=PATIENCE), stubs)
    assert unended[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") and "`last`" in unended[2]
    assert reason_of(lambda: stub.UploadFile(pieces(stubs, b"x", purpose="vision"), timeout=PATIENCE), stubs)[1] == "INVALID_REQUEST"
    with pytest.raises(grpc.RpcError) as caught:  # its client's deadline passes in the middle
        def slow():
            yield from pieces(stubs, b"x" * 600_000, last=False)
            time.sleep(5)
        stub.UploadFile(slow(), timeout=0.5)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    server.wait_metric("hadal_body_uploads", 0)
    assert {file.id for file in client.files.list()} == before


def test_cancelled_while_it_runs(server, stubs):
    stub = batches_of(server, stubs)
    file = stub.UploadFile(pieces(stubs, "\n".join(lines(2000, max_tokens=200, ignore_eos=True)).encode()), timeout=PATIENCE)
    made = stub.CreateBatch(stubs.batches.CreateBatchRequest(input_file_id=file.id, endpoint=CHAT), timeout=PATIENCE)
    stub.CancelBatch(stubs.batches.CancelBatchRequest(id=made.id), timeout=PATIENCE)
    batch = ended(stub, stubs, made)
    assert batch.status == stubs.batches.BATCH_STATUS_CANCELLED and batch.cancelled_at >= batch.cancelling_at > 0
    again = reason_of(lambda: stub.CancelBatch(stubs.batches.CancelBatchRequest(id=made.id), timeout=PATIENCE), stubs)
    assert again[1] == "INVALID_REQUEST" and "nothing to cancel" in again[2]


def test_tenants_are_apart(start_server, stubs, tmp_path):
    (tmp_path / "keys").write_text("sk-a one\nsk-b two\n")
    server = start_server(f"--batch-store={tmp_path / 'batches'}", f"--api-key-file={tmp_path / 'keys'}")
    stub = batches_of(server, stubs)
    one, two = ([("authorization", f"Bearer {key}")] for key in ("sk-a", "sk-b"))
    file = stub.UploadFile(pieces(stubs, b"x"), timeout=PATIENCE, metadata=one)
    assert reason_of(lambda: stub.UploadFile(pieces(stubs, b"x"), timeout=PATIENCE), stubs)[0] == grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(lambda: content_of(stub, stubs, file.id, metadata=two), stubs)[0] == grpc.StatusCode.NOT_FOUND
    assert not stub.ListFiles(stubs.batches.ListFilesRequest(), timeout=PATIENCE, metadata=two).files
    assert content_of(stub, stubs, file.id, metadata=one) == b"x"


def test_without_a_store_the_flag_is_named(start_server, stubs):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = start_server()
    stub = batches_of(server, stubs)
    code, reason, text = reason_of(lambda: stub.ListBatches(stubs.batches.ListBatchesRequest(), timeout=PATIENCE), stubs)
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED") and "--batch-store" in text
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(server.target))
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="hadal.v1.Batches"), timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_and_reflection_know_the_service(server):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    channel = grpc.insecure_channel(server.target)
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="hadal.v1.Batches"), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "hadal.v1.Batches" in database.get_services()
    assert database.FindFileContainingSymbol("hadal.v1.CreateBatchRequest").name == "hadal/v1/batches.proto"


def test_a_store_that_is_away_is_said(start_server, stubs, redis):
    store = redis("--appendonly", "yes", "--appendfsync", "always")  # else what was written last may wait for a sync, and is lost
    server = start_server(f"--batch-store=redis://127.0.0.1:{store.port}")
    stub = batches_of(server, stubs)
    file = stub.UploadFile(pieces(stubs, "\n".join(lines(2)).encode()), timeout=PATIENCE)
    store.stop()
    for call in (lambda: stub.UploadFile(pieces(stubs, b"x"), timeout=PATIENCE), lambda: content_of(stub, stubs, file.id),
                 lambda: stub.CreateBatch(stubs.batches.CreateBatchRequest(input_file_id=file.id, endpoint=CHAT), timeout=PATIENCE)):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        metadata, found = details_of(caught.value, stubs)
        assert (caught.value.code(), found["ErrorInfo"].reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
        assert int(metadata["grpc-retry-pushback-ms"]) > 0
    with pytest.raises(openai.APIStatusError):
        client_of(server).files.list()
    store.start()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            batch = stub.CreateBatch(stubs.batches.CreateBatchRequest(input_file_id=file.id, endpoint=CHAT), timeout=PATIENCE)
            break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE and time.monotonic() < deadline, error
            time.sleep(0.2)
    assert ended(stub, stubs, batch).completed == 2
