# SPDX-License-Identifier: Apache-2.0
"""The Locust file with Debian's Locust against the demo model: a few users for a few seconds."""

import csv
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path[:0] = [str(SOURCE / "tests/e2e"), str(SOURCE / "tests/benchmarks/hadal_bench")]
from fake_server import FakeServer  # noqa: E402
from hadal_process import HadalProcess  # noqa: E402

LOCUST = "/usr/bin/locust"  # python3-locust, which belongs to Debian's Python and not to the tests' environment


def run_locust(server, folder, **variables):
    """The finished process and the row of its statistics."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # The system's folders first: Debian's Locust wants Debian's Python.
    environment.update(PATH="/usr/bin:/bin", PYTHONDONTWRITEBYTECODE="1", **variables)
    done = subprocess.run([LOCUST, "-f", SOURCE / "benchmarks/locust/locustfile.py", "--host", server.url, "--headless", "--users", "4",
                           "--spawn-rate", "4", "--run-time", "6s", "--stop-timeout", "20", "--csv", folder / "locust"],
                          capture_output=True, text=True, timeout=120, env=environment)
    with open(folder / "locust_stats.csv", encoding="utf-8", newline="") as table:
        (row,) = [row for row in csv.DictReader(table) if row["Name"] != "Aggregated"]
    return done, row


def test_users_chat_and_get_content(tmp_path):
    with HadalProcess() as server:
        done, row = run_locust(server, tmp_path, HADAL_LOCUST_TOKENS="8")
    assert done.returncode == 0, done.stderr
    assert (row["Type"], row["Name"]) == ("POST", "/v1/chat")
    assert int(row["Request Count"]) >= 4 and int(row["Failure Count"]) == 0, done.stderr


def test_an_answer_without_content_is_a_failure(tmp_path):
    with FakeServer() as server:
        done, row = run_locust(server, tmp_path)
    assert done.returncode == 1
    assert int(row["Failure Count"]) == int(row["Request Count"]) >= 4
    assert "empty answer" in done.stdout + done.stderr
