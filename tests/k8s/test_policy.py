# SPDX-License-Identifier: Apache-2.0
"""What every object of k8s/ keeps to: resources, probes, images, users, the time to end, selectors, autoscalers."""
import re

import pytest

from rendering import TARGETS, load, of_kind, pods, render, seconds


def all_pods():
    found = [(target, name, labels, spec) for target in TARGETS for name, labels, spec in pods(render(target))]
    assert {name for _, name, _, _ in found} == {"Deployment hadal", "Deployment hadal-edge", "Deployment hadal-redis", "StatefulSet hadal-batches-redis", "ServingRuntime hadal", "LLMInferenceService deepseek",
                                                "LeaderWorkerSet hadal-group leader", "LeaderWorkerSet hadal-group worker"}
    return found


def containers():
    return [(f"{target}: {name}", spec, container) for target, name, _, spec in all_pods() for container in spec["containers"]]


def test_containers_ask_for_cpu_and_memory_and_limit_memory():
    for where, _, container in containers():
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys(), where
        assert "memory" in resources["limits"], where
        assert "cpu" not in resources["limits"], f"{where}: throttling lengthens every step"


def test_containers_have_probes_on_ports_that_they_have():
    for where, _, container in containers():
        ports = {port["name"] for port in container["ports"]}
        assert {"livenessProbe", "readinessProbe"} <= container.keys(), where
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container.get(probe, {}).get("httpGet", {"port": container["ports"][0]["name"]})["port"] in ports, where


def test_images_have_a_version():
    for where, _, container in containers():
        image = container["image"]
        assert re.search(r":[\w.-]+$|@sha256:[0-9a-f]{64}$", image) and not image.endswith(":latest"), f"{where}: {image}"


def test_containers_run_as_a_user_without_privileges():
    for where, spec, container in containers():
        of_pod, own = spec.get("securityContext", {}), container["securityContext"]
        merged = {**of_pod, **own}
        assert merged["runAsNonRoot"] is True and merged["runAsUser"] > 0, where
        assert merged["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}, where


def drain_seconds(target, container):
    """How long the program may take to end after SIGTERM, from where it is configured."""
    for argument in container["args"]:
        if argument.startswith("--drain-timeout="):
            return seconds(argument.split("=")[1])
        if container["name"] == "redis":
            return int(re.search(r"--shutdown-timeout (\d+)", argument).group(1))
    for document in of_kind(render(target), "ConfigMap"):
        for name, text in document.get("data", {}).items():
            if container["name"] == "hadal" and name == "hadal.toml":
                return seconds(re.search(r'^drain-timeout = "(\w+)"$', text, re.MULTILINE).group(1))
            if container["name"] == "haproxy" and name == "haproxy.cfg":
                return seconds(re.search(r"^\s*hard-stop-after (\w+)", text, re.MULTILINE).group(1))
            if container["name"] == "nginx" and name == "nginx.conf":
                return seconds(re.search(r"^worker_shutdown_timeout (\w+);", text, re.MULTILINE).group(1))
    raise AssertionError(f"{target}: nothing says how long {container['name']} drains")


def test_grace_period_covers_pre_stop_and_drain():
    for target, name, _, spec in all_pods():
        for container in spec["containers"]:
            command, pre_stop = container["lifecycle"]["preStop"]["exec"]["command"]
            assert command == "sleep"
            assert spec["terminationGracePeriodSeconds"] >= int(pre_stop) + drain_seconds(target, container) + 10, f"{target}: {name}"


def selector_of(document):
    spec = document.get("spec")
    if document["kind"] == "Service":
        return spec["selector"]
    if document["kind"] == "NetworkPolicy":
        return spec["podSelector"]["matchLabels"]
    if document["kind"] in ("PodDisruptionBudget", "PodMonitor", "InferencePool", "Deployment", "StatefulSet"):
        return spec["selector"]["matchLabels"]
    if document["kind"] in ("NetworkChaos", "PodChaos", "StressChaos"):
        assert spec["selector"]["namespaces"] == ["hadal"], "an experiment stays in its namespace"
        return spec["selector"]["labelSelectors"]
    return None


def monitored_ports(monitor):
    """Names of the ports of the pods, of any overlay, that a PodMonitor selects."""
    return {port["name"] for _, _, labels, spec in all_pods() if selector_of(monitor).items() <= labels.items()
            for container in spec["containers"] for port in container["ports"]}


@pytest.mark.parametrize("target", TARGETS)
def test_selectors_match_a_pod(target):
    labels = [pod_labels for _, pod_labels, _ in pods(render(target))] + [pod_labels for _, pod_labels, _ in pods(render("base"))]
    for document in render(target):
        selector = selector_of(document)
        if document["kind"] == "PodMonitor":
            assert monitored_ports(document), document["metadata"]["name"]
        elif selector is not None:
            assert selector, document["metadata"]["name"]
            assert any(selector.items() <= pod.items() for pod in labels), f"{document['kind']} {document['metadata']['name']}"
    for deployment in of_kind(render(target), "Deployment", "StatefulSet"):
        assert selector_of(deployment).items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("target", TARGETS)
def test_ports_that_are_named_exist(target):
    names = {port["name"] for source in (target, "base") for _, _, spec in pods(render(source))
             for container in spec["containers"] for port in container["ports"]}
    for document in render(target):
        if document["kind"] == "Service":
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= names
        if document["kind"] == "NetworkPolicy":
            assert {port["port"] for rule in document["spec"].get("ingress", []) + document["spec"].get("egress", [])
                    for port in rule["ports"] if isinstance(port["port"], str)} <= names
        if document["kind"] == "PodMonitor":
            assert {endpoint["port"] for endpoint in document["spec"]["podMetricsEndpoints"]} <= monitored_ports(document)


@pytest.mark.parametrize("target", TARGETS)
def test_deployments_survive_a_zone_and_a_node_drain(target):
    documents = render(target)
    budgets = [selector_of(budget) for budget in of_kind(documents, "PodDisruptionBudget")]
    for deployment in of_kind(documents, "Deployment", "StatefulSet"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert sum(budget.items() <= labels.items() for budget in budgets) == 1
        spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert "topology.kubernetes.io/zone" in {constraint["topologyKey"] for constraint in spread}
        assert all(constraint["labelSelector"]["matchLabels"].items() <= labels.items() for constraint in spread)


@pytest.mark.parametrize("target", TARGETS)
def test_an_autoscaler_owns_its_replica_count_alone(target):
    documents = render(target)
    scalers = of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
    assert len(set(targets)) == len(targets)
    deployments = {deployment["metadata"]["name"]: deployment for deployment in of_kind(documents, "Deployment")}
    for name in targets:
        assert "replicas" not in deployments[name]["spec"]
    for scaler in scalers:
        spec = scaler["spec"]
        bounds = (spec["minReplicas"], spec["maxReplicas"]) if "minReplicas" in spec else (spec["minReplicaCount"], spec["maxReplicaCount"])
        assert bounds == (3, 20)


@pytest.mark.parametrize("target", TARGETS)
def test_everything_lies_in_one_namespace(target):
    namespace = load(f"{target}/kustomization.yaml")[0]["namespace"]
    assert namespace == ("logging" if target == "addons/logs" else "hadal")
    for document in render(target):
        if document["kind"] == "Namespace":
            assert document["metadata"]["name"] == namespace
        else:
            assert document["metadata"]["namespace"] == namespace, document["metadata"]["name"]


def test_references_lead_to_objects_that_exist():
    for target in TARGETS:
        documents = render(target)
        names = {(d["kind"], d["metadata"]["name"]) for d in documents}
        for _, _, spec in pods(documents):
            for volume in spec.get("volumes", []):
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in names
                if "persistentVolumeClaim" in volume:
                    assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
            if "serviceAccountName" in spec:
                assert ("ServiceAccount", spec["serviceAccountName"]) in names


def test_only_clients_and_monitoring_get_in_and_nothing_gets_out():
    policy = load("base/networkpolicy.yaml")[0]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "egress" not in policy
    assert policy["ingress"][0]["from"] and len(policy["ingress"]) == 1


def test_mps_leaves_the_shared_memory_of_the_daemon_alone():
    pod = next(pods(render("overlays/mps")))[2]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu.shared"] == 1 and "nvidia.com/gpu" not in container["resources"]["limits"]
    assert "/dev/shm" not in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "HADAL_MEMORY_BUDGET" in {variable["name"] for variable in container["env"]}
    assert pod["affinity"]["podAntiAffinity"]
    assert pod["securityContext"]["runAsUser"] == 65532, "the daemon serves one user at a time"


def test_tls_is_read_from_a_secret_that_can_be_renewed():
    documents = render("overlays/tls")
    pod = next(pods(documents))[2]
    container = pod["containers"][0]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "tls"]
    assert mount["readOnly"] and "subPath" not in mount, "a subPath is never updated"
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tls"]
    assert volume["secret"]["defaultMode"] == 0o440 and pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    files = {variable["name"]: variable["value"] for variable in container["env"] if variable["name"].startswith("HADAL_TLS_")}
    assert files == {"HADAL_TLS_CERT": mount["mountPath"] + "/tls.crt", "HADAL_TLS_KEY": mount["mountPath"] + "/tls.key"}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS" and container[probe]["httpGet"]["path"].startswith("/health/")
    for service in of_kind(documents, "Service"):
        assert {port["appProtocol"] for port in service["spec"]["ports"]} == {"https"}


@pytest.mark.parametrize("target", ["overlays/edge-tls", "overlays/edge-nginx-tls"])
def test_the_edge_reads_its_certificate_and_the_authorities_of_the_replicas_from_secrets(target):
    documents = render(target)
    found = {name: spec for name, _, spec in pods(documents)}
    edge, (container,) = found["Deployment hadal-edge"], found["Deployment hadal-edge"]["containers"]
    volumes = {volume["name"]: volume["secret"] for volume in edge["volumes"] if "secret" in volume}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"] if mount["name"] in volumes}
    configuration = "\n".join([variable["value"] for variable in container.get("env", [])] +
                              [text for config in of_kind(documents, "ConfigMap") if config["metadata"]["name"].startswith("hadal-edge-")
                               for text in config["data"].values()])
    read = set(re.findall(r"/etc/hadal-edge-\w+", configuration))
    assert read == mounts.keys() == {"/etc/hadal-edge-tls", "/etc/hadal-edge-ca"}
    assert mounts["/etc/hadal-edge-tls"]["secretName"] == "hadal-edge-tls" and "items" not in mounts["/etc/hadal-edge-tls"]
    (replica_secret,) = [volume["secret"]["secretName"] for volume in found["Deployment hadal"]["volumes"] if volume["name"] == "tls"]
    authorities = mounts["/etc/hadal-edge-ca"]
    assert authorities["secretName"] == replica_secret
    assert authorities["items"] == [{"key": "ca.crt", "path": "ca.crt"}], "the key of the replicas is none of its business"
    assert {secret["defaultMode"] for secret in mounts.values()} == {0o440}
    assert edge["securityContext"]["fsGroup"] == edge["securityContext"]["runAsUser"] > 0
    # The name that the replicas have to prove is that of their Service.
    (service,) = [d["metadata"] for d in of_kind(documents, "Service") if d["metadata"]["name"] == "hadal"]
    assert set(re.findall(r"\bhadal\.hadal\.svc\b(?!\.)", configuration)) == {f"{service['name']}.{service['namespace']}.svc"}
    (port,) = container["ports"]
    assert (port["name"], port["containerPort"]) == ("https", 8443) and re.search(r"listen 8443 ssl|^:8443$", configuration, re.MULTILINE)
    assert {container[probe]["httpGet"]["scheme"] for probe in ("livenessProbe", "readinessProbe")} == {"HTTPS"}
    (entry,) = [d["spec"]["ports"] for d in of_kind(documents, "Service") if d["metadata"]["name"] == "hadal-edge"]
    assert entry == [{"name": "https", "port": 443, "targetPort": "https", "appProtocol": "https"}]


def test_a_group_of_hosts_agrees_with_itself():
    documents = render("overlays/multi-node")
    (group,) = of_kind(documents, "LeaderWorkerSet")
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["restartPolicy"] == "RecreateGroupOnPodRestart", "a server that loses a worker ends, and a new one needs all"
    assert group["metadata"]["name"] not in {service["metadata"]["name"] for service in of_kind(documents, "Service")}, "the controller makes a Service of that name"
    found = {name.split()[-1]: (labels, spec) for name, labels, spec in pods(documents)}
    (server,), (worker,) = found["leader"][1]["containers"], found["worker"][1]["containers"]
    ports = {port["name"]: port["containerPort"] for port in worker["ports"]}
    port = ports["pipeline"]
    (workers,) = [argument.split("=", 1)[1] for argument in server["args"] if argument.startswith("--pipeline-workers=")]
    assert workers.split(",") == [f"$(POD_NAME)-{i}.{group['metadata']['name']}.$(POD_NAMESPACE).svc:{port}" for i in range(1, template["size"])]
    assert {f"--port={port}", f"--http-port={ports['http']}"} <= set(worker["args"])
    assert {probe: worker[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")} == {
        "livenessProbe": {"path": "/health/live", "port": "http"}, "readinessProbe": {"path": "/health/ready", "port": "http"}}
    keys = [next(argument for argument in container["args"] if argument.startswith("--pipeline-key-file=")) for container in (server, worker)]
    assert keys[0] == keys[1]
    for _, spec in found.values():
        assert "hadal-pipeline-key" in {volume.get("secret", {}).get("secretName") for volume in spec["volumes"]}
    # Both get SIGTERM at once: the worker serves until the server has drained.
    assert seconds(worker["args"][-2].split("=")[1]) >= drain_seconds("overlays/multi-node", server)
    policies = {document["metadata"]["name"]: document["spec"] for document in of_kind(documents, "NetworkPolicy")}
    assert policies["hadal"]["egress"][0]["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "hadal-worker"}}}]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "hadal"}}} in policies["hadal-worker"]["ingress"][0]["from"]
    services = [selector_of(service) for service in of_kind(documents, "Service")]
    assert not any(selector.items() <= found["worker"][0].items() for selector in services), "workers answer no requests"
