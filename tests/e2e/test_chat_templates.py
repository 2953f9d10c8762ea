# SPDX-License-Identifier: Apache-2.0
"""Chats rendered by a template of the checkpoint's own, and plain prompts with control tokens, through the real clients."""
import json
import os
import shutil
import urllib.error
import urllib.request

import grpc
import openai
import pytest

from hadal_process import PATIENCE

DEMO = os.environ.get("HADAL_DEMO_MODEL", os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo"))
TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}You are a demo.{% endif %}{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ raise_exception('This model takes no results of tools: message ' ~ loop.index) }}{% endif %}<｜User｜>{{ m.content | trim }}"
    "{% if mood %} ({{ mood }}){% endif %}{% endfor %}{% for d in documents or [] %}[{{ d.title }}]{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)


def checkpoint(folder, template, name="checkpoint", **config):
    """The demo model's folder with another chat template in tokenizer_config.json, and further members there."""
    out = folder / name
    out.mkdir()
    for file in os.listdir(DEMO):
        if file.endswith(".json"):
            shutil.copy(os.path.join(DEMO, file), out)
    whole = json.loads((out / "tokenizer_config.json").read_text())
    (out / "tokenizer_config.json").write_text(json.dumps({**whole, **config, "chat_template": template}))
    return out


def post(server, path, body):
    ask = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=PATIENCE) as reply:
        return json.load(reply)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from hadal_process import HadalProcess

    folder = checkpoint(tmp_path_factory.mktemp("template"), TEMPLATE)
    with HadalProcess("--load-format=null", "--max-model-len=4096", f"--model=own={folder}") as process:
        yield process


def prompt_of(server, messages, **extra):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    answer = client.chat.completions.create(model="own", messages=messages, max_tokens=1, extra_body={"return_token_ids": True, **extra})
    return post(server, "/detokenize", {"model": "own", "tokens": answer.model_extra["prompt_token_ids"]})["prompt"]


def test_the_checkpoints_own_template_is_run(server):
    prompt = prompt_of(server, [{"role": "user", "content": " Hi "}])
    assert prompt == "<｜begin▁of▁sentence｜>You are a demo.<｜User｜>Hi<｜Assistant｜>"
    assert "own: chats are rendered as jinja, by the checkpoint's template; tool parser none" in server.text()


def test_chat_template_kwargs_are_its_variables(server):
    assert prompt_of(server, [{"role": "user", "content": "Hi"}], chat_template_kwargs={"mood": "glad"}).endswith("Hi (glad)<｜Assistant｜>")


def test_documents_are_given_to_the_template(server, stubs):
    documents = [{"title": "A", "pages": 1000000000000000019884624838656}, {"title": "<｜User｜>"}]
    messages = [{"role": "user", "content": "Hi"}]
    assert prompt_of(server, messages, documents=documents).endswith("Hi[A][<｜User｜>]<｜Assistant｜>")
    over_http = post(server, "/tokenize", {"model": "own", "messages": messages, "documents": documents, "chat_template_kwargs": {"mood": "glad"}})
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    request = stubs.pb.TokenizeRequest(model="own", messages=[stubs.pb.ChatMessage(**messages[0])], chat_template_kwargs='{"mood": "glad"}',
                                       documents=[json.dumps(document) for document in documents])
    assert list(stub.Tokenize(request, timeout=PATIENCE).token_ids) == over_http["tokens"]
    ask = stubs.pb.ChatRequest(model="own", messages=request.messages, chat_template_kwargs=request.chat_template_kwargs,
                               documents=request.documents, return_token_ids=True)
    ask.stopping.max_tokens = 1
    assert list(next(stub.Chat(ask, timeout=PATIENCE)).prompt_token_ids) == over_http["tokens"]
    # The demo model's own prompts have no place for them.
    ask.model = "hadal-demo"
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(ask, timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "documents: the chat template" in caught.value.details()


def test_numbers_of_any_size_in_a_tool_are_no_error_over_grpc(server, stubs):
    schema = '{"type": "object", "properties": {"n": {"type": "integer", "maximum": 1000000000000000019884624838656}}}'
    stub = stubs.services.InferenceStub(grpc.insecure_channel(server.target))
    ask = stubs.pb.ChatRequest(model="hadal-demo", messages=[stubs.pb.ChatMessage(role="user", content="Hi")],
                               tools=[stubs.pb.ToolDefinition(name="f", parameters_json_schema=schema)], return_token_ids=True)
    ask.stopping.max_tokens = 1
    shown = list(next(stub.Chat(ask, timeout=PATIENCE)).prompt_token_ids)
    over_http = post(server, "/tokenize", {"model": "hadal-demo", "messages": [{"role": "user", "content": "Hi"}], "tools": [
        {"type": "function", "function": {"name": "f", "parameters": json.loads(schema)}}]})
    assert shown == over_http["tokens"]


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
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    for extra, count in (({}, len(loose)), ({"parse_special_tokens": False}, len(strict))):
        answer = client.completions.create(model="own", prompt="<｜User｜>hi", max_tokens=1, extra_body=extra)
        assert answer.usage.prompt_tokens == count


def test_grpc_takes_control_tokens_in_text_unless_told(server, stubs):
    import grpc

    with grpc.insecure_channel(server.target) as channel:
        stub = stubs.services.InferenceStub(channel)
        loose = stub.Tokenize(stubs.pb.TokenizeRequest(text="<｜User｜>hi"), timeout=PATIENCE).token_ids
        strict = stub.Tokenize(stubs.pb.TokenizeRequest(text="<｜User｜>hi", parse_special_tokens=False), timeout=PATIENCE).token_ids
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


def test_checkpoints_as_fine_tunes_leave_them(start_server, tmp_path):
    turns = "{{ bos_token }}{% for m in messages %}<｜User｜>{{ m.content }}{% endfor %}"
    bos = {"__type": "AddedToken", "content": "<｜begin▁of▁sentence｜>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    one = "<｜begin▁of▁sentence｜><｜User｜>Hi"
    parts = "{% for m in messages %}{{ m.role }}:{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %};{% endfor %}"
    cases = {  # name -> template, further config, the prompt of one question, and of one with tools
        "bos-is-an-object": (turns, {"bos_token": bos}, one, "refused"),
        "adds-bos-itself": (turns, {"add_bos_token": True, "legacy": True, "tokenizer_class": "LlamaTokenizerFast"}, one, "refused"),
        "named-templates": ([{"name": "default", "template": turns}, {"name": "tool_use", "template": "{{ tools | length }} <tool_call>" + turns}],
                            {}, one, "1 <tool_call>" + one),
        "no-bos": (turns, {"bos_token": None, "model_max_length": 1000000000000000019884624838656}, "<｜User｜>Hi", "refused"),
        "content-in-parts": (parts, {}, "user:Hi;", "refused"),
        "file-beside": ("never read", {}, one, "refused"),
        "plain-added-tokens": (turns, {}, one, "refused"),
    }
    folders = {name: checkpoint(tmp_path, template, name, **config) for name, (template, config, _, _) in cases.items()}
    (folders["file-beside"] / "chat_template.jinja").write_text(turns)
    path = folders["plain-added-tokens"] / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = False
    path.write_text(json.dumps(tokenizer))

    server = start_server("--load-format=null", "--max-model-len=4096", *[f"--model={name}={folder}" for name, folder in folders.items()])
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    for name, (_, _, plain, with_tools) in cases.items():
        for extra, expected in (({}, plain), ({"tools": tools}, with_tools)):
            ask = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "return_token_ids": True, "max_tokens": 1, **extra}
            if expected == "refused":
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    post(server, "/v1/chat/completions", ask)
                continue
            ids = post(server, "/v1/chat/completions", ask)["prompt_token_ids"]
            assert post(server, "/detokenize", {"model": name, "tokens": ids})["prompt"] == expected, name


def test_a_vocabulary_of_sentencepiece(start_server, tmp_path):
    template = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
    folder = checkpoint(tmp_path, template, bos_token="<s>", eos_token="</s>", tokenizer_class="LlamaTokenizerFast", legacy=True)
    shutil.copy(os.path.join(os.environ["HADAL_SOURCE_DIR"], "tests/data/tokenizer/llama2.tokenizer.json"), folder / "tokenizer.json")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    server = start_server("--load-format=dummy", f"--model=own={folder}")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    ask = {"model": "own", "messages": [{"role": "user", "content": "Grüße 🦙 <s>"}], "max_tokens": 300, "temperature": 1, "seed": 1,
           "extra_body": {"return_token_ids": True}}
    answer = client.chat.completions.create(**ask)
    ids = answer.model_extra["prompt_token_ids"]
    assert ids[0] == 1 and ids.count(1) == 1
    assert post(server, "/detokenize", {"model": "own", "tokens": ids})["prompt"] == "<s> [INST] Grüße 🦙 <s> [/INST]"
    assert "\u2581" not in answer.choices[0].message.content
    # The tokens of single bytes and of words with a space in front are what a grammar sees.
    schema = {"type": "object", "properties": {"a b": {"enum": ["x y", "ü 🦙"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["a b", "n"], "additionalProperties": False}
    for seed in range(3):
        answer = client.chat.completions.create(**{**ask, "seed": seed}, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
        value = json.loads(answer.choices[0].message.content)
        assert value["a b"] in ("x y", "ü 🦙") and 0 <= value["n"] <= 99


def test_a_template_that_does_not_compile_ends_the_start(start_server, tmp_path):
    folder = checkpoint(tmp_path, "a\n{% for m in %}")
    server = start_server("--load-format=null", f"--model=own={folder}", wait_ready=False, expect_exit=1)
    server.process.wait(PATIENCE)
    assert "tokenizer_config.json, line 2: expected an expression" in server.text()
