# SPDX-License-Identifier: Apache-2.0
"""What routers and balancers in front of several servers ask of each: token ids, load reports, sessions."""

import base64
import json

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from h2 import H2Client, binary_trailer
from hadal_process import PATIENCE
from http_client import ASK, post

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def orca():
    """The class of xds.data.orca.v3.OrcaLoadReport, from the numbers and types of its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="orca_load_report.proto", package="xds.data.orca.v3", syntax="proto3")
    report = file.message_type.add(name="OrcaLoadReport")
    field = descriptor_pb2.FieldDescriptorProto
    for name, number in (("cpu_utilization", 1), ("mem_utilization", 2), ("rps_fractional", 6), ("eps", 7),
                         ("application_utilization", 9)):
        report.field.add(name=name, number=number, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
    for name, number in (("request_cost", 4), ("utilization", 5), ("named_metrics", 8)):
        entry = report.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=field.TYPE_DOUBLE, label=field.LABEL_OPTIONAL)
        report.field.add(name=name, number=number, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED,
                         type_name=f".xds.data.orca.v3.OrcaLoadReport.{entry.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("xds.data.orca.v3.OrcaLoadReport"))


def check(report):
    assert 0 < report.application_utilization < 1, report
    assert 0 < report.mem_utilization <= 1, report
    assert report.rps_fractional > 0 and report.eps == 0, report
    assert set(report.named_metrics) == {"kv_cache_usage_perc", "kv_cache_utilization", "num_requests_running", "num_requests_waiting"}


def test_http_responses_report_the_load_in_each_format(server, orca):
    body = {"messages": ASK, "max_tokens": 2}
    post(server, CHAT, body)  # so that there is a rate
    _, headers, _ = post(server, CHAT, body)
    assert "endpoint-load-metrics" not in headers
    for stream in (False, True):
        reports = {}
        for form in ("TEXT", "json", "Bin"):
            _, headers, _ = post(server, CHAT, {**body, "stream": stream}, {"endpoint-load-metrics-format": form})
            name, reports[form] = headers["endpoint-load-metrics"].split(" ", 1)
            assert name == form.upper()
        binary = orca.FromString(base64.b64decode(reports["Bin"]))
        check(binary)
        check(orca(**json.loads(reports["json"])))
        text = orca()
        for part in reports["TEXT"].split(", "):
            name, value = part.split("=")
            if name.startswith("named_metrics."):
                text.named_metrics[name.removeprefix("named_metrics.")] = float(value)
            else:
                setattr(text, name, float(value))
        check(text)


def grpc_report(server, stubs, orca, **headers):
    """The load report of a call's trailers, or None. By hand: grpcio keeps this trailer to itself, for its balancing."""
    client = H2Client(server.port, true_binary=True)
    stream = client.open_stream("/hadal.v1.Inference/Chat", **headers)
    request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="17 + 25")])
    request.stopping.max_tokens = 2
    message = request.SerializeToString()
    client.send_data(stream, bytes(1) + len(message).to_bytes(4, "big") + message, end=True)
    assert client.read_until(lambda: stream in client.ended, seconds=60)
    client.close()
    value = binary_trailer(client.ended[stream], "endpoint-load-metrics-bin")
    return None if value is None else orca.FromString(value)


def test_grpc_trailers_report_the_load(server, stubs, start_server, orca):
    assert grpc_report(server, stubs, orca) is None
    check(grpc_report(server, stubs, orca, endpoint_load_metrics_format="BIN"))
    always = start_server("--grpc-load-reports=true")
    grpc_report(always, stubs, orca)  # so that there is a rate
    check(grpc_report(always, stubs, orca))


def test_grpc_libraries_get_the_report_that_they_ask_for(server, stubs, orca):
    call = stubs.services.InferenceStub(grpc.insecure_channel(server.target)).ListModels
    for form, read in (("JSON", lambda text: orca(**json.loads(text))), ("bin", lambda text: orca.FromString(base64.b64decode(text))), ("text", None)):
        _, done = call.with_call(stubs.pb.ListModelsRequest(), metadata=(("endpoint-load-metrics-format", form),), timeout=PATIENCE)
        name, text = dict(done.trailing_metadata())["endpoint-load-metrics"].split(" ", 1)
        assert name == form.upper()
        if read is not None:
            check(read(text))
    _, done = call.with_call(stubs.pb.ListModelsRequest(), timeout=PATIENCE)
    assert "endpoint-load-metrics" not in dict(done.trailing_metadata())


def test_grpc_trailers_give_the_session_back(server, stubs):
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="17 + 25")])
    request.stopping.max_tokens = 2
    call = stub.Chat(request, metadata=(("x-session-id", "s-7"), ("session-id", "with space")), timeout=PATIENCE)
    list(call)
    trailers = dict(call.trailing_metadata())
    assert trailers["x-session-id"] == "s-7" and "session-id" not in trailers


def test_session_headers_come_back(server):
    names = ("session-id", "x-session-id", "x-session-token", "x-claude-code-session-id", "x-llm-d-inference-fairness-id")
    sent = {name: f"value-of-{name}" for name in names}
    for path, body, status in ((CHAT, {"messages": ASK, "max_tokens": 2}, 200), (CHAT, {"messages": 3}, 422), ("/nowhere", {}, 404)):
        got, headers, _ = post(server, path, body, sent)
        assert got == status
        assert {name: headers.get(name) for name in names} == sent


def test_rendered_tokens_are_the_request(server, client):
    """What a router does with them: the ids are the prompt that the server computes, so the answer is the same."""
    body = {"model": "hadal-demo", "messages": ASK, "temperature": 0, "max_tokens": 40}
    status, _, data = post(server, CHAT + "/render", body)
    assert status == 200, data
    rendered = json.loads(data)
    answer = client.chat.completions.create(**body)
    assert len(rendered["token_ids"]) == answer.usage.prompt_tokens
    assert rendered["sampling_params"]["max_tokens"] == 40 and rendered["sampling_params"]["temperature"] == 0
    again = client.completions.create(model="hadal-demo", prompt=rendered["token_ids"], temperature=0, max_tokens=40)
    message = answer.choices[0].message
    assert again.choices[0].text.startswith(message.reasoning_content)
    assert again.choices[0].text.endswith(message.content)

    for path, other in (("/v1/messages", {**body, "temperature": 0.5}), ("/v1/responses", {"model": "hadal-demo", "input": ASK[0]["content"]})):
        status, _, data = post(server, path + "/render", other)
        assert status == 200 and json.loads(data)["token_ids"] == rendered["token_ids"], data

    status, _, data = post(server, "/v1/completions/render", {"model": "hadal-demo", "prompt": ["17 + 25", [5, 6]]})
    assert status == 200, data
    first, second = json.loads(data)
    tokens = json.loads(post(server, "/tokenize", {"prompt": "17 + 25"})[2])["tokens"]
    assert first["token_ids"] == tokens and second["token_ids"] == [5, 6]
    assert first["request_id"].startswith("cmpl-") and first["features"] is None
