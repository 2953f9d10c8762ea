# SPDX-License-Identifier: Apache-2.0
"""Conversations with tools, thinking and prefixes through both fronts with the real clients: the prompt that the server makes of
them is read back as token ids and compared with the published form of each generation."""

import json
import os
import sys

import grpc
import openai
import pytest

sys.path.insert(0, os.path.join(os.environ["HADAL_SOURCE_DIR"], "tests/models/chat"))
import dsml_encoders  # noqa: E402

from hadal_process import PATIENCE

TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Adds – 加", "parameters": {"type": "object", "x": [1.0, None]}}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {}}},
]
LOOP = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello.", "reasoning_content": "greet"},
    {"role": "user", "content": "2+3?"},
    {"role": "assistant", "content": "", "reasoning_content": "Use add.",
     "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "note": "line\\n\\"two\\""}'}},
                    {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "5"},
    {"role": "tool", "tool_call_id": "c2", "content": "12:00"},
]


@pytest.fixture(scope="module", params=["deepseek-v3.2", "deepseek-v4"])
def styled(request):
    from hadal_process import HadalProcess

    with HadalProcess("--load-format=null", "--max-model-len=16384", f"--chat-template={request.param}") as process:
        yield process, {"deepseek-v3.2": "v32", "deepseek-v4": "v4"}[request.param]


def client_of(server, base="/v1"):
    return openai.OpenAI(base_url=server.url + base, api_key="none", max_retries=0, timeout=PATIENCE)


def prompt_of(server, messages, base="/v1", **fields):
    """The text of the prompt that a chat became."""
    extra = {"return_token_ids": True, **fields.pop("extra_body", {})}
    answer = client_of(server, base).chat.completions.create(model="hadal-demo", messages=messages, max_tokens=1, extra_body=extra, **fields)
    ids = answer.model_extra["prompt_token_ids"]
    assert len(ids) == answer.usage.prompt_tokens
    import urllib.request

    ask = urllib.request.Request(server.url + "/detokenize", json.dumps({"tokens": ids}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=PATIENCE) as reply:
        return json.load(reply)["prompt"]


def test_openai_client_plays_a_tool_loop(styled):
    server, version = styled
    assert prompt_of(server, LOOP, tools=TOOLS) == dsml_encoders.render(version, LOOP, thinking=True, tools=TOOLS)
    thanks = [*LOOP, {"role": "assistant", "content": "5 at noon."}, {"role": "user", "content": "Thanks"}]
    for enabled in (True, False):
        extra = {"thinking": {"type": "enabled" if enabled else "disabled"}}
        assert prompt_of(server, thanks, tools=TOOLS, extra_body=extra) == dsml_encoders.render(version, thanks, enabled, tools=TOOLS)
        assert prompt_of(server, thanks, extra_body=extra) == dsml_encoders.render(version, thanks, enabled)


def test_thinking_and_effort(styled):
    server, version = styled
    ask = [{"role": "user", "content": "17 + 25"}]
    plain, thinking = dsml_encoders.render(version, ask, False), dsml_encoders.render(version, ask, True)
    assert prompt_of(server, ask) == prompt_of(server, ask, reasoning_effort="high") == thinking
    assert prompt_of(server, ask, reasoning_effort="none") == plain
    assert prompt_of(server, ask, extra_body={"chat_template_kwargs": {"thinking": False}}) == plain
    assert prompt_of(server, ask, extra_body={"reasoning_effort": "max"}) == dsml_encoders.render(version, ask, True, effort="max")
    with pytest.raises(openai.UnprocessableEntityError, match="reasoning_effort"):
        prompt_of(server, ask, extra_body={"reasoning_effort": "extreme"})


def test_prefix_is_continued_under_beta(styled):
    server, version = styled
    ask = [{"role": "user", "content": "q"}]
    last = {"role": "assistant", "content": "```python\n", "prefix": True}
    opened = dsml_encoders.render(version, ask, True)
    assert prompt_of(server, [*ask, last], base="/beta", stop=["```"]) == opened + "</think>```python\n"
    assert prompt_of(server, [*ask, {**last, "reasoning_content": "r"}], base="/beta/v1") == opened + "r</think>```python\n"


def test_the_final_message_is_continued_as_vllm_does(styled):
    server, version = styled
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "```python\n"}]
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    expected = dsml_encoders.render(version, talk[:1], True) + "</think>```python\n"
    assert prompt_of(server, talk, extra_body=flags) == expected
    assert prompt_of(server, [talk[0], {**talk[1], "reasoning": "r"}], extra_body=flags) == expected.replace("</think>", "r</think>")
    client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
    ids = client.post("/tokenize", body={"messages": talk, **flags}, cast_to=object)["tokens"]
    assert client.post("/detokenize", body={"tokens": ids}, cast_to=object)["prompt"] == expected
    with pytest.raises(openai.BadRequestError, match="`continue_final_message` needs a last message of the role assistant"):
        prompt_of(server, talk[:1], extra_body=flags)
    with pytest.raises(openai.BadRequestError, match="`add_generation_prompt` may be false only where"):
        prompt_of(server, talk, extra_body={"add_generation_prompt": False})


def test_grpc_makes_the_same_prompt(styled, stubs):
    server, version = styled
    pb = stubs.pb
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    messages = []
    for message in LOOP:
        calls = [pb.ToolCall(id=c["id"], name=c["function"]["name"], arguments=c["function"]["arguments"]) for c in message.get("tool_calls", [])]
        messages.append(pb.ChatMessage(role=message["role"], content=message["content"], tool_calls=calls,
                                       reasoning_content=message.get("reasoning_content", ""), tool_call_id=message.get("tool_call_id", "")))
    tool = TOOLS[0]["function"]
    definition = pb.ToolDefinition(name=tool["name"], description=tool["description"], parameters_json_schema=json.dumps(tool["parameters"]))
    request = pb.ChatRequest(messages=messages, tools=[definition], return_token_ids=True, reasoning_effort="high")
    request.stopping.max_tokens = 1
    ids = list(stub.Chat(request, timeout=PATIENCE))[0].prompt_token_ids
    text = stub.Detokenize(pb.DetokenizeRequest(token_ids=ids), timeout=PATIENCE).text
    assert text == dsml_encoders.render(version, LOOP, True, tools=TOOLS[:1])
    request.messages[-1].tool_call_id = "c9"
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Chat(request, timeout=PATIENCE))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "c9" in refused.value.details()


def test_broken_tool_loops_are_refused_by_field(styled):
    server, _ = styled

    def param(messages):
        with pytest.raises(openai.BadRequestError) as refused:
            prompt_of(server, messages, tools=TOOLS)
        return refused.value.param

    assert param(LOOP[:5]) == "messages"
    assert param([*LOOP[:6], {"role": "user", "content": "x"}]) == "messages[6]"
    assert param([*LOOP[:6], {"role": "tool", "tool_call_id": "c3", "content": "x"}]) == "messages[6].tool_call_id"
    assert param([{"role": "user", "content": "x", "tool_calls": LOOP[4]["tool_calls"]}]) == "messages[0].tool_calls"
    assert param([{"role": "assistant", "content": "x", "prefix": True}, LOOP[1]]) == "messages[0].prefix"


def test_an_unknown_style_is_refused_at_start(start_server):
    server = start_server("--load-format=null", "--chat-template=deepseek-v5", wait_ready=False, expect_exit=1)
    server.process.wait(PATIENCE)
    assert "--chat-template is 'deepseek-v5'; expected auto, deepseek-v2," in server.text()
