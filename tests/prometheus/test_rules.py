# SPDX-License-Identifier: Apache-2.0
"""The configurations and rules of prometheus/ are valid, each alert fires when it should and not before, and the runbook has it."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
PROMETHEUS = ROOT / "prometheus"
# All values as text: 0x40 is forty zeros here, not a number.
CASES = yaml.load((pathlib.Path(__file__).parent / "alert_cases.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
SERIES_OF_OTHERS = re.compile(r"DCGM_\w+|kube_\w+|up")


def load(name):
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


def rules(name):
    return [rule for group in load(name)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def promtool(*arguments):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: rules are not evaluated")
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_configuration_and_the_rules_that_it_names_are_valid(name, tmp_path):
    config = load(name)
    for job in config["scrape_configs"]:
        # Debian's promtool is built without the discovery of Kubernetes, and knows no such field.
        if name == "kubernetes.yml":
            assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    for rules_file in config["rule_files"]:
        shutil.copy(PROMETHEUS / rules_file, tmp_path)
    shutil.copytree(PROMETHEUS / "targets", tmp_path / "targets")
    (tmp_path / name).write_text(yaml.safe_dump(config), encoding="utf-8")
    result = promtool("check", "config", tmp_path / name)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(ALERTS)} rules found" in result.stdout and f"{len(rules('recording.yml'))} rules found" in result.stdout


def unit_test(case, series, expectations):
    """A test in promtool's form; `expectations` is {time: whether the alert fires}."""
    annotations = ALERTS[case["alert"]]["annotations"]
    alert = {"exp_labels": case["labels"], "exp_annotations": annotations}
    return {"interval": case.get("interval", "1m"),
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": time, "alertname": case["alert"], "exp_alerts": [alert] if fires else []}
                                for time, fires in expectations.items()]}


def evaluation(case):
    """How often rules are evaluated: for a case with close samples often, for one that takes a day seldom, so that the test is short."""
    return case.get("evaluation", "15s" if "interval" in case else "1m")


@pytest.mark.parametrize("interval", sorted(set(map(evaluation, CASES))))
def test_alerts_fire_when_they_should_and_only_then(interval, tmp_path):
    """One run of promtool for the cases with the same interval of evaluation; a failure names the alert and the time."""
    tests = []
    for case in CASES:
        if evaluation(case) == interval:
            tests.append(unit_test(case, case["fires"], {case["not_before"]: False, case["by"]: True}))
            tests.append(unit_test(case, case["quiet"], {case["by"]: False}))
    file = tmp_path / "test.yml"
    # Groups that are not named here are evaluated in any order.
    order = [group["name"] for name in ("recording.yml", "alerts.yml") for group in load(name)["groups"]]
    file.write_text(yaml.safe_dump({"rule_files": [str(PROMETHEUS / "recording.yml"), str(PROMETHEUS / "alerts.yml")],
                                    "evaluation_interval": interval, "group_eval_order": order, "tests": tests}), encoding="utf-8")
    result = promtool("test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_case():
    assert {case["alert"] for case in CASES} == set(ALERTS)


def test_every_alert_leads_to_its_section_of_the_runbook():
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs/runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".")


def metrics_of(expression):
    """Names of the series that an expression selects: identifiers that are no function, keyword, label or duration."""
    text = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\boffset \w+|#.*', " ", expression)
    text = re.sub(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", " ", text)
    words = re.findall(r"[A-Za-z_:][\w:]*(?!\w*\s*\()", text)
    calls = set(re.findall(r"([A-Za-z_]\w*)\s*\(", text))
    return {word for word in words if word not in calls | {"and", "or", "unless", "by", "on", "group_left", "Inf"}}


def exported():
    """The series of docs/metrics.md, which tests/e2e/test_metrics.py compares with a scrape."""
    rows = re.findall(r"^\| `(hadal_\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for name, kind in rows if kind != "histogram"}
    return names | {name + suffix for name, kind in rows if kind == "histogram" for suffix in ("_bucket", "_sum", "_count")}


def test_rules_ask_only_for_series_that_exist():
    recorded = {rule["record"] for rule in rules("recording.yml")}
    known = exported() | recorded
    for rule in [*rules("recording.yml"), *rules("alerts.yml")]:
        names = metrics_of(rule["expr"])
        assert names, rule
        for name in names:
            assert name in known or SERIES_OF_OTHERS.fullmatch(name), f"{rule.get('alert', rule.get('record'))} asks for {name}"


def test_drain_alert_waits_longer_than_the_grace_period():
    deployment = yaml.safe_load((ROOT / "k8s/base/deployment.yaml").read_text(encoding="utf-8"))
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(ALERTS["HadalDrainStuck"]["for"].rstrip("m")) * 60 > grace
