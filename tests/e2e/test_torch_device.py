# SPDX-License-Identifier: Apache-2.0
"""--device torch: the demo model on libtorch, through real clients."""

import json
import os
import shutil
import subprocess
import urllib.request

import pytest

SOURCE = os.environ["HADAL_SOURCE_DIR"]
BINARY = os.environ.get("HADAL_BINARY", os.path.join(SOURCE, "build/release/hadal"))
LIBRARY = os.path.join(os.path.dirname(BINARY), "libhadal_torch.so")

built = pytest.mark.skipif(not os.path.exists(LIBRARY), reason="built without HADAL_TORCH")


def ask(server, question):
    body = json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0}).encode()
    request = urllib.request.Request(server.url + "/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]["message"]


def libraries_of(server):
    with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as maps:
        return maps.read()


@built
def test_it_answers_as_the_cpu_does_and_only_it_loads_libtorch(start_server):
    on_cpu = start_server("--device=cpu", "--dtype=float32")
    through_torch = start_server("--device=torch:cpu", "--dtype=float32", "--threads=1")
    assert "libtorch_cpu.so" in libraries_of(through_torch) and "torch" not in libraries_of(on_cpu).replace(SOURCE, "")
    with open(os.path.join(SOURCE, "models/demo/heldout.jsonl"), encoding="utf-8") as lines:
        questions = ["hello", "who are you?"] + [json.loads(next(lines))["question"] for _ in range(4)]
    for question in questions:
        assert ask(through_torch, question) == ask(on_cpu, question), question
    through_torch.wait_idle()


def serve(binary, *flags):
    """Exit code and output of a server that is expected not to start."""
    model = os.path.join(SOURCE, "models/demo")
    done = subprocess.run([binary, "serve", "--port=0", f"--model={model}", *flags], capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_without_the_library_it_says_where_it_looked(tmp_path):
    binary = shutil.copy(BINARY, tmp_path / "hadal")
    code, output = serve(binary, "--device=torch:cpu")
    assert code != 0
    assert str(tmp_path / "libhadal_torch.so") in output and "-DHADAL_TORCH=ON" in output


def test_a_library_that_cannot_be_opened_names_the_command(tmp_path):
    binary = shutil.copy(BINARY, tmp_path / "hadal")
    (tmp_path / "libhadal_torch.so").write_text("no library")
    code, output = serve(binary, "--device=torch:cpu")
    assert code != 0
    assert f"cannot open {tmp_path / 'libhadal_torch.so'}" in output and "scripts/bootstrap --torch" in output


@built
def test_a_gpu_that_is_not_there_is_named():
    code, output = serve(BINARY, "--device=torch:cuda:99")
    assert code != 0
    assert "cuda:99" in output
