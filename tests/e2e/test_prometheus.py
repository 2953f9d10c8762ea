# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes two real servers, of which one is full: the rules of prometheus/ and the expressions of the autoscaler give
what they should. Servers in a storm, and the dashboard: test_prometheus_storm.py."""

import contextlib
import http.client
import json
import math
import shutil
import subprocess
import threading

import pytest
import yaml

from dashboard import dashboard_queries
from hadal_process import HadalProcess
from ports import free_port
from prometheus_process import ROOT, Prometheus
from tls_files import Authority
from worker_process import WorkerProcess

WAITING, REFUSED, SERVED, PASSED_ON = 6, 12, 8, 2
SMALL = ("--load-format=null:50ms", "--max-batch-size=1", f"--max-queue-requests={WAITING}", "--wait-limits=none")
# One request runs and six wait, for a quarter of an hour: longer than the tests take.
FULL = ("--load-format=null:500ms", *SMALL[1:])
ENDLESS = 2000  # tokens


def start_request(server, tokens, headers=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    body = {"model": "hadal-demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
    return connection


def ask(server, tokens, headers=None, **fields):
    connection = start_request(server, tokens, headers, **fields)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@contextlib.contextmanager
def filled(server):
    """One request runs and WAITING wait, until the block ends."""
    connections = [start_request(server, ENDLESS)]
    server.wait_metric("hadal_requests_running", 1)
    connections += [start_request(server, ENDLESS) for _ in range(WAITING)]
    server.wait_metric("hadal_requests_waiting", WAITING)
    yield
    for connection in connections:
        connection.close()
    server.wait_idle()


def refused_and_served(full, idle, refused, served):
    assert [ask(full, 1) for _ in range(refused)] == [503] * refused
    assert [ask(idle, 3, prompt="the same " * 200) for _ in range(served)] == [200] * served


def passed_on_and_kept(full, idle):
    """The full server lets the idle one answer, which keeps an answer in both levels of its cache and gives it again."""
    assert [ask(full, 2, {"x-hadal-allow-fallback": "1"}) for _ in range(PASSED_ON)] == [200] * PASSED_ON
    assert [ask(idle, 2, {"x-hadal-cache": "use"}, temperature=0) for _ in range(2)] == [200, 200]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """(Prometheus, full server, idle server) while the first is full, has refused and passed on, and the second has served."""
    folder = tmp_path_factory.mktemp("prometheus")
    with HadalProcess(*SMALL, f"--response-cache=memory,sqlite:{folder / 'answers.db'}") as idle, \
            HadalProcess(*FULL, f"--fallback-upstream={idle.url},name=idle", "--fallback-opt-in", "--fallback-connect-timeout=20s",
                         "--fallback-first-byte-timeout=30s") as full, \
            Prometheus(folder, free_port(), {"full": full.target, "idle": idle.target}) as prometheus:
        # A counter's increase is what Prometheus saw of it: each has to be there before it counts.
        prometheus.wait("count(count_over_time(hadal_ready[1m]) > 1)", [2.0].__eq__)
        with filled(full):
            refused_and_served(full, idle, 1, 1)
            prometheus.wait('count by (outcome) (count_over_time(hadal_requests_total{http_code!=""}[1m]) > 1)',
                            {"shed": 1, "ok": 1}.__eq__, "outcome")
            refused_and_served(full, idle, REFUSED, SERVED)
            passed_on_and_kept(full, idle)
            prometheus.wait("sum by (outcome) (hadal_requests_total)",
                            lambda seen: (seen.get("shed"), seen.get("ok")) == (REFUSED + 1, SERVED + 3 + 2 * PASSED_ON), "outcome")
            yield prometheus, full, idle


def check_metrics(*texts):
    """Fails on what promtool dislikes about scrapes. Skips the rest of the test without promtool."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    for text in texts:
        result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr


def test_scrape_has_no_lint():
    with HadalProcess(*SMALL) as server:
        assert ask(server, 3) == 200
        text = server.get("/metrics")[1]
    check_metrics(text)


def test_scrape_of_a_server_with_more_parts_has_no_lint(start_server, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.sign("server")
    text = start_server("--load-format=null", f"--tls-cert={certificate}", f"--tls-key={key}", f"--batch-store={tmp_path / 'batches'}",
                        "--fallback-upstream=http://127.0.0.1:1,name=elsewhere", f"--response-cache=memory,sqlite:{tmp_path / 'answers.db'}",
                        tls=authority.context()).get("/metrics")[1]
    assert 'hadal_upstream_requests_total{target="elsewhere",outcome="ok"} 0' in text
    check_metrics(text)


def test_pods_under_tls_are_scraped_and_their_certificate_is_checked(start_server, tmp_path):
    component = yaml.safe_load((ROOT / "k8s/components/tls/kustomization.yaml").read_text(encoding="utf-8"))
    pod = yaml.safe_load(component["patches"][0]["patch"])["spec"]["template"]["metadata"]
    authority = Authority(tmp_path)
    pods = {}
    for name, names in (("right", ["hadal.hadal.svc"]), ("wrong", ["other.hadal.svc"])):
        certificate, key = authority.sign(name, names=names)
        pods[name] = start_server(f"--tls-cert={certificate}", f"--tls-key={key}", tls=authority.context())
    targets = {name: server.target for name, server in pods.items()}
    with Prometheus(tmp_path, free_port(), targets, pod["annotations"], authority.certificate) as prometheus:
        prometheus.wait('up{job="hadal"}', {"right": 1, "wrong": 0}.__eq__, "pod")
        assert pods["right"].get("/version")[0] == 200  # Prometheus keeps its connection: this is another handshake
        prometheus.wait('sum(rate(hadal_tls_handshakes_total{namespace="hadal"}[5m]))', lambda seen: seen and seen[0] > 0)
        answers = {}
        for _, panel, expression in dashboard_queries("TLS"):
            answers.setdefault(panel, []).append(prometheus.wait(expression, bool))
        assert len(answers) == 3 and len(answers["TLS handshakes"]) == 3
        assert answers["Certificates expire in"] == [[pytest.approx(20 * 86400, abs=3600)]]  # tls_files.py
        (wrong,) = [target for target in prometheus.api("targets")["activeTargets"] if target["labels"]["pod"] == "wrong"]
        assert wrong["scrapeUrl"].startswith("https://") and "not hadal.hadal.svc" in wrong["lastError"]


def test_pods_are_targets_with_the_labels_of_the_adapter(fleet):
    prometheus, full, idle = fleet
    prometheus.wait('up{job="hadal"}', {"full": 1, "idle": 1}.__eq__, "pod")
    targets = {target["labels"]["pod"]: target for target in prometheus.api("targets")["activeTargets"]}
    assert {pod: target["labels"]["instance"] for pod, target in targets.items()} == {"full": full.target, "idle": idle.target}
    assert all(target["labels"]["namespace"] == "hadal" and target["health"] == "up" for target in targets.values())


def test_recording_rules_give_what_happened(fleet):
    prometheus, _, _ = fleet
    finished = REFUSED + SERVED + 2 * PASSED_ON + 2  # what was passed on counts twice, once on each server
    attempts = finished + WAITING + 3
    for name, value in {
            "namespace:hadal_requests_failed:ratio_rate5m": REFUSED / finished,
            "namespace:hadal_requests_error:ratio_rate5m": 0,
            "namespace:hadal_admission_rejections:ratio_rate5m": (REFUSED + PASSED_ON + 1) / attempts,
            "namespace:hadal_requests_waiting:avg": WAITING / 2,
            "namespace:hadal_ready:sum": 2,
            "namespace:hadal_response_cache_hits:ratio_rate30m": 1 / 2,
            "namespace:hadal_requests_passed_on:ratio_rate5m": PASSED_ON / finished,
    }.items():
        # Rates are extrapolated to the ends of their window, each a little differently.
        prometheus.wait(name, lambda seen, value=value: len(seen) == 1 and math.isclose(seen[0], value, abs_tol=0.05))
    usage = prometheus.wait("namespace:hadal_kv_cache_usage_ratio:avg", lambda seen: len(seen) == 1 and seen[0] > 0)
    assert usage[0] <= 0.5  # the other server holds nothing
    first = prometheus.query("namespace_class:hadal_time_to_first_token_seconds:p99_rate5m", "class")
    assert first["normal"] > 0
    assert prometheus.wait("namespace:hadal_generation_tokens:rate5m", lambda seen: len(seen) == 1 and seen[0] > 0)
    assert prometheus.query("namespace_target:hadal_upstream_first_byte_seconds:p90_rate5m", "target")["idle"] > 0


def test_every_rule_evaluates(fleet):
    prometheus, _, _ = fleet
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 30
    for rule in rules:
        assert rule["health"] in ("ok", "unknown") and not rule.get("lastError"), rule
    # Those that are right wait for their time; none fires.
    prometheus.wait('ALERTS{alertstate="pending"}', lambda seen: {"HighErrorRate", "HadalRefusing"} <= seen.keys(), "alertname")
    assert not prometheus.query('ALERTS{alertstate="firing"}')


def adapter(prometheus, metric, pods):
    """What prometheus-adapter gives the autoscaler for the pods, by the rule of k8s/overlays/hpa: {pod: value}."""
    config = yaml.safe_load((ROOT / "k8s/overlays/hpa/adapter-rule.yaml").read_text(encoding="utf-8"))
    rule = yaml.safe_load(config["data"]["rules.yaml"])["rules"][0]
    series = prometheus.api("series", **{"match[]": rule["seriesQuery"]})
    assert metric in {entry["__name__"] for entry in series}
    names = {kubernetes["resource"]: label for label, kubernetes in rule["resources"]["overrides"].items()}
    query = rule["metricsQuery"].replace("<<.Series>>", metric).replace("<<.GroupBy>>", names["pod"])
    query = query.replace("<<.LabelMatchers>>", f'{names["namespace"]}="hadal",{names["pod"]}=~"{"|".join(pods)}"')
    return prometheus.query(query, names["pod"])


def desired_replicas(values, target):
    """The HorizontalPodAutoscaler's algorithm for an AverageValue; within a tenth it does nothing."""
    ratio = sum(values) / len(values) / target
    return len(values) if abs(ratio - 1) <= 0.1 else math.ceil(len(values) * ratio)


def test_autoscaler_sees_the_waiting_requests(fleet):
    prometheus, _, _ = fleet
    assert adapter(prometheus, "hadal_requests_waiting", ["full", "idle"]) == {"full": WAITING, "idle": 0}
    usage = adapter(prometheus, "hadal_kv_cache_usage_ratio", ["full", "idle"])
    assert 0 < usage["full"] <= 1 and set(usage) == {"full", "idle"}
    assert set(adapter(prometheus, "hadal_offered_load_ratio", ["full", "idle"])) == {"full", "idle"}
    hpa = yaml.safe_load((ROOT / "k8s/overlays/hpa/hpa.yaml").read_text(encoding="utf-8"))
    targets = {metric["pods"]["metric"]["name"]: float(metric["pods"]["target"]["averageValue"].replace("800m", "0.8"))
               for metric in hpa["spec"]["metrics"]}
    assert desired_replicas([WAITING, 0], targets["hadal_requests_waiting"]) == 1  # 3 of 16: the minimum will hold it
    assert desired_replicas([100, 60], targets["hadal_requests_waiting"]) == 10


def test_keda_sees_the_waiting_requests(fleet):
    """Each query has one value, which KEDA divides by the number of replicas."""
    prometheus, _, _ = fleet
    scaled = yaml.safe_load((ROOT / "k8s/overlays/keda/scaledobject.yaml").read_text(encoding="utf-8"))
    values = [prometheus.query(trigger["metadata"]["query"]) for trigger in scaled["spec"]["triggers"]]
    assert values[0] == [WAITING]
    assert len(values[1]) == 1 and 0 < values[1][0] <= 2


def test_the_queries_about_several_hosts_have_answers(tmp_path):
    """A server with two workers under load, one of them not scraped: the dashboard's row, and what the alerts see."""
    key = tmp_path / "key"
    key.write_text("a secret of all hosts of the test\n")
    with WorkerProcess(key, "--http-port=0") as first, WorkerProcess(key, "--http-port=0") as second, \
            HadalProcess("--threads=1", "--memory-budget=256MiB", f"--pipeline-workers={first.address},{second.address}",
                         f"--pipeline-key-file={key}") as server, \
            Prometheus(tmp_path, free_port(), {"server": server.target}, workers={"first": f"127.0.0.1:{first.http_port}"}) as prometheus, \
            contextlib.ExitStack() as stack:
        stop = threading.Event()

        def ask_on():
            while not stop.is_set():
                assert ask(server, 200) == 200

        asking = threading.Thread(target=ask_on)
        asking.start()
        stack.callback(asking.join)
        stack.callback(stop.set)
        queries = dashboard_queries("Several hosts for one model")
        assert len(queries) >= 9
        for _, _, expression in queries:
            prometheus.wait(expression, lambda seen: seen and all(value >= 0 and not math.isnan(value) for value in seen))
        # One host computes at a time: what they compute and the ways between them is the whole time.
        busy = prometheus.wait("stage:hadal_pipeline_busy:ratio_rate5m", lambda seen: len(seen) == 3, "stage")
        assert set(busy) == {"server", first.address, second.address}
        pipeline = [host.get("/metrics")[1] for host in (server, first)]
        assert all("hadal_pipeline_" in text for text in pipeline)
        assert 0 < sum(busy.values()) <= 1.02
        prometheus.wait('ALERTS{alertname="HadalWorkersAbsent"}', lambda seen: seen == [1])
        assert prometheus.query('ALERTS{alertname=~"HadalWorkerDown|HadalWorkerUnused"}') == []
    check_metrics(*pipeline)
