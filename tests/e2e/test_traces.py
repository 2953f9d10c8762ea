# SPDX-License-Identifier: Apache-2.0
"""Traces over OTLP/gRPC, taken by a collector that decodes them with the published generated code."""

import concurrent.futures
import http.client
import json
import os
import subprocess
import threading
import time

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service

from hadal_process import fill, filled
from http_client import post, read_until, send_raw
from ports import free_port
from tls_files import Authority

SECRET = "correct horse battery staple"
ASK = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 8, "temperature": 0}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"
PHASES = ["queue", "prefill", "decode", "write"]
SERVER_KIND, INTERNAL_KIND, ERROR = 2, 1, 2


def value_of(any_value):
    kind = any_value.WhichOneof("value")
    value = getattr(any_value, kind)
    return [value_of(item) for item in value.values] if kind == "array_value" else value


def attributes(message):
    return {attribute.key: value_of(attribute.value) for attribute in message.attributes}


class Collector(grpc.GenericRpcHandler):
    """Keeps every request; `answer(context)` may refuse it or wait before."""

    METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

    def __init__(self, port=0, answer=None, credentials=None):
        self.changed = threading.Condition()
        self.requests, self.raw = [], b""
        self.answer = answer
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[self])
        address = f"127.0.0.1:{port}"
        self.port = self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address)
        self.server.start()

    @property
    def target(self):
        return f"127.0.0.1:{self.port}"

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.export) if details.method == self.METHOD else None

    def export(self, raw, context):
        if self.answer is not None:
            self.answer(context)
        request = trace_service.ExportTraceServiceRequest.FromString(raw)
        with self.changed:
            self.raw += raw
            self.requests.append(request)
            self.changed.notify_all()
        return trace_service.ExportTraceServiceResponse().SerializeToString()

    def spans(self):
        return [span for request in self.requests for resource in request.resource_spans
                for scope in resource.scope_spans for span in scope.spans]

    def wait(self, servers, timeout=60):
        """Once there are so many server spans: [(server span, its phases by name)] in the order of their begin."""
        with self.changed:
            assert self.changed.wait_for(lambda: sum(s.kind == SERVER_KIND for s in self.spans()) >= servers, timeout), \
                [span.name for span in self.spans()]
            spans = self.spans()
        roots = sorted((s for s in spans if s.kind == SERVER_KIND), key=lambda s: s.start_time_unix_nano)
        return [(root, {s.name: s for s in spans if s.parent_span_id == root.span_id and s.kind == INTERNAL_KIND}) for root in roots]

    def stop(self):
        self.server.stop(None).wait()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def check_times(root, phases):
    now = time.time_ns()
    assert now - 120e9 < root.start_time_unix_nano <= root.end_time_unix_nano <= now + 1e9
    for span in phases.values():
        assert span.trace_id == root.trace_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    for before, after in zip(PHASES[:2], PHASES[1:3]):
        if after in phases:
            assert phases[before].end_time_unix_nano == phases[after].start_time_unix_nano


def test_answers_over_both_fronts(start_server, stubs, collector):
    server = start_server(f"--otlp-traces-endpoint={collector.target}")
    status, headers, _ = post(server, "/v1/chat/completions", ASK,
                              {"traceparent": SAMPLED, "tracestate": "vendor=1", "x-request-id": "mine", "x-hadal-priority": "low"})
    assert status == 200
    post(server, "/v1/completions", {"prompt": SECRET, "max_tokens": 4, "ignore_eos": True, "stream": True, "n": 2})
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content=SECRET)])
    request.stopping.max_tokens = 4
    request.stopping.ignore_eos = True
    call = stub.Chat(request, metadata=[("traceparent", SAMPLED)])
    list(call)
    trailers = dict(call.trailing_metadata())

    (chat, chat_phases), (completion, completion_phases), (rpc, rpc_phases) = collector.wait(3)
    assert (chat.trace_id.hex(), chat.parent_span_id.hex(), chat.trace_state) == (TRACE_ID, PARENT_ID, "vendor=1")
    assert chat.flags == 0x301, "sampled, and the parent is another process's"
    assert headers["traceresponse"] == f"00-{TRACE_ID}-{chat.span_id.hex()}-01"
    assert chat.name == "chat hadal-demo" and list(chat_phases) == PHASES
    told = attributes(chat)
    assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.provider.name"] == "deepseek"
    assert told["gen_ai.request.model"] == "hadal-demo" and told["gen_ai.usage.input_tokens"] > 0
    assert 0 < told["gen_ai.usage.output_tokens"] <= 8 and len(told["gen_ai.response.finish_reasons"]) == 1
    assert told["http.route"] == "/v1/chat/completions" and told["http.response.status_code"] == 200
    assert told["hadal.request_id"].startswith("mine-") and told["hadal.class"] == "low"
    assert chat.status.code == 0

    assert completion.parent_span_id == b"" and len(completion.trace_id) == 16 and completion.trace_id != chat.trace_id
    assert completion.name == "text_completion hadal-demo" and list(completion_phases) == PHASES
    assert len(attributes(completion)["gen_ai.response.finish_reasons"]) == 2

    assert trailers["traceresponse"] == f"00-{TRACE_ID}-{rpc.span_id.hex()}-01"
    assert rpc.name == "chat hadal-demo" and list(rpc_phases) == PHASES
    assert attributes(rpc)["rpc.method"] == "Chat" and attributes(rpc)["rpc.grpc.status_code"] == 0
    for root, phases in ((chat, chat_phases), (completion, completion_phases), (rpc, rpc_phases)):
        check_times(root, phases)
    resource = attributes(collector.requests[0].resource_spans[0].resource)
    assert resource["service.name"] == "hadal" and resource["service.version"] and resource["service.instance.id"]
    assert SECRET.encode() not in collector.raw
    server.wait_metric('hadal_trace_spans_total{outcome="exported"}', 15)


def test_refusals_and_cancellations(start_server, collector):
    server = start_server(f"--otlp-traces-endpoint={collector.target}", "--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1",
                          "--wait-limits=none")
    assert post(server, "/v1/chat/completions", {**ASK, "temperature": 9})[0] == 422
    running, waiting = fill(server)
    status, headers, _ = post(server, "/v1/chat/completions", ASK)
    assert status == 503
    waiting.close()  # first, or it would start
    server.wait_metric("hadal_requests_waiting", 0)
    running.close()
    (invalid, none), (ran, ran_phases), (waited, waited_phases), (refused, no_phases) = collector.wait(4)
    assert not none and invalid.status.code == 0 and attributes(invalid)["error.type"] == "OUT_OF_RANGE"
    assert not no_phases and refused.status.code == ERROR and attributes(refused)["hadal.outcome"] == "shed"
    assert abs(attributes(refused)["hadal.retry_after_ms"] - int(headers["retry-after-ms"])) <= 1
    assert list(ran_phases)[:2] == PHASES[:2] and list(waited_phases) == ["queue"]
    for root, phases in ((ran, ran_phases), (waited, waited_phases)):
        assert attributes(root)["hadal.outcome"] == "cancelled" and root.status.code == 0
        check_times(root, phases)


def test_a_request_that_is_passed_on_stays_in_its_trace(start_server, collector):
    """The span of the server that answers is below that of the one which passed it on."""
    far = start_server(f"--otlp-traces-endpoint={collector.target}")
    near = start_server(f"--otlp-traces-endpoint={collector.target}", "--load-format=null:50ms", "--max-batch-size=1", "--max-queue-requests=1",
                        "--wait-limits=none", f"--fallback-upstream={far.url},name=far",
                        "--fallback-connect-timeout=20s", "--fallback-first-byte-timeout=30s")
    with filled(near):
        status, headers, _ = post(near, "/v1/chat/completions", ASK, {"traceparent": SAMPLED, "tracestate": "vendor=1"})
    assert status == 200 and headers["x-hadal-served-by"] == "far"
    roots = [root for root, _ in collector.wait(4) if root.trace_id.hex() == TRACE_ID]
    passed_on, answered = sorted(roots, key=lambda root: root.start_time_unix_nano)
    assert (passed_on.parent_span_id.hex(), answered.parent_span_id) == (PARENT_ID, passed_on.span_id)
    assert passed_on.trace_state == answered.trace_state == "vendor=1"
    assert attributes(answered)["gen_ai.usage.output_tokens"] > 0


def test_a_stream_that_its_client_leaves_has_all_phases(start_server, collector):
    server = start_server(f"--otlp-traces-endpoint={collector.target}", "--load-format=null:20ms", "--max-model-len=4096")
    sock = send_raw(server, "/v1/completions", {"prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True})
    read_until(sock, b"data: ")
    sock.close()
    (root, phases), = collector.wait(1)
    assert list(phases) == PHASES and attributes(root)["error.type"] == "CANCELLED"
    assert 0 < attributes(root)["gen_ai.usage.output_tokens"] < 3000
    check_times(root, phases)


def test_the_caller_decides_what_is_sampled(start_server, collector):
    server = start_server(f"--otlp-traces-endpoint={collector.target}", "--trace-sample-ratio=0")
    for headers in ({}, {"traceparent": UNSAMPLED}, {"traceparent": "nonsense"}):
        assert "traceresponse" not in post(server, "/v1/chat/completions", ASK, headers)[1]
    assert "traceresponse" in post(server, "/v1/chat/completions", ASK, {"traceparent": SAMPLED})[1]
    assert len(collector.wait(1)) == 1
    server.wait_metric('hadal_trace_spans_total{outcome="exported"}', 5)


def test_without_a_collector_nothing_is_traced(server):
    _, headers, _ = post(server, "/v1/chat/completions", ASK, {"traceparent": SAMPLED})
    assert "traceresponse" not in headers


def test_a_collector_that_is_away_costs_spans_and_no_request(start_server):
    port = free_port()
    target = f"127.0.0.1:{port}"
    server = start_server(f"--otlp-traces-endpoint={target}")
    for _ in range(3):
        assert post(server, "/v1/chat/completions", ASK)[0] == 200
    server.wait_text(f"the collector at {target} takes no spans", timeout=30)
    back = Collector(port=port)
    server.wait_text(f"the collector at {target} takes spans again", timeout=60)
    assert len(back.wait(3)) == 3
    back.stop()


def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(start_server):
    release = threading.Event()
    hanging = Collector(answer=lambda context: release.wait(60))
    server = start_server(f"--otlp-traces-endpoint={hanging.target}")
    for _ in range(3):
        assert post(server, "/v1/chat/completions", ASK)[0] == 200
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 20
    release.set()
    hanging.stop()


def test_more_spans_than_may_wait_are_dropped_and_counted(start_server):
    """4,096 wait (server/trace/otlp_exporter.h), and 512 are on their way to a collector that does not answer, until they are given up."""
    release = threading.Event()
    hanging = Collector(answer=lambda context: release.wait(60))
    server = start_server(f"--otlp-traces-endpoint={hanging.target}", "--load-format=null", "--max-queue-requests=64")
    body = json.dumps({"prompt": "x", "max_tokens": 4, "ignore_eos": True})

    def ask(count):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for _ in range(count):
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    clients, each = 8, 150
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, [each] * clients))
    server.wait_idle()
    dropped, failed = (server.metric('hadal_trace_spans_total{outcome="%s"}' % outcome) for outcome in ("dropped", "failed"))
    lost = 5 * clients * each - 4096
    # A few spans are made a little later than their answers are read.
    assert lost - failed - 2 * 512 <= dropped <= lost and dropped > 0
    assert server.stop() == 0
    release.set()
    hanging.stop()


def test_what_waits_is_sent_at_the_end(start_server, collector):
    """What has waited for a second when the server ends is given up (server/trace/otlp_exporter.h), which is not long for this collector on
    a busy machine: so there are several ends."""
    for _ in range(5):
        server = start_server(f"--otlp-traces-endpoint={collector.target}")
        assert post(server, "/v1/chat/completions", ASK)[0] == 200
        assert server.stop() == 0
        if collector.requests:
            break
    assert len(collector.wait(1)) >= 1


def test_a_collector_that_refuses_is_counted(start_server):
    refusing = Collector(answer=lambda context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no"))
    server = start_server(f"--otlp-traces-endpoint=http://{refusing.target}/")
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    server.wait_metric('hadal_trace_spans_total{outcome="failed"}', 5, timeout=30)
    refusing.stop()


@pytest.fixture
def secure_collector(tmp_path):
    """(collector, file of the authority that signed its certificate)."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("collector")
    collector = Collector(credentials=grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())]))
    yield collector, authority.certificate
    collector.stop()


def test_spans_go_to_a_collector_under_tls(start_server, secure_collector):
    collector, authority = secure_collector
    server = start_server(f"--otlp-traces-endpoint=https://{collector.target}", f"--otlp-traces-ca={authority}")
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    assert len(collector.wait(1)) == 1
    server.wait_metric('hadal_trace_spans_total{outcome="exported"}', 5)


def test_a_collector_that_cannot_be_trusted_gets_nothing(start_server, secure_collector):
    collector, _ = secure_collector
    server = start_server(f"--otlp-traces-endpoint=https://{collector.target}")
    assert post(server, "/v1/chat/completions", ASK)[0] == 200
    server.wait_text(f"the collector at {collector.target} takes no spans", timeout=30)
    assert server.stop() == 0
    assert not collector.requests


@pytest.mark.parametrize("endpoint, file, message", [
    ("https://127.0.0.1:1", "/no/such/file.pem", "--otlp-traces-ca: /no/such/file.pem holds no certificate"),
    ("127.0.0.1:1", "any.pem", "--otlp-traces-ca needs an --otlp-traces-endpoint with https://")])
def test_what_does_not_fit_a_collector_ends_the_start(endpoint, file, message):
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    result = subprocess.run([binary, "serve", "--port=0", f"--otlp-traces-endpoint={endpoint}", f"--otlp-traces-ca={file}"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and message in result.stderr, result
