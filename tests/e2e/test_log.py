# SPDX-License-Identifier: Apache-2.0
"""The server's ordinary log as JSON lines: those about a request name it and its trace, and nothing of what callers write is in any."""

import contextlib
import http.client
import json
import select
import threading
import time

import grpc
import pytest

from hadal_process import HadalProcess, filled
from http_client import post, send_raw

SECRET = "quokka axolotl narwhal zebrafish"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
CHAT = {"model": "hadal-demo", "messages": [{"role": "system", "content": SECRET}, {"role": "user", "content": SECRET}], "max_tokens": 4,
        "stop": [SECRET], "user": SECRET}
FUNCTION = {"name": "look", "description": SECRET, "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": SECRET}}}}


@pytest.fixture(scope="module")
def server():
    with HadalProcess("--log-level=debug", "--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=2", "--wait-limits=none",
                      "--fallback-upstream=http://127.0.0.1:1,name=away", "--fallback-opt-in", log_format="json") as process:
        process.wait_text('"msg":"ready"')  # the last line of the start
        yield process


def log_lines(server):
    return [json.loads(line) for line in server.text().splitlines() if line.startswith("{")]


def ended(lines):
    """How many requests have ended by these lines."""
    return sum("outcome" in line for line in lines)


def settled(server):
    """How many lines there are once each request that has ended has its own: a line may come later than the answer that it is about."""
    deadline = time.monotonic() + 60
    while ended(log_lines(server)) != server.metric("hadal_requests_total"):
        assert time.monotonic() < deadline, (ended(log_lines(server)), server.metric("hadal_requests_total"))
        time.sleep(0.02)
    return len(log_lines(server))


def lines_about(server, ask, request_id):
    """What is logged from the begin of `ask` to the line that ends a request: nothing else is going on."""
    before = settled(server)
    ask({"x-request-id": request_id, "traceparent": TRACEPARENT})
    deadline = time.monotonic() + 60
    while ended(log_lines(server)[before:]) < 1:
        assert time.monotonic() < deadline, log_lines(server)[before:]
        time.sleep(0.02)
    return log_lines(server)[before:]


@contextlib.contextmanager
def full(server):
    """One request runs and two wait. The last place may be kept for a while for one that was refused before."""
    with filled(server), contextlib.ExitStack() as stack:
        deadline = time.monotonic() + 120
        while server.metric("hadal_requests_waiting") < 2:
            assert time.monotonic() < deadline
            last = stack.enter_context(contextlib.closing(send_raw(server, "/v1/completions", {"prompt": "x", "max_tokens": 2000, "ignore_eos": True})))
            while server.metric("hadal_requests_waiting") < 2 and not select.select([last], [], [], 0.05)[0]:
                assert time.monotonic() < deadline
        yield


def check_named(lines, request_id):
    for line in lines:
        assert line["request_id"].startswith(request_id) and line["trace_id"] == TRACE_ID, line


# (path, body, status, what the lines say besides that the request has ended)
CASES = {
    "chat": ("/v1/chat/completions", CHAT, 200, []),
    "stream": ("/v1/chat/completions", {**CHAT, "stream": True, "n": 2}, 200, []),
    "prompts": ("/v1/completions", {"prompt": [SECRET, SECRET], "max_tokens": 2}, 200, []),
    "tools": ("/v1/chat/completions", {**CHAT, "tools": [{"type": "function", "function": FUNCTION}]}, 200, []),
    "schema": ("/v1/chat/completions", {**CHAT, "response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "object", "title": SECRET, "properties": {"x": {"const": SECRET}}}}}}, 200, []),
    "ollama": ("/api/chat", {**{key: CHAT[key] for key in ("model", "messages")}, "options": {"mirostat": 1, "num_predict": 2}, "stream": False}, 200,
               ["options of Ollama's API that this server does not have are ignored"]),
    "responses": ("/v1/responses", {"input": SECRET, "max_output_tokens": 4, "tools": [{"type": "web_search"}]}, 200, ["a tool of /v1/responses is left out"]),
    "messages": ("/v1/messages", {"model": "hadal-demo", "max_tokens": 4, "messages": CHAT["messages"][1:],
                                  "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 200, ["a tool of /v1/messages is left out"]),
    "out of range": ("/v1/chat/completions", {**CHAT, "temperature": 9}, 422, []),
    "broken": ("/v1/chat/completions", '{"messages": [{"role": "user", "content": "' + SECRET, 400, []),
    "wrong role": ("/v1/chat/completions", {"messages": [{"role": SECRET, "content": SECRET}]}, 400, []),
    "tokenize": ("/tokenize", {"prompt": SECRET}, 200, []),
    "render": ("/v1/chat/completions/render", CHAT, 200, []),
    "render tools": ("/v1/responses/render", {"input": SECRET, "tools": [{"type": "web_search"}]}, 200, ["a tool of /v1/responses is left out"]),
    "unknown route": (f"/v1/{SECRET.replace(' ', '-')}", CHAT, 404, []),
    "unknown model": ("/v1/chat/completions", {**CHAT, "model": SECRET}, 404, []),
}


@pytest.mark.parametrize("name", CASES)
def test_every_line_about_a_request_names_it_and_its_trace(server, name):
    path, body, status, said = CASES[name]
    answers = []
    request_id = "my-" + name.replace(" ", "-")
    lines = lines_about(server, lambda headers: answers.append(post(server, path, body, headers)), request_id)
    assert answers[0][0] == status, answers
    check_named(lines, request_id)
    for text in said:
        assert any(text in line["msg"] for line in lines), lines
    assert len(lines) == 1 + len(said), lines


def test_a_refusal_and_an_upstream_that_is_away(server):
    with full(server):
        time.sleep(1)  # only the first refusal of a second has a line
        lines = lines_about(server, lambda headers: post(server, "/v1/chat/completions", CHAT, headers), "my-refusal")
        refusal, = [line for line in lines if line["component"] == "admission"]
        assert refusal["level"] == "WARN" and refusal["msg"].startswith("CONNECTION_QUEUE_FULL")
        check_named(lines, "my-refusal")
        lines = lines_about(server, lambda headers: post(server, "/v1/chat/completions", CHAT, {**headers, "x-hadal-allow-fallback": "1"}), "my-passage")
        away, = [line for line in lines if line["component"] == "upstream"]
        assert away["msg"] == "away has not answered: unreachable"
        check_named(lines, "my-passage")


def test_one_that_is_refused_after_it_has_waited_is_named_too():
    """The engine's thread refuses it: a request of a higher class gets its place in the queue."""
    traces = {f"bulk-{i}": f"{i + 1:032x}" for i in range(10)}
    with HadalProcess("--load-format=null:50ms", "--max-batch-size=2", "--max-queue-requests=8", "--class-floors=high=0.25", "--wait-limits=none",
                      log_format="json") as server, contextlib.ExitStack() as stack:

        def ask(name, priority, tokens):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)))
            body = {"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {
                "Content-Type": "application/json", "x-request-id": name, "x-hadal-priority": priority,
                "traceparent": f"00-{traces[name]}-b7ad6b7169203331-01"})
            return connection

        asked = {}
        for count, name in enumerate(list(traces), 1):
            asked[name] = ask(name, "batch", 2000)  # nobody waits for it to end
            server.wait_metric("hadal_requests_running", min(count, 2))
            server.wait_metric("hadal_requests_waiting", max(count - 2, 0))
        traces["urgent"] = f"{99:032x}"
        urgent = ask("urgent", "high", 1)
        answered = select.select([connection.sock for connection in asked.values()], [], [], 60)[0]
        refused = [name for name, connection in asked.items() if connection.sock in answered]
        assert len(refused) == 1 and asked[refused[0]].getresponse().status == 503, refused
        for connection in asked.values():
            connection.close()
        assert urgent.getresponse().status == 200
        server.wait_text("PREEMPTED_IN_QUEUE", timeout=60)
        line, = [line for line in log_lines(server) if line.get("reason") == "PREEMPTED_IN_QUEUE"]
    assert line["component"] == "admission" and line["class"] == "batch" and line["request_id"].startswith(refused[0] + "-")
    assert line["trace_id"] == traces[refused[0]]


def test_a_count_of_refusals_names_none(server):
    """The second refusal of a second has no line; it is counted with the next that has one."""
    before = settled(server)
    with full(server):
        deadline = time.monotonic() + 60
        while not any("more in the last" in line["msg"] for line in log_lines(server)[before:]):
            assert time.monotonic() < deadline
            assert post(server, "/v1/chat/completions", CHAT, {"x-request-id": "my-many", "traceparent": TRACEPARENT})[0] == 503
    count = next(line for line in log_lines(server)[before:] if "more in the last" in line["msg"])
    assert "request_id" not in count and "trace_id" not in count and count["reason"] == "CONNECTION_QUEUE_FULL"


def test_requests_at_the_same_time_are_told_apart(server):
    """Each of them is served or refused on threads that serve the others, too."""
    before = settled(server)
    traces = {f"one-of-many-{i}": f"{i + 1:032x}" for i in range(40)}

    def ask(request_id, trace):
        post(server, "/api/chat", {"model": "hadal-demo", "messages": CHAT["messages"], "options": {"mirostat": 1, "num_predict": 2}, "stream": False},
             {"x-request-id": request_id, "traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    threads = [threading.Thread(target=ask, args=one) for one in traces.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    settled(server)
    named = [line for line in log_lines(server)[before:] if "request_id" in line]
    assert len(named) > len(traces)
    for line in named:
        assert line["trace_id"] == traces[line["request_id"].rsplit("-", 1)[0]], line


def test_over_grpc_too(server, stubs):
    def ask(headers):
        stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
        request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content=SECRET)])
        request.stopping.max_tokens = 4
        list(stub.Chat(request, metadata=list(headers.items())))

    check_named(lines_about(server, ask, "my-call"), "my-call")
    with full(server):
        def refused(headers):
            with pytest.raises(grpc.RpcError):
                ask(headers)

        time.sleep(1)
        lines = lines_about(server, refused, "my-refused-call")
        assert any(line["component"] == "admission" for line in lines)
        check_named([line for line in lines if "more in the last" not in line["msg"]], "my-refused-call")


def test_without_a_trace_there_is_only_the_id(server):
    before = settled(server)
    assert post(server, "/v1/chat/completions", CHAT, {"x-request-id": "mine"})[0] == 200
    settled(server)
    line = log_lines(server)[before]
    assert line["request_id"].startswith("mine-") and not line.get("trace_id")


def test_nothing_that_callers_wrote_is_in_the_log(server):
    """After all of the above."""
    assert len(log_lines(server)) > 50
    for word in SECRET.split():
        assert word not in server.text()
    assert "narwhal" in json.dumps(CHAT)
