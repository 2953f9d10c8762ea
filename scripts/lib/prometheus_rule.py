# SPDX-License-Identifier: Apache-2.0
"""Writes prometheus/operator/prometheus-rule.yaml from recording.yml and alerts.yml: prometheus_rule.py [PROMETHEUS_DIR]"""
import pathlib
import sys

HEADER = """\
# Written by scripts/lib/prometheus_rule.py from recording.yml and alerts.yml; change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: hadal}
spec:
  groups:
"""


def prometheus_rule(folder):
    """The groups of both files, as they are, under the head of the operator's kind."""
    text = HEADER
    for name in ("recording.yml", "alerts.yml"):
        groups = (folder / name).read_text(encoding="utf-8").split("groups:\n", 1)[1]
        text += "".join("  " + line if line.strip() else line for line in groups.splitlines(keepends=True))
    return text


if __name__ == "__main__":
    prometheus = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2] / "prometheus"
    (prometheus / "operator/prometheus-rule.yaml").write_text(prometheus_rule(prometheus), encoding="utf-8")
