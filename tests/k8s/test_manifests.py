# SPDX-License-Identifier: Apache-2.0
"""The manifests agree with the server about flags, ports, times and metrics, and with the programs that read their configuration."""
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from rendering import K8S, ROOT, TARGETS, exported_metrics, load, of_kind, pods, render, seconds

BINARY = os.environ.get("HADAL_BINARY", "")


@pytest.fixture
def pod():
    return load("base/deployment.yaml")[0]["spec"]["template"]["spec"]


@pytest.fixture
def settings():
    return tomllib.loads((K8S / "base/hadal.toml").read_text(encoding="utf-8"))


def test_every_folder_is_documented():
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    for target in [*TARGETS, "components/gpu", "components/redis-batches", "components/tls"]:
        assert f"`k8s/{target}`" in page, target


def test_probes_ask_the_three_health_routes(pod, settings):
    container = pod["containers"][0]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health/startup", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["serve"] == settings["port"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800


def test_pod_has_no_variables_of_services(pod):
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service named hadal would set HADAL_PORT, which is a flag"


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


def test_keda_scales_as_the_autoscaler_does():
    hpa = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in load("overlays/hpa/hpa.yaml")[0]["spec"]["metrics"]}
    spec = load("overlays/keda/scaledobject.yaml")[0]["spec"]
    keda = {re.search(r"hadal_\w+", trigger["metadata"]["query"]).group(): trigger["metadata"]["threshold"] for trigger in spec["triggers"]}
    assert keda == {name: value.replace("800m", "0.8") for name, value in hpa.items()}
    assert all(trigger["metadata"]["ignoreNullValues"] == "false" for trigger in spec["triggers"])
    assert spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == load("overlays/hpa/hpa.yaml")[0]["spec"]["behavior"]


def test_queue_target_leaves_room_to_grow():
    """A target near the queue's bound would let the autoscaler add few pods at a time, because the signal saturates."""
    source = (ROOT / "server/admission/admission_options.h").read_text(encoding="utf-8")
    limit = int(re.search(r"max_queue_requests = (\d+)", source).group(1))
    metrics = {m["pods"]["metric"]["name"]: m["pods"]["target"] for m in load("overlays/hpa/hpa.yaml")[0]["spec"]["metrics"]}
    assert int(metrics["hadal_requests_waiting"]["averageValue"]) <= limit / 8


def picker_config(name):
    return yaml.safe_load((K8S / "overlays/gateway" / name).read_text(encoding="utf-8"))


def test_precise_picker_finds_what_the_pods_publish():
    plugins = {plugin["type"]: plugin.get("parameters", {}) for plugin in picker_config("epp-config-precise.yaml")["plugins"]}
    events = plugins["precise-prefix-cache-producer"]
    (container,) = next(pods(render("overlays/gateway")))[2]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    discovery = events["kvEventsConfig"]["podDiscoveryConfig"]
    assert (discovery["socketPort"], discovery["replaySocketPort"]) == (ports["kv-events"], ports["kv-replay"])
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["HADAL_KV_EVENTS"] == f"tcp://*:{ports['kv-events']}"
    assert variables["HADAL_KV_EVENTS_REPLAY"] == f"tcp://*:{ports['kv-replay']}"
    label, value = discovery["podLabelSelector"].split("=")
    assert next(pods(render("overlays/gateway")))[1][label] == value
    configuration = tomllib.loads((K8S / "base/hadal.toml").read_text(encoding="utf-8"))
    documented = re.search(r"^\| `--kv-block-tokens` \| (\d+) \|", (ROOT / "docs/configuration.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert events["tokenProcessorConfig"]["blockSizeTokens"] == int(configuration.get("kv-block-tokens", documented.group(1)))
    assert plugins["token-producer"]["modelName"] == configuration["model"].rsplit("/", 1)[1]


@pytest.mark.parametrize("name", ["epp-config.yaml", "epp-config-precise.yaml"])
def test_endpoint_picker_reads_metrics_that_are_exported(name):
    config = picker_config(name)
    plugins = {plugin["type"]: plugin.get("parameters", {}) for plugin in config["plugins"]}
    parameters = plugins["core-metrics-extractor"]
    labels = next(pods(render("overlays/gateway")))[1]
    assert parameters["defaultEngine"] == labels["llm-d.ai/engine-type"]
    (engine,) = parameters["engineConfigs"]
    assert engine["name"] == parameters["defaultEngine"]
    metrics = [value for key, value in engine.items() if key.endswith("Spec") and value]
    assert len(metrics) == 4 and set(metrics) <= exported_metrics()
    for profile in config["schedulingProfiles"]:
        assert {plugin["pluginRef"] for plugin in profile["plugins"]} <= plugins.keys()


def test_replicas_find_and_may_reach_the_redis_of_their_response_cache():
    documents = render("overlays/redis")
    found = {name: (labels, spec) for name, labels, spec in pods(documents)}
    environment = {variable["name"]: variable["value"] for variable in found["Deployment hadal"][1]["containers"][0]["env"]}
    (service,) = [document for document in of_kind(documents, "Service") if document["metadata"]["name"] == "hadal-redis"]
    assert environment["HADAL_RESPONSE_CACHE"] == f"memory,redis://hadal-redis:{service['spec']['ports'][0]['port']}"
    (container,) = found["Deployment hadal-redis"][1]["containers"]
    assert "--maxmemory-policy allkeys-lfu" in container["args"][0]
    policies = {document["metadata"]["name"]: document["spec"] for document in of_kind(documents, "NetworkPolicy")}
    (peer,) = policies["hadal"]["egress"][0]["to"]
    assert peer["podSelector"]["matchLabels"].items() <= found["Deployment hadal-redis"][0].items()
    (source,) = policies["hadal-redis"]["ingress"][0]["from"]
    assert source["podSelector"]["matchLabels"].items() <= found["Deployment hadal"][0].items()


def expect_batches_in_a_redis_of_their_own(documents):
    found = {name: (labels, spec) for name, labels, spec in pods(documents)}
    replica, (redis_labels, redis_pod) = found["Deployment hadal"], found["StatefulSet hadal-batches-redis"]
    (server,) = replica[1]["containers"]
    environment = {variable["name"]: variable["value"] for variable in server["env"] if "value" in variable}
    services = {document["metadata"]["name"]: document["spec"] for document in of_kind(documents, "Service")}
    assert environment["HADAL_BATCH_STORE"] == f"redis://hadal-batches-redis:{services['hadal-batches-redis']['ports'][0]['port']}"
    password = environment["HADAL_BATCH_REDIS_PASSWORD_FILE"]
    (mount,) = [mount for mount in server["volumeMounts"] if password.startswith(mount["mountPath"] + "/")]
    secrets = [{volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume} for spec in (replica[1], redis_pod)]
    assert secrets[0][mount["name"]] == secrets[1]["password"] == "hadal-batches-redis"

    (stateful,) = of_kind(documents, "StatefulSet")
    assert stateful["spec"]["replicas"] == 1 and stateful["spec"]["serviceName"] in services
    assert set(stateful["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    (container,) = redis_pod["containers"]
    (command,) = container["args"]
    for flag in ("--maxmemory-policy noeviction", "--appendonly yes", "--appendfsync everysec"):
        assert flag in command
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts[re.search(r"--dir (\S+)", command).group(1)] == claim["metadata"]["name"]
    memory = int(re.search(r"--maxmemory (\d+)gb", command).group(1))
    assert int(container["resources"]["limits"]["memory"].removesuffix("Gi")) >= 1.5 * memory, "docs/operations.md: half as much again"
    assert int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) >= 3 * memory

    policies = {document["metadata"]["name"]: document["spec"] for document in of_kind(documents, "NetworkPolicy")}
    out = policies["hadal-to-batches-redis"]
    assert out["podSelector"]["matchLabels"].items() <= replica[0].items()
    assert out["egress"][0]["to"][0]["podSelector"]["matchLabels"].items() <= redis_labels.items()
    (source,) = policies["hadal-batches-redis"]["ingress"][0]["from"]
    assert source["podSelector"]["matchLabels"].items() <= replica[0].items()
    return found, policies


def test_replicas_share_batches_in_a_redis_that_forgets_nothing():
    expect_batches_in_a_redis_of_their_own(render("overlays/batches"))


def test_response_cache_and_batches_have_a_redis_each(tmp_path):
    parts = {"resources": ["overlays/redis"], "components": ["components/redis-batches"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "hadal",
         **{key: [os.path.relpath(K8S / folder, tmp_path) for folder in folders] for key, folders in parts.items()}}), encoding="utf-8")
    found, policies = expect_batches_in_a_redis_of_their_own(render(tmp_path))
    environment = {variable["name"]: variable.get("value") for variable in found["Deployment hadal"][1]["containers"][0]["env"]}
    assert environment["HADAL_RESPONSE_CACHE"].endswith("redis://hadal-redis:6379")
    cache = found["Deployment hadal-redis"][0]
    assert policies["hadal"]["egress"][0]["to"][0]["podSelector"]["matchLabels"].items() <= cache.items()
    assert not policies["hadal-to-batches-redis"]["egress"][0]["to"][0]["podSelector"]["matchLabels"].items() <= cache.items()


def test_prometheus_checks_the_certificate_that_the_pods_have():
    (monitor,) = [monitor for monitor in of_kind(render("addons/monitoring-tls"), "PodMonitor") if monitor["metadata"]["name"] == "hadal"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    documents = render("overlays/tls")
    volumes = {volume["name"]: volume for volume in next(pods(documents))[2]["volumes"]}
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == volumes["tls"]["secret"]["secretName"]
    service = of_kind(documents, "Service")[0]["metadata"]
    assert endpoint["tlsConfig"]["serverName"] == f"{service['name']}.{service['namespace']}.svc"
    job = yaml.safe_load((ROOT / "prometheus/kubernetes.yml").read_text(encoding="utf-8"))["scrape_configs"][0]
    assert job["tls_config"]["server_name"] == endpoint["tlsConfig"]["serverName"]
    annotations = of_kind(documents, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]
    (scheme,) = [rule for rule in job["relabel_configs"] if rule.get("target_label") == "__scheme__"]
    assert re.fullmatch(scheme["regex"], annotations["prometheus.io/scheme"])


def test_prometheus_rule_holds_the_rules():
    sys.path.insert(0, str(ROOT / "scripts/lib"))
    from prometheus_rule import prometheus_rule

    written = (ROOT / "prometheus/operator/prometheus-rule.yaml").read_text(encoding="utf-8")
    assert written == prometheus_rule(ROOT / "prometheus"), "run scripts/lib/prometheus_rule.py"
    groups = [group for name in ("recording.yml", "alerts.yml")
              for group in yaml.safe_load((ROOT / "prometheus" / name).read_text(encoding="utf-8"))["groups"]]
    assert yaml.safe_load(written)["spec"]["groups"] == groups


def server_commands():
    """(where, arguments, variables) of each hadal container, with the base's configuration in place of the mounted one."""
    for target in TARGETS:
        for name, _, spec in pods(render(target)):
            for container in spec["containers"]:
                if container["args"][0] in ("serve", "worker"):
                    arguments = [argument.replace("/etc/hadal/hadal.toml", str(K8S / "base/hadal.toml")).replace("{{.Name}}", "deepseek")
                                 for argument in container["args"]]
                    yield f"{target}: {name}", arguments, {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}


@pytest.mark.skipif(not os.access(BINARY, os.X_OK), reason="the server is not built (HADAL_BINARY)")
def test_server_accepts_flags_variables_and_configuration():
    commands = list(server_commands())
    assert len(commands) >= 6
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HADAL_")}
    for arguments, environment in {(tuple(a), tuple(e.items())) for _, a, e in commands}:
        result = subprocess.run([BINARY, *arguments, "--print-config"], capture_output=True, text=True, timeout=30,
                                stdin=subprocess.DEVNULL, env={**clean, **dict(environment)})
        assert result.returncode == 0, result.stderr
        assert "drain-timeout" in result.stdout


def test_edge_configuration_is_valid():
    binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if binary is None:
        pytest.skip("haproxy is not installed")
    (container,) = next(spec for name, _, spec in pods(render("overlays/edge")) if name == "Deployment hadal-edge")["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    environment["HADAL_EDGE"] = str(K8S / "overlays/edge")
    result = subprocess.run([binary, "-c", "-f", K8S / "overlays/edge/haproxy.cfg"], capture_output=True, text=True, timeout=60,
                            env={**os.environ, **environment})
    assert result.returncode == 0, result.stdout + result.stderr


def test_log_agents_follow_the_pods():
    configuration = yaml.safe_load((K8S / "addons/logs/fluent-bit.yaml").read_text(encoding="utf-8"))
    fluent_bit = configuration["pipeline"]
    filebeat = yaml.safe_load((K8S / "addons/logs/filebeat.yml").read_text(encoding="utf-8"))
    namespace, container = load("base/kustomization.yaml")[0]["namespace"], next(pods(render("base")))[2]["containers"][0]["name"]
    path = f"/var/log/containers/*_{namespace}_{container}-*.log"
    assert [fluent_bit["inputs"][0]["path"]] == filebeat["filebeat.inputs"][0]["paths"] == [path]
    assert fluent_bit["outputs"][0]["topics"] == filebeat["output.kafka"]["topic"]
    assert fluent_bit["outputs"][0]["match"] == fluent_bit["inputs"][0]["tag"]
    used = {step["parser"] for step in fluent_bit["filters"] if step["name"] == "parser"}
    assert used == {parser["name"] for parser in configuration["parsers"]}, "Fluent Bit knows no parser by itself"


def test_shutdown_of_kserve_is_short(settings):
    """KServe's components give a pod a minute or so; the base gives it longer."""
    kserve = next(argument for _, arguments, _ in server_commands() for argument in arguments
                  if argument.startswith("--drain-timeout="))
    assert seconds(kserve.split("=")[1]) < 60 < seconds(settings["drain-timeout"])
