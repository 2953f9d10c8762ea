# SPDX-License-Identifier: Apache-2.0
"""The curves of hadal-bench, its pages, and its comparisons of two servers."""

import json
import subprocess
import time

from bench_process import BENCH, MEASURED, bench, check_page, measure
from fake_server import FakeServer, refusing


def test_find_capacity_finds_where_the_service_level_breaks(out, tmp_path):
    """A server that takes 30 requests a second, so 37.5 with a fifth refused: those are not within the service level."""
    times = []

    def behave(prompt, attempt):
        if len(prompt.split()) not in (6, 7):
            return "serve"
        now = time.monotonic()
        times[:] = [at for at in times if at > now - 0.5]
        if len(times) >= 15:
            return {"retry-after": "1", "x-should-retry": "false"}
        times.append(now)
        return "serve"
    page = tmp_path / "curve.html"
    with FakeServer(behave) as server:
        result = measure(server.url, out, *MEASURED, "--find-capacity", "--attain=0.8", "--duration=1s", "--rate=12", "--slo=ttft=30000",
                         f"--html={page}", timeout=300)
    assert result["mode"] == "find-capacity"
    assert 15 <= result["metrics"]["capacity_requests_per_s"] <= 60
    rates = [run["metrics"]["offered_requests_per_s"] for run in result["runs"]]
    assert len(rates) >= 4 and max(rates) > 30 > min(rates)
    check_page(page, "Goodput against offered load", "Over time")


def test_sweep_makes_a_curve(out):
    with FakeServer() as server:
        result = measure(server.url, out, "--sweep=10,40", "--arrivals=constant")
    assert [round(run["rate"]) for run in result["runs"]] == [8, 38]  # the last arrival would be at the end itself
    assert result["metrics"]["peak_goodput_tokens_per_s"] == result["runs"][1]["metrics"]["goodput_tokens_per_s"]


def test_compare_shows_two_servers_side_by_side(tmp_path):
    a, b, page = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "ab.html"
    with FakeServer() as server:
        measure(server.url, a, "--rate=20", "--runs=3")
        assert len(json.loads(a.read_text())["runs"]) == 3
    with FakeServer(refusing(retry_after_ms="400")) as server:
        measure(server.url, b, "--rate=20", "--runs=3", "--lengths=7:4")
    for command in (("compare", str(a), str(b), f"--html={page}"), ("--compare", str(a), str(b), f"--html={page}"),
                    (f"--html={page}", "--compare", str(a), str(b))):
        page.unlink(missing_ok=True)
        done = bench(*command)
        assert done.returncode == 0, done.stderr
        line = next(line for line in done.stdout.splitlines() if line.startswith("attempts_per_served_ratio"))
        assert "+100.0%" in line and line.endswith("*")
        assert "--lengths differs" in done.stdout and "over 3 and 3 runs" in done.stdout
    check_page(page, "95 % interval", "A p99", "B p99", "20 requests/s, poisson arrivals, seed 1, clients: obey", "8b (TTFT 2000 ms, TPOT 100 ms)")


def test_compare_names_what_is_wrong(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for flags, wanted in ((("a.json",), "two result files"), (("a.json", "none.json"), "none.json"), (("a.json", "a.json"), "the first file"),
                          (("--htm=x",), "unknown flag"), (("--help",), "")):
        done = subprocess.run([BENCH, "compare", *flags], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert wanted in done.stderr and (done.returncode == 0) == (wanted == ""), flags
    (tmp_path / "odd.json").write_text('{"name": "hadal_bench", "schema": 1, "runs": [{}], "mode": "run"}')
    done = bench("compare", str(tmp_path / "odd.json"), str(tmp_path / "odd.json"))
    assert done.returncode == 1 and "result file" in done.stderr
