# SPDX-License-Identifier: Apache-2.0
"""The queries of the Grafana dashboard, as Grafana would ask them."""

import json

from prometheus_process import ROOT


def dashboard_queries(*rows):
    """[(row, panel, expression)] of these rows, or of all: for the namespace hadal and the last five minutes."""
    dashboard = json.loads((ROOT / "prometheus/grafana/hadal.json").read_text(encoding="utf-8"))
    queries, row = [], None
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$namespace", "hadal").replace("$__rate_interval", "5m")
            assert "$" not in expression, panel["title"]
            queries.append((row, panel["title"], expression))
    return [query for query in queries if not rows or query[0] in rows]
