# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md lists exactly the flags that the server knows."""
import os
import pathlib
import re

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


def test_every_flag_is_documented_and_every_documented_flag_exists():
    source = (ROOT / "server/base/config.cc").read_text(encoding="utf-8")
    known = set(re.findall(r'\badd\("([a-z-]+)"', source))
    documented = set(re.findall(r"^\| `--([a-z-]+)` \|", (ROOT / "docs/configuration.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert len(known) > 20
    assert documented == known
