# SPDX-License-Identifier: Apache-2.0
"""The soak in short, and that it notices what is lost and what grows."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
os.environ.setdefault("HADAL_SOURCE_DIR", str(SOURCE))
sys.path.insert(0, str(SOURCE / "benchmarks/server"))
import soak  # noqa: E402

CHAT = "/v1/chat/completions"


def test_a_short_soak_accounts_for_every_request_of_both_fronts(tmp_path):
    path = tmp_path / "soak.json"
    done = subprocess.run([sys.executable, SOURCE / "benchmarks/server/soak.py", "--minutes=0.2", "--cycles=3", "--pause=0.1", f"--output={path}"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["problems"] == 0 and metrics["overload_refused"] > 0
    for route in (CHAT, "Chat", "Generate"):
        assert min(metrics["ends"][route].get(end, 0) for end in ("ok", "left")) > 0, route
    assert metrics["ends"][CHAT]["shed"] > 0 and metrics["ends"]["Chat"]["shed"] > 0 and metrics["ends"]["Tokenize"]["ok"] > 0
    assert metrics["ends"][CHAT]["invalid"] > 0 and metrics["ends"]["Chat"]["invalid"] > 0


def test_a_stream_ends_with_an_answer_or_with_a_refusal():
    assert soak.end_of_stream(b'data: {"choices":[]}\n\ndata: [DONE]\n\n') == "ok"
    assert soak.end_of_stream(b': keep-alive\n\ndata: {"error":{"message":"busy","code":"PREEMPTED_IN_QUEUE"}}\n\n') == "shed"
    for cut in (b"", b'data: {"choices":[]}\n\n', b'data: {"error":{"code":"INTERNAL"}}\n\n'):
        with pytest.raises(AssertionError, match="without an end"):
            soak.end_of_stream(cut)


def exposition(**counts):
    return "".join(f'hadal_requests_total{{route="{CHAT}",class="normal",http_code="200",grpc_code="",outcome="{outcome}",reason=""}} {count}\n'
                   for outcome, count in counts.items())


ENDS = collections.Counter({(CHAT, "ok"): 10, (CHAT, "shed"): 3, (CHAT, "left"): 4})


def test_what_left_may_be_recorded_in_any_way_or_not_at_all():
    for counts in ({"ok": 10, "shed": 3}, {"ok": 12, "shed": 4, "cancelled": 1}, {"ok": 10, "shed": 3, "cancelled": 4}):
        assert soak.unaccounted(ENDS, soak.recorded(exposition(**counts))) == []


@pytest.mark.parametrize("counts, said", [
    ({"ok": 10, "shed": 2}, "3 requests were shed, and 2 were recorded"),  # one of them is missing
    ({"ok": 10, "shed": 3, "cancelled": 5}, "17 requests were sent, 4 of them left, and 18 were recorded"),
    ({"ok": 15, "shed": 3}, "10 requests were ok, and 15 were recorded"),
    ({"ok": 10, "shed": 3, "error": 1}, "1 requests failed in the server")])
def test_a_lost_request_is_noticed(counts, said):
    assert any(said in problem for problem in soak.unaccounted(ENDS, soak.recorded(exposition(**counts))))


def test_an_end_of_its_own_kind_is_a_problem():
    ends = ENDS + collections.Counter({(CHAT, "lost: timeout"): 1})
    assert f"{CHAT}: 1 requests ended as lost: timeout" in soak.unaccounted(ends, soak.recorded(exposition(ok=10, shed=3, cancelled=1)))


def test_growth_after_the_warm_up_is_noticed():
    def samples(*sizes):
        return [{"bytes": size << 20, "threads": 9, "descriptors": 80} for size in sizes]
    steady, leaking = samples(50, 90, 100, 100, 101, 100, 102, 101, 101), samples(50, 90, 100, 100, 105, 108, 112, 116, 120)
    assert soak.growth(steady, "bytes") == 1 << 20
    assert soak.grown_too_much({what: soak.growth(steady, what) for what in steady[0]}) == []
    assert soak.grown_too_much({what: soak.growth(leaking, what) for what in leaking[0]}) == ["memory grew by 11.0 MiB"]
    assert len(soak.grown_too_much({"bytes": 0, "threads": 1, "descriptors": 40})) == 2
