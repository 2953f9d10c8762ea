# SPDX-License-Identifier: Apache-2.0
"""Open WebUI itself in front of a server, as an OpenAI connection and as an Ollama one, driven through its own HTTP API. It is several GB, so this runs where
HADAL_OPEN_WEBUI names the program:

    python3.11 -m venv /tmp/open-webui && /tmp/open-webui/bin/pip install open-webui
    HADAL_OPEN_WEBUI=/tmp/open-webui/bin/open-webui pytest tests/e2e/test_open_webui.py

HADAL_OPEN_WEBUI_RECORD=FILE writes what it asked; recorded/open_webui_run.json is such a run, which test_recorded_tools.py replays everywhere."""

import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import urllib.request

import pytest

from hadal_process import HadalProcess
from http_client import ASK
from ports import free_port
from recording_proxy import RecordingProxy
from redis_process import wait_for

PROGRAM = os.environ.get("HADAL_OPEN_WEBUI")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="HADAL_OPEN_WEBUI does not name the program")
MODEL = "hadal-demo"


class OpenWebUi:
    """`kind` is the connection under which it knows the server at `url`."""

    def __init__(self, folder, kind, url):
        self.port, self.token = free_port(), None
        openai = kind == "openai"
        environment = {**os.environ, "DATA_DIR": str(folder), "WEBUI_SECRET_KEY": "test", "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1",
                       "BYPASS_EMBEDDING_AND_RETRIEVAL": "true", "RAG_EMBEDDING_ENGINE": "openai", "ENABLE_VERSION_UPDATE_CHECK": "false",
                       "SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "true", "ANONYMIZED_TELEMETRY": "false",
                       "ENABLE_OPENAI_API": str(openai).lower(), "OPENAI_API_BASE_URLS": f"{url}/v1", "OPENAI_API_KEYS": "none",
                       "ENABLE_OLLAMA_API": str(not openai).lower(), "OLLAMA_BASE_URLS": url}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(self.port)], env=environment, cwd=folder,
                                        stdout=self.log, stderr=subprocess.STDOUT)
        wait_for(self.healthy, timeout=300)
        self.token = self.post("/api/v1/auths/signup", {"name": "Ann", "email": "ann@example.com", "password": "long enough 1"})["token"]

    def healthy(self):
        assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()[-2000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
            return answer.status == 200
        return False

    def ask(self, method, path, body=None):
        """An open answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.connection = connection  # kept open with it
        assert answer.status == 200, (path, answer.status, answer.read()[:500])
        return answer

    def get(self, path):
        return json.loads(self.ask("GET", path).read())

    def post(self, path, body):
        return json.loads(self.ask("POST", path, body).read())

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture(scope="module")
def servers():
    """One that answers, and one whose answers take long."""
    with HadalProcess() as quick, HadalProcess("--load-format=null:20ms") as slow:
        yield quick, slow


@pytest.fixture(scope="module", params=["openai", "ollama"])
def webui(request, servers, tmp_path_factory):
    """(kind, program, proxy): it asks the server through the proxy."""
    with RecordingProxy(servers[0].port) as proxy:
        program = OpenWebUi(tmp_path_factory.mktemp("webui"), request.param, proxy.url)
        yield request.param, program, proxy
        program.stop()
        # Whatever it asked has a route here: nothing was refused for what it is.
        refused = [exchange for exchange in proxy.exchanges if exchange["status"] >= 400]
        assert not refused, refused
        if record := os.environ.get("HADAL_OPEN_WEBUI_RECORD"):
            with open(record, "a", encoding="utf-8") as file:
                for exchange in proxy.exchanges:
                    file.write(json.dumps({"connection": request.param, **exchange}) + "\n")


CHAT = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}


def deltas_of(answer):
    """Of a stream in OpenAI's form, which is what its own API has for either connection."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line[len("data: "):] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [choice["delta"] for event in events[:-1] for choice in json.loads(event).get("choices", [])]


def test_it_finds_the_models(webui):
    kind, program, proxy = webui
    models = program.get("/api/models")["data"]
    assert [model["id"] for model in models if model.get("owned_by") in ("openai", "ollama", "hadal") and "arena" not in model["id"]][0].startswith(MODEL)
    assert proxy.asked("/v1/models" if kind == "openai" else "/api/tags")
    if kind == "ollama":
        assert program.get("/ollama/api/version")["version"] and program.get("/ollama/api/ps")
        assert program.post("/ollama/api/show", {"model": MODEL})["details"]["family"]


def test_a_chat_is_streamed_and_whole(webui):
    kind, program, proxy = webui
    program.get("/api/models")
    stream = deltas_of(program.ask("POST", "/api/chat/completions", {"model": MODEL, "messages": ASK, "stream": True, "params": {"temperature": 0}}))
    assert "42" in "".join(delta.get("content") or "" for delta in stream)
    assert "".join(delta.get("reasoning_content") or delta.get("reasoning") or "" for delta in stream)
    whole = program.post("/api/chat/completions", {"model": MODEL, "messages": ASK, "stream": False, "params": {"temperature": 0}})
    assert "42" in whole["choices"][0]["message"]["content"]
    assert [exchange["body"]["stream"] for exchange in proxy.asked(CHAT[kind])][-2:] == [True, False]


def test_a_title_is_made(webui):
    kind, program, proxy = webui
    program.get("/api/models")
    before = len(proxy.asked(CHAT[kind]))
    answer = program.post("/api/v1/tasks/title/completions", {"model": MODEL, "messages": [*ASK, {"role": "assistant", "content": "42"}], "chat_id": "c1"})
    assert answer["choices"][0]["message"]["content"]
    assert len(proxy.asked(CHAT[kind])) == before + 1


def test_a_client_that_leaves_and_a_stop_end_the_answer(webui, servers):
    kind, program, proxy = webui
    slow = servers[1]
    program.get("/api/models")
    proxy.target = slow.port
    try:
        answer = program.ask("POST", "/api/chat/completions", {"model": MODEL, "messages": ASK, "stream": True})
        assert answer.read1(10)
        slow.wait_metric("hadal_requests_running", 1)
        answer.connection.close()
        answer.close()
        slow.wait_idle()
        # As its page does: the answer is made in the background, and its task is stopped.
        chat = {"model": MODEL, "messages": ASK, "stream": True, "session_id": "s1", "id": "m2", "parent_id": None,
                "user_message": {"id": "m1", "role": "user", "content": ASK[0]["content"], "parentId": None, "childrenIds": ["m2"], "models": [MODEL]}}
        begun = program.post("/api/chat/completions", chat)
        slow.wait_metric("hadal_requests_running", 1)
        for task in begun.get("task_ids") or [begun["task_id"]]:
            program.post(f"/api/tasks/stop/{task}", {})
        slow.wait_idle()
    finally:
        proxy.target = servers[0].port
