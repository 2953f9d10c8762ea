# SPDX-License-Identifier: Apache-2.0
"""What kustomize makes of the folders of k8s/."""
import functools
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
K8S = ROOT / "k8s"
TARGETS = sorted(path.parent.relative_to(K8S).as_posix() for path in K8S.rglob("kustomization.yaml")
                 if yaml.safe_load(path.read_text(encoding="utf-8"))["kind"] == "Kustomization")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def kustomize():
    if kubectl := shutil.which("kubectl", path=ROOT / ".deps/bin") or shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    pytest.skip("neither kubectl (scripts/bootstrap --test) nor kustomize is installed: manifests are not rendered")


@functools.lru_cache(maxsize=None)
def render(target):
    """The documents, for reading only: tests share them."""
    result = subprocess.run([*kustomize(), str(K8S / target)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def load(path):
    return [document for document in yaml.safe_load_all((K8S / path).read_text(encoding="utf-8")) if document]


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def pods(documents):
    """(name, labels, pod spec) of what makes pods."""
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] in ("Deployment", "StatefulSet"):
            template = document["spec"]["template"]
            yield name, template["metadata"]["labels"], template["spec"]
        elif document["kind"] == "LeaderWorkerSet":
            group = document["spec"]["leaderWorkerTemplate"]
            for role in ("leader", "worker"):
                template = group[f"{role}Template"]
                yield f"{name} {role}", template["metadata"]["labels"], template["spec"]
        elif document["kind"] == "LLMInferenceService":
            yield name, {}, document["spec"]["template"]
        elif document["kind"] == "ServingRuntime":
            # KServe takes the time to end from the service that names the runtime.
            service = next(d for d in of_kind(documents, "InferenceService")
                           if d["spec"]["predictor"]["model"]["runtime"] == document["metadata"]["name"])
            yield name, {}, {**document["spec"], "terminationGracePeriodSeconds": service["spec"]["predictor"]["terminationGracePeriodSeconds"]}


def exported_metrics():
    """Those of docs/metrics.md, which tests/e2e/test_metrics.py compares with a scrape."""
    return set(re.findall(r"^\| `(hadal_[a-z0-9_]+)` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))
