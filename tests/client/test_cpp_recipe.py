# SPDX-License-Identifier: Apache-2.0
"""The C++ client for those who use it: each block of docs/clients.md is compiled as it stands there, against what is public, and asks a server; another
project's CMake takes the client alone."""

import json
import os
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/client")]
import cpp_frames  # noqa: E402
from cpp_programs import PUBLIC, compiled, include, needs  # noqa: E402, F401
from hadal_process import HadalProcess  # noqa: E402

SECTION = (SOURCE / "docs/clients.md").read_text(encoding="utf-8").split("\n## C++\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```cpp\n(.*?)```", SECTION, re.S)
PROGRAM = next(code for code in BLOCKS if "int main" in code)
COROUTINE, TOOLS, BATCHES, HEDGING = (
    next(code for code in BLOCKS if mark in code) for mark in ("co_await", "tool_choice", "BatchClient::Connect", "hedging"))
CMAKE = re.search(r"```cmake\n(.*?)```", SECTION, re.S)[1]


@needs["c++"]
@needs["pkg-config"]
def test_the_program_asks_a_server(tmp_path, include):
    with HadalProcess() as server:
        (tmp_path / "ask.cc").write_text(PROGRAM.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), encoding="utf-8")
        asked = subprocess.run([compiled(tmp_path, include, "ask.cc")], capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0 and "42" in asked.stdout, asked.stderr


def run_block(folder, include, block, server):
    """What a block prints, in a program of its own."""
    (folder / "block.cc").write_text(cpp_frames.program(block).replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"), encoding="utf-8")
    ran = subprocess.run([compiled(folder, include, "block.cc")], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_block_is_run():
    assert sorted(BLOCKS) == sorted([PROGRAM, COROUTINE, TOOLS, BATCHES, HEDGING])


@needs["c++"]
@needs["pkg-config"]
def test_the_coroutine_reads_an_answer(tmp_path, include):
    with HadalProcess() as server:
        assert "42" in run_block(tmp_path, include, COROUTINE, server)


@needs["c++"]
@needs["pkg-config"]
def test_tools_choices_and_the_servers_cache(tmp_path, include):
    with HadalProcess("--response-cache=memory") as server:
        first = run_block(tmp_path, include, TOOLS, server)
        calls = re.findall(r"weather\((.*?)\)", first, re.S)
        assert len(calls) == 2 and all(json.loads(call)["city"] in ("Rome", "Ulm") for call in calls), first
        assert first.splitlines()[-1] == "tool_calls 1 miss scored"
        assert run_block(tmp_path, include, TOOLS, server).splitlines()[-1] == "tool_calls 1 hit scored"


@needs["c++"]
@needs["pkg-config"]
def test_hedging_counts(tmp_path, include):
    with HadalProcess() as server:
        said = run_block(tmp_path, include, HEDGING, server)
    assert re.search(r"421 calls, [12] attempts, 0 hedged, 0 of them faster", said), said


@needs["c++"]
@needs["pkg-config"]
def test_the_batch_is_answered(tmp_path, include):
    with HadalProcess(f"--batch-store={tmp_path / 'batches'}") as server:
        lines = run_block(tmp_path, include, BATCHES, server).splitlines()
    assert len(lines) == 2 and all(line.startswith("answered ") and "42" in line for line in lines), lines


@needs["c++"]
@needs["pkg-config"]
def test_thinking_cache_and_batches_with_a_real_server(tmp_path, include):
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_server_program.cc")
    with HadalProcess("--load-format=null:5ms") as server:
        asked = subprocess.run([program, f"127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=60)
        server.wait_idle()
        assert asked.stdout.splitlines() == ["thinking ended", "asked once", "20 answered", "the tokens of a chat"], asked.stderr
        # A chat, its EndThinking, a completion of which the second is kept, twenty, the tokens of a chat, and the chat.
        assert server.metric("hadal_thinking_cuts_total") == 1 and server.metric("hadal_requests_total") == 25


@needs["c++"]
@needs["pkg-config"]
def test_a_batch_with_a_real_server(tmp_path, include):
    program = compiled(tmp_path, include, SOURCE / "tests/client/real_batch_program.cc")
    with HadalProcess(f"--batch-store={tmp_path / 'batches'}") as server:
        asked = subprocess.run([program, f"127.0.0.1:{server.port}", tmp_path / "in.jsonl"], capture_output=True, text=True, timeout=60)
    assert asked.stdout.splitlines() == ["ended", "each once", "listed"], asked.stderr


@needs["c++"]
def test_each_public_header_stands_alone(tmp_path, include):
    (tmp_path / "all.cc").write_text("".join(f'#include "{header}"\n' for header in reversed(PUBLIC)), encoding="utf-8")
    subprocess.run(["c++", "-std=c++20", "-fsyntax-only", f"-I{include}", "all.cc"], cwd=tmp_path, check=True)


@needs["cmake"]
@needs["ninja"]
def test_another_project_takes_the_client_alone(tmp_path):
    (tmp_path / "hadal").symlink_to(SOURCE)
    (tmp_path / "ask.cc").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(ask LANGUAGES CXX)\nadd_executable(ask ask.cc)\n" + CMAKE, encoding="utf-8")
    subprocess.run(["cmake", "-G", "Ninja", "-S", ".", "-B", "build"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    listed = subprocess.run(["ninja", "-C", "build", "-t", "targets", "all"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "libhadal_client.a: " in listed and "ask: " in listed and "hadal_server" not in listed
