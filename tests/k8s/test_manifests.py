# SPDX-License-Identifier: Apache-2.0
"""The manifests render, are valid for the API server, and agree with the server about names, ports and times."""
import os
import pathlib
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
K8S = ROOT / "k8s"
TARGETS = ["base", "overlays/hpa", "overlays/hpa-cpu"]
VERSIONS = ["1.29", "1.33"]  # oldest and newest supported
BINARY = os.environ.get("HADAL_BINARY", "")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def kustomize():
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    pytest.skip("neither kubectl nor kustomize is installed: manifests are not rendered")


def render(target):
    result = subprocess.run([*kustomize(), str(K8S / target)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def one(documents, kind, name="hadal"):
    found = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}: found {len(found)}"
    return found[0]


def load(path):
    return [document for document in yaml.safe_load_all((K8S / path).read_text(encoding="utf-8")) if document]


@pytest.fixture
def pod():
    return load("base/deployment.yaml")[0]["spec"]["template"]["spec"]


@pytest.fixture
def settings():
    import tomllib

    return tomllib.loads((K8S / "base/hadal.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("version", VERSIONS)
def test_rendered_objects_are_valid(target, version):
    documents = render(target)
    assert {"Namespace", "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "ConfigMap"} <= {d["kind"] for d in documents}
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)  # raises for an unknown kind or field too


@pytest.mark.parametrize("target", TARGETS)
def test_everything_lies_in_one_namespace(target):
    for document in render(target):
        if document["kind"] == "Namespace":
            assert document["metadata"]["name"] == "hadal"
        else:
            assert document["metadata"]["namespace"] == "hadal", document["metadata"]["name"]


def test_every_folder_with_a_kustomization_is_covered():
    found = {path.parent.relative_to(K8S).as_posix() for path in K8S.rglob("kustomization.yaml")}
    assert found == {*TARGETS, "components/gpu"}


def test_references_lead_to_objects_that_exist():
    documents = render("base")
    deployment = one(documents, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in names
        if "persistentVolumeClaim" in volume:
            assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
    assert ("ServiceAccount", pod["serviceAccountName"]) in names
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for document in documents:
        if document["kind"] == "Service":
            assert document["spec"]["selector"].items() <= labels.items()
        if document["kind"] == "PodDisruptionBudget":
            assert document["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_grace_period_covers_pre_stop_and_drain(pod, settings):
    pre_stop = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pre_stop + seconds(settings["drain-timeout"]) + 10


def test_probes_ask_the_three_health_routes(pod, settings):
    container = pod["containers"][0]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health/startup", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["serve"] == settings["port"]
    for probe in paths:
        assert container[probe]["httpGet"]["port"] == "serve"
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def test_pod_is_locked_down(pod):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service named hadal would set HADAL_PORT, which is a flag"
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_autoscaler_owns_the_replica_count():
    assert "replicas" not in load("base/deployment.yaml")[0]["spec"]
    for overlay in ("hpa", "hpa-cpu"):
        spec = load(f"overlays/{overlay}/hpa.yaml")[0]["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 20)
        assert spec["scaleTargetRef"]["name"] == load("base/deployment.yaml")[0]["metadata"]["name"]


def exported_metrics():
    """Those of docs/metrics.md, which tests/e2e/test_metrics.py compares with a scrape."""
    return set(re.findall(r"^\| `(hadal_[a-z0-9_]+)` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))


def test_metrics_of_the_autoscaler_are_exported():
    exported = exported_metrics()
    assert len(exported) > 20
    rule = yaml.safe_load(load("overlays/hpa/adapter-rule.yaml")[0]["data"]["rules.yaml"])["rules"][0]
    series = re.compile(re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"]).group(1))
    wanted = [metric["pods"]["metric"]["name"] for metric in load("overlays/hpa/hpa.yaml")[0]["spec"]["metrics"]]
    assert wanted
    for name in wanted:
        assert name in exported, f"the server does not export {name}"
        assert series.fullmatch(name), f"the adapter rule does not serve {name}"
    assert "<<.LabelMatchers>>" in rule["metricsQuery"] and "<<.GroupBy>>" in rule["metricsQuery"]


def test_queue_target_leaves_room_to_grow():
    """A target near the queue's bound would let the autoscaler add few pods at a time, because the signal saturates."""
    source = (ROOT / "server/admission/admission_options.h").read_text(encoding="utf-8")
    limit = int(re.search(r"max_queue_requests = (\d+)", source).group(1))
    metrics = {m["pods"]["metric"]["name"]: m["pods"]["target"] for m in load("overlays/hpa/hpa.yaml")[0]["spec"]["metrics"]}
    assert int(metrics["hadal_requests_waiting"]["averageValue"]) <= limit / 8


@pytest.mark.skipif(not os.access(BINARY, os.X_OK), reason="the server is not built (HADAL_BINARY)")
def test_server_accepts_the_configuration():
    result = subprocess.run([BINARY, "serve", "--config", str(K8S / "base/hadal.toml"), "--print-config"],
                            capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    assert 'drain-timeout' in result.stdout and "120" in result.stdout


def test_image_runs_as_the_same_user_as_the_pod(pod):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user and int(user.group(1)) == pod["securityContext"]["runAsUser"]
    assert 'CMD ["hadal", "health"]' in dockerfile
    for base in re.findall(r"^ARG (?:DEBIAN|CUDA)=(\S+)$", dockerfile, re.MULTILINE):
        assert ":" in base and not base.endswith(":latest")
