# SPDX-License-Identifier: Apache-2.0
"""Constrained output through the openai package. The weights are random, so that nothing but the grammar makes the answers
valid. Calls of tools: test_constrained_tools.py."""

import collections
import concurrent.futures
import json
import time

import jsonschema
import openai
import pytest

from hadal_process import PATIENCE
from json_schemas import NULL, SCHEMAS, SMALL, STRING, obj

ASK = [{"role": "user", "content": "answer in json"}]


@pytest.fixture(scope="module")
def dummy():
    from hadal_process import HadalProcess

    with HadalProcess("--load-format=dummy", "--max-queue-requests=512") as process:
        yield process


@pytest.fixture(scope="module")
def client(dummy):
    return openai.OpenAI(base_url=dummy.url + "/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def bias(client):
    """Ends the reasoning at once, and closes strings, lists and objects before the context is full."""
    def token(text):
        ids = client.post("/../tokenize", body={"prompt": text, "add_special_tokens": False}, cast_to=object)["tokens"]
        assert len(ids) == 1, text
        return str(ids[0])

    # A control token cannot be written by a user: its id is known from the demo's tokenizer.json.
    return {"1008": 100} | {token(t): 6 for t in ('"', "}", "]", ",")}


def ask(client, bias, seed=0, **fields):
    fields = {"max_tokens": 1200, "temperature": 1, "seed": seed, "logit_bias": bias} | fields
    return client.chat.completions.create(model="hadal-demo", messages=ASK, **fields)


def response_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@pytest.mark.parametrize("name", SCHEMAS)
def test_random_weights_follow_the_schema(client, bias, name):
    schema = SCHEMAS[name]
    ended = 0
    for seed in range(5):
        answer = ask(client, bias, seed, response_format=response_format(schema)).choices[0]
        if answer.finish_reason == "length":
            continue
        assert answer.finish_reason == "stop"
        value = json.loads(answer.message.content)
        jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
        ended += 1
    assert ended >= 3


def test_json_object_is_an_object(client, bias):
    for seed in range(10):
        answer = ask(client, bias, seed, response_format={"type": "json_object"}).choices[0]
        if answer.finish_reason == "stop":
            assert isinstance(json.loads(answer.message.content), dict)


def test_streamed_answers_and_several_choices(client, bias):
    schema = SCHEMAS["nested"]
    text = {}
    for chunk in ask(client, bias, 3, stream=True, n=3, response_format=response_format(schema)):
        choice = chunk.choices[0]
        text[choice.index] = text.get(choice.index, "") + (choice.delta.content or "")
    assert len(text) == 3 and len(set(text.values())) == 3
    for answer in text.values():
        jsonschema.validate(json.loads(answer), schema)


def test_plain_completions_follow_a_schema(client, bias):
    answer = client.completions.create(model="hadal-demo", prompt="x", max_tokens=500, logit_bias=bias, seed=1,
                                       extra_body={"response_format": response_format(SCHEMAS["enum"])})
    jsonschema.validate(json.loads(answer.choices[0].text), SCHEMAS["enum"])


def test_the_length_limit_cuts(client, bias):
    answer = ask(client, bias, max_tokens=4, response_format=response_format(SCHEMAS["nested"])).choices[0]
    assert answer.finish_reason == "length"


def test_reasoning_stays_free(client):
    # Without the bias, random weights hardly ever end their reasoning.
    answer = client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=50, seed=1, temperature=1,
                                            response_format={"type": "json_object"}).choices[0]
    assert answer.message.reasoning_content and not answer.message.content


def refused(client, **fields):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="hadal-demo", messages=ASK, **fields)
    assert caught.value.code == "INVALID_REQUEST"
    return caught.value


def test_a_refusal_names_the_part(client):
    error = refused(client, response_format=response_format(obj(age={"type": "number", "multipleOf": 0.1})))
    assert error.param == "response_format.json_schema.schema" and "#/properties/age/multipleOf" in error.message
    error = refused(client, response_format=response_format(obj(a={"type": "array", "items": {"type": "string", "maxLength": 3, "format": "email"}})))
    assert "#/properties/a/items/maxLength" in error.message
    for pattern, problem in ((r"^[\p{L} ]+$", r"\p is not supported"), (r"^\a$", r"\a is not supported")):
        assert problem in refused(client, response_format=response_format({"type": "string", "pattern": pattern})).message
    open_tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {}}}}
    error = refused(client, tools=[open_tool])
    assert error.param == "tools[0].function.parameters" and "#/additionalProperties" in error.message
    error = refused(client, tools=[{"type": "function", "function": {"name": "now"}}],
                    tool_choice={"type": "function", "function": {"name": "sub"}})
    assert error.param == "tool_choice" and '"sub"' in error.message
    refused(client, tool_choice="required")


def test_bombs_are_refused_in_time(client, dummy):
    deep = STRING
    for _ in range(10):
        deep = {"anyOf": [{"type": "array", "items": deep}, obj(a=deep)]}  # 2^10 paths
    wide = {"anyOf": [obj(**{f"p{i}_{j}": STRING for j in range(20)}) for i in range(64)]}
    bombs = [
        {"type": "string", "pattern": "^(a{1,512}){1,512}$"},
        {"type": "string", "pattern": "^((((a+)+)+)+)+$"},
        {"type": "string", "pattern": "^" + "(a|b)?" * 40 + "$"},
        obj(**{f"p{i}": {"type": "integer", "multipleOf": 997 + i % 3} for i in range(200)}),
        {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"anyOf": [obj(x={"$ref": f"#/$defs/d{(i + k) % 60}"}) for k in range(1, 9)] + [NULL]}
                                         for i in range(60)}},
        {"type": "array", "minItems": 4000, "items": {"type": "array", "minItems": 4000, "items": {"type": "array", "minItems": 4000}}},
        wide,
        deep,
    ]

    def plain():
        begin = time.monotonic()
        client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=2)
        return time.monotonic() - begin

    plain()
    usual = max(plain() for _ in range(5))  # far more than a hundredth of a second only on a machine that is as busy for the bombs
    for bomb in bombs:
        begin = time.monotonic()
        try:
            client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=2, response_format=response_format(bomb))
        except openai.APIStatusError as error:
            assert error.status_code in (400, 503), error
        assert time.monotonic() - begin < 8 + 50 * usual
        assert plain() < 2 + 20 * usual, "other requests do not wait"
    assert dummy.get("/health/live")[0] == 200


def test_equal_schemas_are_compiled_once(client, bias, dummy):
    schema = obj(unique_to_this_test={"enum": ["x"]}, more=SMALL)
    missed = dummy.metric('hadal_grammar_requests_total{result="miss"}')
    masks = dummy.metric("hadal_grammar_mask_seconds_count")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda seed: ask(client, bias, seed, response_format=response_format(schema)), range(32)))
    for answer in answers:
        jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
    assert dummy.metric('hadal_grammar_requests_total{result="miss"}') == missed + 1
    assert dummy.metric("hadal_grammar_mask_seconds_count") > masks
    assert dummy.metric("hadal_grammar_cache_bytes") > 0
    before = dummy.metric("hadal_grammar_mask_seconds_count")
    client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=20)
    assert dummy.metric("hadal_grammar_mask_seconds_count") == before, "no masks without a grammar"


def test_a_schema_that_was_too_slow_is_not_compiled_again(start_server):
    # too slow for the limit, and too large to be kept in the cache once it is there
    server = start_server("--load-format=dummy", "--grammar-time-limit=1ms", "--grammar-cache=16KiB")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    item = obj(a=STRING, b=SMALL)
    schema = obj(**{f"p{i}": {"type": "array", "items": item, "maxItems": 9} for i in range(20)})
    known = 'hadal_grammar_requests_total{result="known_refusal"}'
    deadline = time.monotonic() + PATIENCE
    while server.metric(known) < 5:
        assert time.monotonic() < deadline
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1, response_format=response_format(schema))
        assert caught.value.status_code in (400, 503), "503 when it had to wait for a thread"
        time.sleep(0.05)
    assert caught.value.status_code == 400 and "longer than 1ms" in caught.value.message
    assert server.metric("hadal_grammar_compile_seconds_count") == 1
    assert client.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1)


def slow_schemas(prefix):
    """200 different ones, each of which takes far longer to compile than the next takes to arrive."""
    item = obj(a=STRING, b=SMALL)
    return [obj(**{f"{prefix}{n}_{i}": {"type": "array", "items": item, "maxItems": 9} for i in range(20)}) for n in range(200)]


def test_many_schemas_at_once_are_no_full_connection_queue(start_server, stubs):
    """The reason says what is short: a client that reads CONNECTION_QUEUE_FULL would go to another server for nothing, and an operator
    would add places."""
    import grpc
    from test_grpc import details_of

    server = start_server("--load-format=dummy", "--grammar-threads=1", "--wait-limits=none")
    http = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target, options=[("grpc.enable_retries", 0)]))

    def over_http(schema):
        try:
            http.chat.completions.create(model="hadal-demo", messages=ASK, max_tokens=1, response_format=response_format(schema))
        except openai.APIStatusError as error:
            if error.status_code == 503:
                assert error.code == error.response.headers["x-hadal-reason"] and error.type == "overloaded_error"
                assert int(error.response.headers["retry-after-ms"]) >= 1000 and error.response.headers["x-should-retry"] == "true"
            return error.status_code, error.code
        return 200, None

    def over_grpc(schema):
        request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="x")])
        request.stopping.max_tokens = 1
        request.response_format.json_schema = json.dumps(schema)
        try:
            list(stub.Chat(request, timeout=PATIENCE))
        except grpc.RpcError as error:
            metadata, found = details_of(error, stubs)
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                assert int(metadata["grpc-retry-pushback-ms"]) >= 1000 and "RetryInfo" in found
            return error.code(), found["ErrorInfo"].reason
        return grpc.StatusCode.OK, None

    # A schema that got its turn is served, or refused as one that takes too long.
    for ask, prefix, expected in ((over_http, "h", (503, 400, 200)),
                                  (over_grpc, "g", (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK))):
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            answers = collections.Counter(pool.map(ask, slow_schemas(prefix)))
        busy = (expected[0], "GRAMMAR_QUEUE_FULL")
        assert answers[busy] > 20, answers
        assert all(answer == busy or answer[0] in expected[1:] for answer in answers), answers
    rejected = server.metric('hadal_requests_total{route="Chat",class="normal",http_code="",grpc_code="14",outcome="shed",reason="GRAMMAR_QUEUE_FULL"}')
    assert rejected == answers[busy]
    assert server.metric("hadal_admission_rejections_total") == 0
    server.wait_idle()


def test_the_trained_model_answers_as_an_object():
    from hadal_process import HadalProcess

    with HadalProcess() as server:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none")
        answer = client.chat.completions.create(model="hadal-demo", messages=[{"role": "user", "content": "17 + 25"}], temperature=0,
                                                response_format=response_format(obj(sum={"type": "integer", "minimum": 0, "maximum": 99999})))
        assert 0 <= json.loads(answer.choices[0].message.content)["sum"] <= 99999
        assert "42" in answer.choices[0].message.reasoning_content


def test_grpc_follows_a_schema(dummy, stubs):
    import grpc

    stub = stubs.services.InferenceStub(grpc.insecure_channel(dummy.target))
    request = stubs.pb.ChatRequest(messages=[stubs.pb.ChatMessage(role="user", content="x")])
    request.response_format.json_schema = json.dumps(SCHEMAS["enum"])
    request.sampling.logit_bias[1008] = 100
    request.sampling.seed = 3
    text = "".join(part.text for part in stub.Chat(request))
    jsonschema.validate(json.loads(text), SCHEMAS["enum"])

    request.ClearField("response_format")
    request.tools.add(name="f", parameters_json_schema=json.dumps(obj(n=SMALL)), strict=True)
    request.tool_choice = stubs.pb.TOOL_CHOICE_REQUIRED
    request.parallel_tool_calls = False
    parts = list(stub.Chat(request))
    arguments = "".join(call.arguments for part in parts for call in part.tool_calls)
    jsonschema.validate(json.loads(arguments), obj(n=SMALL))

    request.tools[0].strict = False
    for schema, partial in ((obj(n=SMALL), None), (obj(n=SMALL | {"not": {"const": 3}}), "partial")):
        request.tools[0].parameters_json_schema = json.dumps(schema)
        call = stub.Chat(request)
        assert list(call)
        assert dict(call.trailing_metadata()).get("x-hadal-grammar") == partial

    # Beside tools the answer may be a call or in the format.
    request.tool_choice = stubs.pb.TOOL_CHOICE_AUTO
    request.response_format.json_schema = json.dumps(obj(n=SMALL))
    request.sampling.logit_bias[1015] = -100
    text = "".join(part.text for part in stub.Chat(request))
    jsonschema.validate(json.loads(text), obj(n=SMALL))
    request.sampling.logit_bias[1015] = 90
    parts = list(stub.Chat(request))
    assert [call.name for part in parts for call in part.tool_calls if call.name][:1] == ["f"] and not "".join(part.text for part in parts)

    request.response_format.json_schema = '{"type": "array", "uniqueItems": true}'
    request.ClearField("tools")
    request.tool_choice = stubs.pb.TOOL_CHOICE_AUTO
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(request))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "#/uniqueItems" in caught.value.details()
