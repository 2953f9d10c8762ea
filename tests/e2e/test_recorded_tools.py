# SPDX-License-Identifier: Apache-2.0
"""Requests as Codex, Continue and Open WebUI send them, replayed as they stand in recorded/: each gets an answer of the shape that the tool reads."""

import http.client
import json
import pathlib

import pytest

RECORDED = pathlib.Path(__file__).parent / "recorded"


def exchanges(tool):
    return json.loads((RECORDED / f"{tool}.json").read_text(encoding="utf-8"))["exchanges"]


def named(tool, name):
    return next(exchange for exchange in exchanges(tool) if exchange["name"] == name)


def replay(server, exchange):
    """(content type, text) of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps(exchange["body"]) if "body" in exchange else None
    connection.request(exchange["method"], exchange["path"], body, exchange["headers"])
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, f"{exchange['name']}: {text}"
    return answer.headers["content-type"], text


def lines_of(answer):
    kind, text = answer
    assert kind == "application/x-ndjson"
    return [json.loads(line) for line in text.splitlines()]


def events_of(answer):
    kind, text = answer
    assert kind.startswith("text/event-stream")
    return [json.loads(line[len("data: "):]) for line in text.splitlines() if line.startswith("data: {")]


def test_a_turn_of_codex_and_the_one_behind_its_call(server):
    """What codex-rs/codex-api reads: items when they are done, deltas on the way, and the end with usage."""
    events = events_of(replay(server, named("codex", "first turn")))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert items == events[-1]["response"]["output"] and items[0]["type"] == "reasoning"
    reasoning = items[0]
    assert reasoning["encrypted_content"] and isinstance(reasoning["summary"], list)
    # With tools in front of it the demo model says what it likes.
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"])
    done = events[-1]["response"]
    assert done["id"].startswith("resp_")
    assert {"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens"} <= set(done["usage"])

    second = named("codex", "behind a call")
    second["body"]["input"][1]["encrypted_content"] = reasoning["encrypted_content"]
    events = events_of(replay(server, second))
    assert events[-1]["type"] == "response.completed"
    server.wait_text("only functions are offered type=web_search")  # apply_patch and the web search are left out


def test_continue_over_ollama(server):
    shown = json.loads(replay(server, named("continue", "ollama: what is the model"))[1])
    # It takes the context from the parameters, and offers autocompletion where the template has a suffix.
    assert "num_ctx" in shown["parameters"] and isinstance(shown["template"], str)
    chat = lines_of(replay(server, named("continue", "ollama: chat")))
    assert all(line["message"]["role"] == "assistant" for line in chat)
    assert "42" in "".join(line["message"]["content"] for line in chat) and chat[-1]["done"]
    server.wait_text("num_ctx, num_thread, use_mmap")
    agent = json.loads(replay(server, named("continue", "ollama: agent"))[1])
    assert agent["message"]["role"] == "assistant" and agent["done"]
    lines = lines_of(replay(server, named("continue", "ollama: autocomplete")))
    assert all(isinstance(line["response"], str) for line in lines) and lines[-1]["eval_count"] <= 16


def test_continue_over_openai(server):
    chunks = events_of(replay(server, named("continue", "openai: chat")))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert any(delta.get("reasoning_content") for delta in deltas) and [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["usage"]["completion_tokens"] > 0 and not chunks[-1]["choices"]


def test_open_webui_finds_the_models(server):
    (model,) = json.loads(replay(server, named("open_webui", "tags"))[1])["models"]
    assert model["name"] == model["model"] == "hadal-demo" and model["details"]["family"] and model["size"] > 0
    (loaded,) = json.loads(replay(server, named("open_webui", "ps"))[1])["models"]
    assert loaded["model"] == "hadal-demo" and loaded["expires_at"].endswith("Z")
    version = json.loads(replay(server, named("open_webui", "version"))[1])["version"]
    assert all(part.isdigit() for part in version.split("."))  # it looks for the lowest of its servers
    assert json.loads(replay(server, named("open_webui", "openai models"))[1])["data"][0]["id"] == "hadal-demo"


@pytest.mark.parametrize("name", ["chat", "tools"])
def test_open_webui_reads_a_stream(server, name):
    lines = lines_of(replay(server, named("open_webui", name)))
    assert "".join(line["message"].get("thinking", "") for line in lines)
    assert "".join(line["message"]["content"] for line in lines)
    end = lines[-1]
    assert end["done"] and end["done_reason"] == "stop"
    for count in ("total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"):
        assert end[count] > 0


def test_open_webui_reads_an_object_and_unloads(server):
    answer = json.loads(replay(server, named("open_webui", "title"))[1])
    assert "42" in answer["message"]["content"] and answer["done_reason"] == "stop"
    (end,) = lines_of(replay(server, named("open_webui", "unload")))
    assert end["done_reason"] == "unload" and end["response"] == ""


@pytest.mark.parametrize("exchange", exchanges("open_webui_run"), ids=lambda exchange: exchange["name"])
def test_what_open_webui_asks_when_it_runs(server, exchange):
    """Every request of a run of it, over either connection, in the form in which it reads the answer."""
    answer = replay(server, exchange)
    body = exchange.get("body", {})
    if "messages" not in body:
        assert json.loads(answer[1])
        return
    if exchange["path"] == "/api/chat":
        messages = [line["message"] for line in (lines_of(answer) if body["stream"] else [json.loads(answer[1])])]
        reasoning = "thinking"
    elif body["stream"]:
        messages = [choice["delta"] for event in events_of(answer) for choice in event["choices"]]
        reasoning = "reasoning_content"
    else:
        messages, reasoning = [json.loads(answer[1])["choices"][0]["message"]], "reasoning_content"
    assert "".join(message.get("content") or "" for message in messages)
    # With tools in front of it the demo model says what it likes.
    assert "tools" in body or "".join(message.get(reasoning) or "" for message in messages)
