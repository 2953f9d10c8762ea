# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/clients.md run as they stand there."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = (pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "docs/clients.md").read_text(encoding="utf-8")
RECIPES = {section.partition("\n")[0]: code for section in PAGE.split("\n## ")[1:]
           for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)}


def test_every_library_has_a_recipe():
    assert set(RECIPES) == {"openai: chat", "openai: responses", "anthropic", "LangChain", "LiteLLM", "ollama", "urllib3", "gRPC: Python"}


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(server, title):
    code = RECIPES[title].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                         env={**os.environ, "PYTHONPATH": os.path.join(os.environ["HADAL_SOURCE_DIR"], "client/python/src")})
    assert run.returncode == 0, run.stderr
    assert "42" in run.stdout


def test_curl(server):
    code = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1].replace("http://127.0.0.1:8000", server.url)
    run = subprocess.run(["bash", "-euc", code.replace("curl ", "curl -sSf ")], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("42") >= 3
