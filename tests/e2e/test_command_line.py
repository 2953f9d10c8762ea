# SPDX-License-Identifier: Apache-2.0
"""What the program says of itself: help by topic, suggestions, and a configuration that can be read back."""

import os
import re
import subprocess

import pytest

from hadal_process import PATIENCE

SOURCE = os.environ["HADAL_SOURCE_DIR"]
BINARY = os.environ.get("HADAL_BINARY", os.path.join(SOURCE, "build/release/hadal"))
DEMO = os.environ.get("HADAL_DEMO_MODEL", os.path.join(SOURCE, "models/demo"))


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HADAL_")}
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)


@pytest.mark.parametrize("command", ["serve", "worker", "plan", "chat", "batch", "top", "health"])
def test_help_of_a_command(command):
    asked = run(command, "--help")
    assert asked.returncode == 0 and f"hadal {command}" in asked.stdout, asked.stderr
    assert f"Usage: hadal {command}" in asked.stdout
    by_topic = run("help", command)
    assert (by_topic.returncode, by_topic.stdout) == (0, asked.stdout)


def test_a_version_says_what_it_is_the_version_of():
    shown = run("version")
    assert re.fullmatch(r"hadal \d+\.\d+\.\d+ \(built with GCC \d[\d.]*\)\n", shown.stdout), shown.stdout
    assert run("--version").stdout == shown.stdout


def test_unknown_names_are_compared_with_those_that_there_are():
    ended = run("help", "serv")
    assert ended.returncode == 2 and "did you mean 'serve'?" in ended.stderr
    ended = run("serve", "--max-queue", "5")
    assert ended.returncode == 2 and "unknown flag 'max-queue'; did you mean 'max-queue-" in ended.stderr


@pytest.mark.parametrize("words, problem", [
    (["chat", "--modle", "x", "hi"], "hadal chat: unknown flag '--modle'; did you mean '--model'?"),
    (["top", "--nonsense"], "hadal top: unknown flag '--nonsense' ("),
    (["health", "--chekc=ready"], "hadal health: unknown flag '--chekc=ready'; did you mean '--check'?"),
    (["health", "ready"], "hadal health: unexpected 'ready' ("),
    (["health", "--check", "alive"], "hadal health: --check: alive not in {live,ready,startup}"),
    (["batch", "submit", "lines.jsonl", "--wiat"], "hadal batch: unknown flag '--wiat'; did you mean '--wait'?"),
    (["batch"], "hadal batch: A subcommand is required"),
])
def test_the_small_commands_say_what_is_wrong(words, problem):
    ended = run(*words)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith(problem) and ended.stderr.count("\n") == 1, ended.stderr


@pytest.mark.parametrize("command", ["serve", "plan", "worker"])
def test_a_printed_configuration_is_read_back_as_the_same(tmp_path, command):
    models = ["--model", f"a={DEMO}", "--model", f"b={DEMO}"] if command != "worker" else ["--model", DEMO]
    first = run(command, *models, "--log-level=warn", "--print-config")
    assert first.returncode == 0, first.stderr
    file = tmp_path / "hadal.toml"
    file.write_text(first.stdout, encoding="utf-8")
    again = run(command, "--config", str(file), "--print-config")
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout.replace("  # flag\n", "  # file\n")
    assert "\nlog-level = \"warn\"  # flag\n" in first.stdout
