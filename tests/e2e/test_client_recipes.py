# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/clients.md run as they stand there."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from background_http import BackgroundServer, Handler
from hadal_process import PATIENCE

PAGE = (pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "docs/clients.md").read_text(encoding="utf-8")
RECIPES = {section.partition("\n")[0]: code for section in PAGE.split("\n## ")[1:]
           for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)}


def test_every_library_has_a_recipe():
    assert set(RECIPES) == {"openai: chat", "openai: responses", "anthropic", "LangChain", "LiteLLM", "ollama", "urllib3", "gRPC: Python"}


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(server, title):
    code = RECIPES[title].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=5 * PATIENCE,  # some import for minutes on a busy machine
                         env={**os.environ, "PYTHONPATH": os.path.join(os.environ["HADAL_SOURCE_DIR"], "client/python/src")})
    assert run.returncode == 0, run.stderr
    assert "42" in run.stdout


def test_curl(server):
    code = re.search(r"\n## curl\n.*?```sh\n(.*?)```", PAGE, re.DOTALL)[1].replace("http://127.0.0.1:8000", server.url)
    run = subprocess.run(["bash", "-euc", code.replace("curl ", "curl -sSf ")], capture_output=True, text=True, timeout=5 * PATIENCE)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("42") >= 3


NODE = shutil.which("node")


def run_node(server):
    code = re.search(r"```js\n(.*?)```", PAGE, re.DOTALL)[1].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    return subprocess.Popen([NODE, "-e", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_node(server):
    out, err = run_node(server).communicate(timeout=5 * PATIENCE)
    assert out.count("42") == 2, err


class RefusesOnce(Handler):
    """A full server that names a time and a place, and then answers by what it is asked for."""

    protocol_version = "HTTP/1.0"  # an answer ends with its connection

    def do_POST(self):
        body = json.loads(self.body())
        tickets = self.server.tickets
        tickets.append(self.headers["x-hadal-ticket"])
        if len(tickets) == 1:
            given, answer = {"retry-after-ms": "20", "x-hadal-ticket": "first"}, {"error": {"message": "full"}}
        elif body.get("stream"):
            given, answer = {}, {"choices": [{"delta": {"content": "42"}}]}
        else:
            given, answer = {}, {"choices": [{"message": {"content": "42"}}]}
        self.send_response(503 if given else 200)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        text = json.dumps(answer)
        self.wfile.write((f"data: {text}\n\ndata: [DONE]\n\n" if body.get("stream") else text).encode())


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_node_returns_with_its_ticket():
    with BackgroundServer(RefusesOnce) as full:
        full.tickets = []
        out, err = run_node(full).communicate(timeout=5 * PATIENCE)
    assert out.count("42") == 2, err
    assert full.tickets == [None, "first", None]
