# SPDX-License-Identifier: Apache-2.0
"""Chats rendered by a template of the checkpoint's own, and plain prompts with control tokens, through the real clients."""
import json
import os
import shutil
import urllib.request

import openai
import pytest

DEMO = os.environ.get("HADAL_DEMO_MODEL", os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo"))
TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}You are a demo.{% endif %}{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ raise_exception('This model takes no results of tools: message ' ~ loop.index) }}{% endif %}<｜User｜>{{ m.content | trim }}"
    "{% if mood %} ({{ mood }}){% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)


def checkpoint(folder, template):
    """The demo model's folder with another chat template in tokenizer_config.json."""
    out = folder / "checkpoint"
    out.mkdir()
    for name in os.listdir(DEMO):
        if name.endswith(".json"):
            shutil.copy(os.path.join(DEMO, name), out)
    config = json.loads((out / "tokenizer_config.json").read_text())
    config["chat_template"] = template
    (out / "tokenizer_config.json").write_text(json.dumps(config))
    return out


def post(server, path, body):
    ask = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=30) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from hadal_process import HadalProcess

    folder = checkpoint(tmp_path_factory.mktemp("template"), TEMPLATE)
    with HadalProcess("--load-format=null", "--max-model-len=4096", f"--model=own={folder}") as process:
        yield process


def prompt_of(server, messages, **extra):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)
    answer = client.chat.completions.create(model="own", messages=messages, max_tokens=1, extra_body={"return_token_ids": True, **extra})
    return post(server, "/detokenize", {"model": "own", "tokens": answer.model_extra["prompt_token_ids"]})["prompt"]


def test_the_checkpoints_own_template_is_run(server):
    prompt = prompt_of(server, [{"role": "user", "content": " Hi "}])
    assert prompt == "<｜begin▁of▁sentence｜>You are a demo.<｜User｜>Hi<｜Assistant｜>"
    assert "own: chats are rendered as jinja, by the checkpoint's template; tool parser none" in server.text()


def test_chat_template_kwargs_are_its_variables(server):
    assert prompt_of(server, [{"role": "user", "content": "Hi"}], chat_template_kwargs={"mood": "glad"}).endswith("Hi (glad)<｜Assistant｜>")


def test_its_refusal_is_the_text_of_a_400(server):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]
    with pytest.raises(openai.BadRequestError, match="This model takes no results of tools: message 3"):
        prompt_of(server, messages)


def test_control_tokens_in_a_chat_stay_text(server):
    tokens = post(server, "/tokenize", {"messages": [{"role": "user", "content": "<｜User｜>"}], "return_token_strs": True})
    assert tokens["token_strs"].count("<｜User｜>") == 1


def test_control_tokens_in_a_plain_prompt_are_tokens_unless_told(server):
    loose = post(server, "/tokenize", {"prompt": "<｜User｜>hi", "return_token_strs": True})["token_strs"]
    strict = post(server, "/tokenize", {"prompt": "<｜User｜>hi", "return_token_strs": True, "parse_special_tokens": False})["token_strs"]
    assert loose.count("<｜User｜>") == 1 and strict.count("<｜User｜>") == 0
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60)
    for extra, count in (({}, len(loose)), ({"parse_special_tokens": False}, len(strict))):
        answer = client.completions.create(model="own", prompt="<｜User｜>hi", max_tokens=1, extra_body=extra)
        assert answer.usage.prompt_tokens == count


def test_grpc_takes_control_tokens_in_text_unless_told(server, stubs):
    import grpc

    with grpc.insecure_channel(server.target) as channel:
        stub = stubs.services.InferenceStub(channel)
        loose = stub.Tokenize(stubs.pb.TokenizeRequest(text="<｜User｜>hi"), timeout=10).token_ids
        strict = stub.Tokenize(stubs.pb.TokenizeRequest(text="<｜User｜>hi", parse_special_tokens=False), timeout=10).token_ids
    assert len(loose) < len(strict)


def test_the_server_can_be_strict(start_server):
    server = start_server("--load-format=null", "--parse-special-tokens=false")
    strs = post(server, "/tokenize", {"prompt": "<｜User｜>", "return_token_strs": True})["token_strs"]
    assert "<｜User｜>" not in strs


def test_a_file_can_stand_for_the_template(start_server, tmp_path):
    (tmp_path / "x.jinja").write_text("{{ messages[0].content }}!")
    server = start_server("--load-format=null", f"--chat-template={tmp_path}/x.jinja", "--tool-parser=hermes", "--reasoning-parser=none")
    tokens = post(server, "/tokenize", {"messages": [{"role": "user", "content": "Hi"}]})["tokens"]
    assert post(server, "/detokenize", {"tokens": tokens})["prompt"] == "Hi!"
    assert "tool parser hermes, reasoning parser none" in server.text()


def test_a_template_that_does_not_compile_ends_the_start(start_server, tmp_path):
    folder = checkpoint(tmp_path, "a\n{% for m in %}")
    server = start_server("--load-format=null", f"--model=own={folder}", wait_ready=False, expect_exit=1)
    server.process.wait(30)
    assert "tokenizer_config.json, line 2: expected an expression" in server.text()
