# SPDX-License-Identifier: Apache-2.0
"""The dashboard is one that Grafana can load: panels with names and numbers of their own that do not overlap. Its queries are run
in tests/e2e/test_prometheus.py."""
import json
import os
import pathlib

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
DASHBOARD = json.loads((ROOT / "prometheus/grafana/hadal.json").read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]


def test_rows_and_panels_have_numbers_and_titles_of_their_own():
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
        "Overview", "Overload", "Latency", "KV cache and memory", "Response cache", "Upstreams", "Batches", "Several hosts for one model",
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
