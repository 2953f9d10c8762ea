# SPDX-License-Identifier: Apache-2.0
"""What a program gives by mistake is named, with what was expected, before anything is sent."""

import math
import pickle

import pytest

import hadal_client
from client_kinds import KINDS
from hadal_client import AsyncClient, AsyncGrpcClient, Client, GrpcClient, RetryOptions


class Nobody:
    """Whoever is called here does not answer."""

    url = "http://127.0.0.1:1"
    port = 1


CALLS = [
    ("chat(None)", "messages: expected a text or a list of messages, found None"),
    ("chat(5)", "messages: expected a text or a list of messages, found 5"),
    ("chat(b'x')", "messages: expected a text or a list of messages, found b'x'"),
    ("chat({'role': 'user', 'content': 'x'})", "messages: expected a text or a list"),
    ("chat(['a'])", r"messages\[0\]: expected \{'role': \.\.\., 'content': \.\.\.\}, found 'a'"),
    ("chat('x', stream=True)", r"stream: .* client.stream\(messages\)"),
    ("complete('x', stream=True)", "stream: "),
    ("complete(None)", "prompt: expected a text or token ids .* found None"),
    ("complete(['a', 'b'])", "many prompts are for complete_all"),
    ("complete([[1], [2]])", "many prompts are for complete_all"),
    ("complete_all('ab')", "prompts: expected a list of texts"),
    ("complete_all([None])", "prompt: expected"),
    ("tokenize(None)", "text: expected a text, found None"),
    ("detokenize('12')", "tokens: expected token ids, found '12'"),
    ("detokenize([1.5])", r"tokens: expected token ids, found \[1.5\]"),
    ("chat('x', deadline='5')", "deadline: expected seconds, found '5'"),
    ("chat('x', deadline=float('nan'))", "deadline: expected seconds, found nan"),
    ("complete('x', deadline=float('inf'))", "deadline: expected seconds, found inf"),
    ("stream(None)", "messages: expected")]


@pytest.mark.parametrize("call, wanted", CALLS, ids=[call for call, _ in CALLS])
def test_of_a_call(connect, call, wanted):
    client = connect(Nobody)
    with pytest.raises(ValueError, match=wanted):
        eval(f"client.{call}", {"client": client})


@pytest.mark.parametrize("call", ["chat('x', max_token=3)", "complete('x', max_token=3)", "stream('x', max_token=3)", "complete_all(['x'], max_token=3)"])
def test_a_field_that_is_nearly_one_of_the_api_is_warned_of(call):
    """Over gRPC it is a ValueError, since its messages have no place for it; a server over HTTP ignores it."""
    with Client(Nobody.url, retry=RetryOptions(max_attempts=1)) as client, pytest.warns(UserWarning, match="max_token: .* is max_tokens meant") as warned:
        with pytest.raises(hadal_client.HadalError):
            list(eval(f"client.{call}", {"client": client}))
    assert warned[0].filename == "<string>", "it shows the caller's line"


def test_other_fields_are_sent_without_a_word(recwarn):
    with Client(Nobody.url, retry=RetryOptions(max_attempts=1)) as client, pytest.raises(hadal_client.HadalError):
        client.chat("x", top_k=3, top_p=0.5, min_p=0.1, guided_choice=["a"], structured_outputs={}, nvext={}, user="me", chat_template_kwargs={})
    assert not recwarn.list


CLIENTS = [
    ({"api_key": b"x"}, "api_key: expected a text, found bytes"),
    ({"api_key": "secret\n"}, r"^api_key: '\\n' at position 6 of 7 cannot be in a key; was it read with the end of its line\?$"),
    ({"api_key": "кey"}, "api_key: .* at position 0 of 3"),
    ({"priority": "urgent"}, "priority: expected high, normal, low, batch, found 'urgent'"),
    ({"retry": None}, "retry: expected RetryOptions, found None"),
    ({"servers": None}, "servers: expected an address or a list of addresses, found None"),
    ({"servers": [1]}, "servers: expected an address"),
    ({"servers": b"127.0.0.1:1"}, "servers: expected an address"),
    ({"servers": []}, "at least one server")]


@pytest.mark.parametrize("kind", [Client, AsyncClient, GrpcClient, AsyncGrpcClient])
@pytest.mark.parametrize("options, wanted", CLIENTS, ids=[str(options) for options, _ in CLIENTS])
def test_of_a_client(kind, options, wanted):
    with pytest.raises(ValueError, match=wanted):
        kind(**options)


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "localhost", "http://", "http://:8000", "http://a:99999", "http://a:0", "http://a:b", "http://a:1,http://b:2", "ftp://a:1", ""])
def test_of_an_address(address):
    with pytest.raises(ValueError, match="a server is http://HOST:PORT or https://HOST, found "):
        Client(address)
    with pytest.raises(ValueError, match="a server is http://HOST:PORT or https://HOST, found "):
        hadal_client.Transport(address)


def test_the_v1_of_other_packages_addresses():
    with pytest.raises(ValueError, match="without the /v1 of its routes, found 'http://a:1/v1'"):
        Client("http://a:1/v1/")
    hadal_client.Transport("http://a:1/v1")  # under the openai package, whose requests have the path


@pytest.mark.parametrize("address", ["http://a:1", "a", "a:", "a:b", "a:1/v1", "a:1,b:2", "::1", "", " a:1"])
def test_of_an_address_for_grpc(address):
    with pytest.raises(ValueError, match="over gRPC a server is HOST:PORT, found "):
        GrpcClient(address)


@pytest.mark.parametrize("address", ["a:1", "[::1]:8000", "grpc://a.example:443", "dns:///a:1", "unix:/run/hadal"])
def test_addresses_that_grpc_takes(address):
    GrpcClient(address).close()


@pytest.mark.parametrize("timeout", ["5", -1, 0, math.nan, math.inf, None])
def test_of_a_timeout(timeout):
    with pytest.raises(ValueError, match="timeout: expected seconds, 0.001 or more, found "):
        Client(timeout=timeout)


@pytest.mark.parametrize("name, wrong", [("max_attempts", 0), ("max_attempts", "5"), ("initial_backoff", -1), ("budget", None), ("breaker_failures", 0), ("deadline", math.nan)])
def test_of_retry_options(name, wrong):
    with pytest.raises(ValueError, match=f"{name}: expected a number, "):
        RetryOptions(**{name: wrong})


@pytest.mark.parametrize("fields, wanted", [
    ({"max_tokens": "5"}, "max_tokens: "), ({"max_tokens": 10**30}, "max_tokens: Value out of range"), ({"stop": 5}, "stop: "), ({"max_token": 5}, "max_token: not a field"),
    ({"priority": "urgent"}, "priority: expected high"), ({"messages": 1}, "messages")])
def test_of_a_field_over_grpc(fields, wanted):
    with GrpcClient("127.0.0.1:1") as client, pytest.raises((ValueError, TypeError), match=wanted):
        client.chat("x", **fields)


@pytest.mark.parametrize("message, wanted", [({"role": "user", "content": [{"type": "input_audio"}]}, r"messages\[0\].content\[0\]: expected a text or text parts"),
                                             ({"role": "user", "content": "x", "foo": 1}, r'messages\[0\]: .*no "foo" field')])
def test_of_a_message_over_grpc(message, wanted):
    with GrpcClient("127.0.0.1:1") as client, pytest.raises(ValueError, match=wanted):
        client.chat([message])


@pytest.mark.parametrize("kind", ["http", "http-async"])
def test_of_a_batch(kind):
    client = KINDS[kind]([Nobody])
    with pytest.raises(ValueError, match=r"questions: expected \{name: question\}, found list"):
        client.submit_batch(["x"])
    client.close()


# ---- And what is no mistake ------------------------------------------------------------------------------------------

def test_any_list_of_messages_or_tokens_is_taken(server, connect):
    client = connect(server)
    tokens = client.tokenize("1, 2, 3,")
    assert client.complete(tuple(tokens), max_tokens=1).finish_reason
    assert client.complete_all((one for one in [tokens, tuple(tokens)]), max_tokens=1)[1].finish_reason
    assert client.chat(tuple([{"role": "user", "content": "x"}]), max_tokens=1, deadline=1e12).finish_reason
    assert client.detokenize(iter(tokens))


@pytest.mark.parametrize("kind", ["grpc", "grpc-async"])
def test_over_grpc_the_priority_is_known_at_the_door_and_a_call_may_have_its_own(server, kind):
    client = KINDS[kind]([server], priority="low")
    high = 'hadal_admission_attempts_total{class="high",length_class="256"}'
    before = server.metric(high)
    assert client.chat("x", max_tokens=1, priority="high").finish_reason
    assert server.metric(high) == before + 1
    low = high.replace("high", "low")
    before = server.metric(low)
    assert client.complete("x", max_tokens=1).finish_reason and server.metric(low) == before + 1
    client.close()


# ---- Servers that are not there are named ----------------------------------------------------------------------------

def test_nobody_there_has_an_address(connect):
    client = connect(Nobody, Nobody, retry=RetryOptions(max_attempts=1))
    with pytest.raises(hadal_client.ServerUnreachable, match="127.0.0.1:1"):
        client.chat("x")
    with pytest.raises(hadal_client.ServerUnreachable, match="127.0.0.1:1"):
        client.warm_up(**({"timeout": 0.3} if connect.kind.startswith("grpc") else {}))
    if connect.kind.startswith("grpc"):
        with pytest.raises(hadal_client.ServerUnreachable, match="127.0.0.1:1"):
            client.load()


# ---- Errors ----------------------------------------------------------------------------------------------------------

ERRORS = [hadal_client.HadalError("x"), hadal_client.RequestError("x", status=400, reason="INVALID_REQUEST", request_id="r"),
          hadal_client.ServerBusy("x", status=503, retry_after=2.5, attempts=3), hadal_client.ServerUnreachable("x"),
          hadal_client.AnswerInterrupted("x", hadal_client.Answer("4", "hm")), hadal_client.DeadlineExceeded("x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_cross_processes_and_are_named_as_they_are_imported(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == "x" and again.__dict__ == error.__dict__ and again.args == error.args
    assert f"{type(error).__module__}.{type(error).__qualname__}" == f"hadal_client.{type(error).__name__}"
