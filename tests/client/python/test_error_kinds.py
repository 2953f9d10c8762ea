# SPDX-License-Identifier: Apache-2.0
"""One error for one thing, be it told over HTTP or gRPC."""

from concurrent import futures

import grpc
import pytest

import hadal_client
from client_kinds import KINDS
from hadal_client import RetryOptions
from hadal_client._httpx import httpx
from hadal_process import HadalProcess

# What a server says over each, and what its caller gets: kind, status, retry_after, attempts of 3.
CASES = {
    "full": (503, grpc.StatusCode.UNAVAILABLE, {"ms": "20"}, ("ServerBusy", 503, 0.02, 3)),
    "full by another code": (429, grpc.StatusCode.RESOURCE_EXHAUSTED, {"ms": "20"}, ("ServerBusy", 429, 0.02, 3)),
    "full, and names no time": (429, grpc.StatusCode.RESOURCE_EXHAUSTED, {}, ("ServerBusy", 429, None, 3)),
    "full, and no use": (503, grpc.StatusCode.UNAVAILABLE, {"ms": "-1"}, ("ServerBusy", 503, None, 1)),
    "a wrong key": (401, grpc.StatusCode.UNAUTHENTICATED, {}, ("RequestError", 401, None, 1)),
    "an unknown model": (404, grpc.StatusCode.NOT_FOUND, {}, ("RequestError", 404, None, 1)),
    "a wrong value": (400, grpc.StatusCode.INVALID_ARGUMENT, {}, ("RequestError", 400, None, 1)),
    "a broken server": (500, grpc.StatusCode.INTERNAL, {}, ("RequestError", 500, None, 1)),
    "not served": (501, grpc.StatusCode.UNIMPLEMENTED, {}, ("RequestError", 501, None, 1)),
    "too late": (504, grpc.StatusCode.DEADLINE_EXCEEDED, {}, ("DeadlineExceeded", None, None, 1))}
QUICK = RetryOptions(max_attempts=3, initial_backoff=0.01)


def by_http(status, said, ask):
    seen = []

    def answer(request):
        seen.append(request.url.path)
        headers = {"x-request-id": "r"}
        if said.get("ms") == "-1":
            headers["x-should-retry"] = "false"
        elif "ms" in said:
            headers["retry-after-ms"] = said["ms"]
        return httpx.Response(status, headers=headers, json={"error": {"message": "said"}})

    with hadal_client.Client("http://a:1", transport=httpx.MockTransport(answer), retry=QUICK) as client:
        return outcome(client, ask, seen)


def by_grpc(code, said, ask, details="said"):
    seen = []

    def refuse(request, context):
        seen.append(1)
        context.set_trailing_metadata((("x-request-id", "r"), *([("grpc-retry-pushback-ms", said["ms"])] if "ms" in said else [])))
        context.abort(code, details)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("hadal.v1.Inference", {
        "Chat": grpc.unary_stream_rpc_method_handler(refuse), "GetLoad": grpc.unary_unary_rpc_method_handler(refuse),
        "ListModels": grpc.unary_unary_rpc_method_handler(refuse)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with hadal_client.GrpcClient(f"127.0.0.1:{port}", retry=QUICK) as client:
            return outcome(client, ask, seen)
    finally:
        server.stop(None)


def outcome(client, ask, seen):
    with pytest.raises(hadal_client.HadalError) as caught:
        ASK[ask](client)
    error = caught.value
    assert getattr(error, "attempts", len(seen)) == len(seen)
    return type(error).__name__, getattr(error, "status", None), getattr(error, "retry_after", None), len(seen)


ASK = {"chat": lambda client: client.chat("x", max_tokens=1), "stream": lambda client: list(client.stream("x", max_tokens=1)),
       "models": lambda client: client.models(), "load": lambda client: client.load()}


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("case", CASES)
def test_of_a_server_that_says_so(case, ask):
    status, code, said, wanted = CASES[case]
    if ask == "load" and case == "too late":
        wanted = ("ServerUnreachable", None, None, 1)  # nobody has said it
    assert by_http(status, said, ask) == wanted
    assert by_grpc(code, said, ask) == wanted


@pytest.mark.parametrize("make", [lambda: hadal_client.Client("http://127.0.0.1:1", retry=QUICK), lambda: hadal_client.GrpcClient("127.0.0.1:1", retry=QUICK)],
                         ids=["http", "grpc"])
def test_whoever_is_away_is_named_with_the_attempts(make):
    with make() as client, pytest.raises(hadal_client.ServerUnreachable, match=r"127\.0\.0\.1:1\b.*\(after 3 attempts\)$"):
        client.chat("x")


def test_who_lacks_a_key_is_told_where_to_give_it(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("right tenant\n")
    with HadalProcess("--load-format=null:2ms", f"--api-key-file={keys}") as server:
        for make in KINDS.values():
            for key in (None, "wrong"):
                client = make([server], api_key=key)
                with pytest.raises(hadal_client.RequestError, match=r"\(the client's api_key\)$") as caught:
                    client.chat("x")
                assert caught.value.status == 401
                client.close()


def test_a_message_that_grpc_finds_too_large_is_not_asked_for_again():
    """413 over HTTP, too."""
    assert by_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, {}, "chat", "SERVER: Received message larger than max (5 vs. 4)") == ("RequestError", 413, None, 1)
    assert by_http(413, {}, "chat") == ("RequestError", 413, None, 1)
