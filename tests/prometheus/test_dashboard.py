# SPDX-License-Identifier: Apache-2.0
"""The dashboard is one that Grafana can load: panels with names and numbers of their own that do not overlap. Its queries are run
in tests/e2e/test_prometheus.py."""
import json
import os
import pathlib
import re

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
DASHBOARD = json.loads((ROOT / "prometheus/grafana/hadal.json").read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]

# Metrics that no panel shows, and where they are of use instead.
NOT_SHOWN = {
    "hadal_runnable_requests": "the alert on a server without progress",
    "hadal_last_step_timestamp_seconds": "the alert on a server without progress",
    "hadal_queue_token_overruns_total": "--max-queue-tokens; the estimates that cause them are shown",
    "hadal_tls_reloads_total": "the alert on a certificate that cannot be read",
    "hadal_kv_cache_info": "routers",
    "hadal_kv_event_batches_total": "subscribers; the blocks themselves are shown",
    "hadal_body_uploads": "their bytes are shown",
    "hadal_grpc_pending_calls": "--grpc-max-pending-calls; its refusals are shown",
    "hadal_discarded_rows_total": "developers of --async-scheduling",
    "hadal_mps_enabled": "the log at the start; the share of the multiprocessors is shown",
    "hadal_mps_active_thread_ratio": "the share of the multiprocessors is shown",
    "hadal_pipeline_leaders_total": "a worker's log; whether it has one is shown",
    "hadal_pipeline_part_info": "a worker's log",
    "hadal_pipeline_step_seconds": "its server exports the same by stage, which is shown",
    "hadal_pipeline_leader_received_bytes_total": "its server exports what it sends, which is shown",
    "hadal_pipeline_leader_sent_bytes_total": "samples, a few bytes each",
}


def test_every_documented_metric_is_shown_or_said_not_to_be():
    documented = re.findall(r"^\| `(hadal_\w+)` \| (?:gauge|counter|histogram) \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(documented) > 120
    asked = " ".join(target["expr"] for panel in PANELS for target in panel.get("targets", []))
    rules = dict(re.findall(r"- record: (\S+)\n    expr: (.*?)(?=\n\n|\Z)", (ROOT / "prometheus/recording.yml").read_text(encoding="utf-8"), re.DOTALL))
    assert len(rules) > 15
    # A rule may ask another.
    for _ in range(2):
        asked += " ".join(expression for name, expression in rules.items() if name in asked)
    shown = {name for name in documented if re.search(rf"(?<![\w:]){name}(_bucket|_sum|_count)?(?![\w:])", asked)}
    assert set(documented) - shown == NOT_SHOWN.keys()


def test_rows_and_panels_have_numbers_and_titles_of_their_own():
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
        "Overview", "Overload", "Latency", "KV cache and memory", "Response cache", "Upstreams", "TLS", "Batches", "Several hosts for one model",
        "GPU (as each server sees its own)", "GPU (dcgm-exporter)"]
    for key in ("id", "title"):
        values = [panel[key] for panel in PANELS]
        assert len(set(values)) == len(values), key


def test_panels_do_not_overlap():
    taken = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_ask_the_chosen_data_source_and_namespace():
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "namespace"}
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert 'namespace=~"$namespace"' in target["expr"] or target["expr"].startswith("DCGM_"), panel["title"]
