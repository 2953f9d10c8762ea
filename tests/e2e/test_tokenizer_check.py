# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that is not the model's ends the start: nothing but wrong answers would show it."""
import json
import re
import shutil
import subprocess

import pytest
from hadal_process import HadalProcess
from test_dummy_families import DEMO

NULL = "--load-format=null"


@pytest.fixture
def damaged(tmp_path):
    """The demo's folder with a tokenizer that drops spaces."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    drop = {"type": "Split", "pattern": {"Regex": r"\s"}, "behavior": "Removed", "invert": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [drop, tokenizer["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def test_a_damaged_tokenizer_is_refused_unless_it_is_wanted(start_server, damaged):
    server = start_server(NULL, model=damaged, wait_ready=False, expect_exit=1)
    assert server.process.wait(120) == 1
    assert f'{damaged}: tokenizer.json loses text: "Hello world" comes back from its ids as "Helloworld"' in server.text()
    assert start_server(NULL, "--tokenizer-check=false", model=damaged).get("/health/ready")[0] == 200


def test_plan_prints_the_fingerprint_that_a_start_can_be_pinned_to(start_server, damaged):
    plan = subprocess.run([HadalProcess.command_of()[0], "plan", f"--model={DEMO}"], capture_output=True, text=True, timeout=60, check=True)
    fingerprint = re.search(r"^tokenizer (tk_[0-9a-f]{16})$", plan.stdout, re.M).group(1)
    assert start_server(NULL, f"--tokenizer-fingerprint=tk_0000000000000000,{fingerprint}").get("/health/ready")[0] == 200
    server = start_server(NULL, f"--tokenizer-fingerprint={fingerprint}", "--tokenizer-check=false", model=damaged, wait_ready=False,
                          expect_exit=1)
    assert server.process.wait(120) == 1
    assert re.search(r"the tokenizer has the fingerprint tk_[0-9a-f]{16}, but --tokenizer-fingerprint is " + fingerprint, server.text())
    broken = subprocess.run([HadalProcess.command_of()[0], "plan", f"--model={damaged}"], capture_output=True, text=True, timeout=60, check=False)
    assert broken.returncode == 1 and "tokenizer.json loses text" in broken.stderr
