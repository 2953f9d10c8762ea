# SPDX-License-Identifier: Apache-2.0
"""hadal-bench as a process."""

import json
import os
import pathlib
import re
import subprocess
from xml.etree import ElementTree

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
BENCH = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build/release")) / "hadal-bench"
FAST = ("--duration=500ms", "--warmup=0", "--drain=30s", "--lengths=16:4")
MEASURED = ("--lengths=7:4", "--rate=24", "--arrivals=constant")  # over FAST: prompts that fake_server.refusing tells from the others


def bench(*flags, env=None, timeout=120):
    return subprocess.run([BENCH, *flags], capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})


def measure(url, path, *flags, expect=0, timeout=120):
    """Runs hadal-bench and returns its result file."""
    done = bench(f"--url={url}", f"--json={path}", *FAST, *flags, timeout=timeout)  # of a flag given twice the last one counts
    assert done.returncode == expect, done.stdout + done.stderr
    return json.loads(path.read_text())


def check_page(path, *wanted):
    """A page is one well-formed file that loads nothing."""
    text = path.read_text(encoding="utf-8")
    ElementTree.fromstring(text.replace("<!doctype html>", "").replace('<meta charset="utf-8">', ""))
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://(?!127\.0\.0\.1)", text)
    for one in wanted:
        assert one in text, one
