# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md lists exactly the flags of `hadal serve --help`, with their defaults."""
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BINARY = os.environ.get("HADAL_BINARY", str(ROOT / "build/release/hadal"))
GENERAL = {"help", "print-config", "config"}  # explained in the page's text


def flags_of_help():
    """{flag: default} of the help text."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HADAL_")}
    text = subprocess.run([BINARY, "serve", "--help"], env=environment, capture_output=True, text=True, timeout=30, check=True).stdout
    flags = {}
    # a long name pushes its description onto the next line
    for entry in re.split(r"\n  (?=-)", text)[1:]:
        name = re.search(r"--([a-z-]+)", entry).group(1)
        # behind the last flag of a group the next one's title follows
        default = re.search(r"\[([^\[\]]*)\]\s*$", entry.split("\n\n")[0])
        flags[name] = default.group(1) if default else None
    return flags


def documented_flags():
    """{flag: default} of the tables."""
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    return {name: default.replace("`", "") for name, default in re.findall(r"^\| `--([a-z-]+)` \| ([^|]*) \|", page, re.MULTILINE)}


def test_every_flag_is_documented_with_its_default_and_every_documented_flag_exists():
    known = flags_of_help()
    assert GENERAL < set(known)
    assert len(known) > 30
    assert documented_flags() == {name: default for name, default in known.items() if name not in GENERAL}
