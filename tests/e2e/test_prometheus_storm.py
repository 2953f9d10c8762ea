# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes two real servers that are asked for several times what they can serve. What the rules, the autoscalers and
the dashboard then say is compared with what the clients of that storm have seen, or with what follows from the servers' flags."""

import contextlib
import math
import re
import socket
import time
import types

import pytest
import yaml

from dashboard import dashboard_queries
from dcgm_exporter import dcgm_exporter
from hadal_process import HadalProcess
from load_generator import LoadGenerator
from ports import free_port
from prometheus_process import ROOT, Prometheus
from test_dummy_families import small_checkpoint
from test_emulated_gpu import BINARY as EMULATED, BUILD as EMULATED_BUILD, FLAGS as EMULATED_FLAGS
from test_metrics import documented
from test_prometheus import adapter, desired_replicas

STEP_S, BATCH, TOKENS = 0.05, 4, 8
WAITING = {"a": 24, "b": 40}  # the queues' limits
REFUSED_CLIENTS, PAUSE_S = 10, 0.2  # more clients than a server has places, and how long they wait before they come back
PASSED_ON = 2
STORM_S = 12
# The storm goes on until there were so many, however slow the machine: one in a hundred is followed, and none would be hardly ever.
REFUSALS = 800
HALF_LIFE_S = 10  # of hadal_offered_load_ratio
# A batch's places times its answers in a second: each step gives a token to each.
SERVED_PER_SECOND = BATCH / (TOKENS * STEP_S)


def flags_of(name):
    return (f"--load-format=null:{int(1000 * STEP_S)}ms", f"--max-batch-size={BATCH}", f"--max-queue-requests={WAITING[name]}",
            "--wait-limits=none", "--memory-budget=64MiB")


def begin_storm(load, a, b):
    """First on one server, which passes some requests on while the other is idle; then on both."""
    assert load.ask("a").status == load.ask("b").status == 200
    assert [load.ask("b", {"x-hadal-cache": "use"}, temperature=0, prompt="the same").status for _ in range(2)] == [200, 200]
    assert load.ask("b", response_format={"type": "json_object"}, ignore_eos=False).status == 200
    load.begin("a", BATCH + WAITING["a"] + REFUSED_CLIENTS, PAUSE_S)
    a.wait_metric("hadal_requests_waiting", WAITING["a"])
    while sum(seen.passed_on for seen in load.of("a")) < PASSED_ON:
        load.ask("a", {"x-hadal-allow-fallback": "1"})
    load.begin("b", BATCH + WAITING["b"] + REFUSED_CLIENTS, PAUSE_S)
    b.wait_metric("hadal_requests_waiting", WAITING["b"])


def shows_full(seen):
    """The last scrape of each server has met a full queue and a full batch, and not the moment between an answer's end and the next one's begin."""
    waiting, usage = seen.adapter["hadal_requests_waiting"], set(seen.adapter["hadal_kv_cache_usage_ratio"].values())
    return waiting == WAITING and [sum(waiting.values())] == seen.keda[0][0] == [2 * one for one in seen.waiting] and len(usage) == 1 and {*seen.usage} == usage


def look(prometheus, load, begun):
    """What is asked while the storm goes on."""
    seen = look_at_levels(prometheus, load, begun)
    deadline = time.monotonic() + 60
    while not shows_full(seen) and time.monotonic() < deadline:
        time.sleep(0.2)
        seen = look_at_levels(prometheus, load, begun)
    seen.dashboard = [(row, panel, expression, prometheus.query(expression)) for row, panel, expression in dashboard_queries()]
    return seen


def look_at_levels(prometheus, load, begun):
    now = time.monotonic()
    scaled = yaml.safe_load((ROOT / "k8s/overlays/keda/scaledobject.yaml").read_text(encoding="utf-8"))
    return types.SimpleNamespace(
        offered=prometheus.query("hadal_offered_load_ratio", "pod"),  # before the adapter's maximum, which may have a later scrape
        adapter={metric: adapter(prometheus, metric, ["a", "b"])
                 for metric in ("hadal_requests_waiting", "hadal_kv_cache_usage_ratio", "hadal_offered_load_ratio")},
        load={name: load.arrivals_per_second(name, now, HALF_LIFE_S) / load.served_per_second(name, begun, now) for name in WAITING},
        keda=[(prometheus.query(trigger["metadata"]["query"]), float(trigger["metadata"]["threshold"]))
              for trigger in scaled["spec"]["triggers"]],
        waiting=prometheus.query("namespace:hadal_requests_waiting:avg"),
        usage=prometheus.query("namespace:hadal_kv_cache_usage_ratio:avg"),
        ready=prometheus.query("namespace:hadal_ready:sum"))


@pytest.fixture(scope="module")
def storm(tmp_path_factory):
    """The storm is over: `prometheus`, `load` with what its clients saw, `under_load` with what Prometheus said before its end, and
    `blocks`, those of a server's KV cache."""
    folder = tmp_path_factory.mktemp("storm")
    with HadalProcess(*flags_of("b"), f"--response-cache=memory,sqlite:{folder / 'answers.db'}", "--kv-events=tcp://127.0.0.1:*") as b, \
            HadalProcess(*flags_of("a"), f"--fallback-upstream={b.url},name=b", "--fallback-opt-in", "--fallback-connect-timeout=20s",
                         "--fallback-first-byte-timeout=30s") as a, \
            Prometheus(folder, free_port(), {"a": a.target, "b": b.target}) as prometheus:
        # A counter's increase is what Prometheus saw of it: it has to be there before it counts.
        prometheus.wait("count(count_over_time(hadal_ready[1m]) > 1)", [2.0].__eq__)
        load = LoadGenerator({"a": a, "b": b}, TOKENS, prompt_words=70)
        with contextlib.closing(load):
            begin_storm(load, a, b)
            begun = time.monotonic()
            time.sleep(STORM_S)
            while len(load.of(status=503)) < REFUSALS:
                assert not load.failures and time.monotonic() < begun + 180
                time.sleep(0.5)
            under_load = look(prometheus, load, begun)
        assert not load.failures
        for server in (a, b):
            server.wait_idle()
        finished = len(load.of()) + sum(seen.passed_on for seen in load.of())
        prometheus.wait("sum(hadal_requests_total)", [float(finished)].__eq__)
        # Rules are evaluated every second: what they give from now on is the whole storm.
        now, = prometheus.query("vector(time())")
        prometheus.wait("timestamp(namespace:hadal_requests_failed:ratio_rate5m)", lambda seen: len(seen) == 1 and seen[0] > now + 2)
        blocks = {server.metric("hadal_kv_blocks") for server in (a, b)}
        assert len(blocks) == 1
        yield types.SimpleNamespace(prometheus=prometheus, load=load, under_load=under_load, begun=begun, blocks=blocks.pop())


def test_it_is_a_storm(storm):
    """The clients' own account: each server is asked for at least three times what it serves, and refuses most of it at once."""
    for name, waiting in WAITING.items():
        asked, served = (storm.load.of(name, status, storm.begun) for status in (None, 200))
        seconds = max(seen.sent for seen in asked) - storm.begun
        assert len(asked) / seconds >= 3 * SERVED_PER_SECOND
        assert len(asked) >= 3 * len(served) and {seen.status for seen in asked} == {200, 503}
        # What it held at a time is what its flags say; the ends of answers, as many as a batch has, are seen a little later than their successors'
        # starts.
        assert BATCH + waiting <= storm.load.most_held(name) <= BATCH + waiting + BATCH


def ledger(storm):
    """What the servers have counted, by the clients' account: an answer that was passed on happened on both servers."""
    seen = storm.load.of()
    passed_on = sum(one.passed_on for one in seen)
    served = [one for one in seen if one.status == 200]
    return types.SimpleNamespace(
        ok=len(served) + passed_on, shed=sum(one.status == 503 for one in seen), attempts=len(seen) + passed_on, passed_on=passed_on,
        prompt_tokens=sum(one.prompt_tokens for one in served), generated_tokens=sum(one.generated_tokens for one in served))


def test_recording_rules_give_the_shares_that_clients_saw(storm):
    seen = ledger(storm)
    assert seen.passed_on == PASSED_ON and seen.shed > 2 * seen.ok
    finished, refused = seen.ok + seen.shed, seen.shed + seen.passed_on
    for rule, value in {
            "namespace:hadal_requests_failed:ratio_rate5m": seen.shed / finished,
            "namespace:hadal_requests_error:ratio_rate5m": 0,
            "namespace:hadal_admission_rejections:ratio_rate5m": refused / seen.attempts,
            'namespace_class:hadal_admission_rejections:ratio_rate5m{class="normal"}': refused / seen.attempts,
            "namespace:hadal_requests_passed_on:ratio_rate5m": seen.passed_on / finished,
            "namespace:hadal_response_cache_hits:ratio_rate30m": 1 / 2,
    }.items():
        # Rates are extrapolated to the ends of their window, each a little differently.
        assert storm.prometheus.query(rule) == [pytest.approx(value, abs=0.02)], rule


def test_recording_rules_give_the_rates_that_clients_saw(storm):
    """Everything has happened within the window of five minutes. A series that begins with the first refusals lacks those of its first scrape."""
    seen = ledger(storm)
    rates = storm.prometheus.query("namespace_outcome:hadal_requests:rate5m", "outcome")
    assert {outcome: 300 * rate for outcome, rate in rates.items()} == {
        "ok": pytest.approx(seen.ok, rel=0.08), "shed": pytest.approx(seen.shed, rel=0.08), "cancelled": 0, "error": 0, "invalid": 0}
    for rule, tokens in (("namespace:hadal_prompt_tokens:rate5m", seen.prompt_tokens),
                         ("namespace:hadal_generation_tokens:rate5m", seen.generated_tokens)):
        assert [300 * rate for rate in storm.prometheus.query(rule)] == [pytest.approx(tokens, rel=0.05)], rule


def quantile(q, values, bounds):
    """What histogram_quantile gives for a histogram of `values`: linear inside the bucket."""
    below = [sum(value <= bound for value in values) for bound in bounds]
    rank = q * len(values)
    at = next(i for i, count in enumerate(below) if count >= rank)
    lower, before = (bounds[at - 1], below[at - 1]) if at else (0, 0)
    return lower + (bounds[at] - lower) * (rank - before) / (below[at] - before)


def bounds_of(storm, histogram):
    return sorted(map(float, storm.prometheus.query(f"sum by (le) ({histogram}_bucket)", "le")))


def test_quantiles_are_those_of_the_times_that_clients_saw(storm):
    served = [seen.first_token - seen.sent for seen in storm.load.of(status=200)]
    refused = storm.load.of(status=503)
    hints = [seen.hint for seen in refused]
    first_token = bounds_of(storm, "hadal_time_to_first_token_seconds")
    for q in (0.5, 0.99):
        (rule,) = storm.prometheus.query(f'namespace_class:hadal_time_to_first_token_seconds:p{int(100 * q)}_rate5m{{class="normal"}}')
        # What a refusal takes, which a server has at once, is the clients' and the machine's part of any answer's time.
        own = sorted(seen.ended - seen.sent for seen in refused)[int(q * (len(refused) - 1))]
        expected = quantile(q, served, first_token)
        assert 0.85 * expected - own <= rule <= 1.15 * expected, q
    given = 'histogram_quantile(0.5, sum by (class, le) (rate(hadal_retry_after_seconds_bucket{namespace=~"hadal"}[5m])))'
    assert given in [expression for _, panel, expression in dashboard_queries() if panel == "Retry-After given"]
    expected = quantile(0.5, hints, bounds_of(storm, "hadal_retry_after_seconds"))
    assert storm.prometheus.query(given, "class")["normal"] == pytest.approx(expected, rel=0.15)
    between, = storm.prometheus.query("namespace:hadal_inter_token_latency_seconds:p99_rate5m")
    gaps = sorted((seen.ended - seen.first_token) / (seen.generated_tokens - 1) for seen in storm.load.of(status=200, since=storm.begun))
    assert STEP_S <= between <= max(3 * STEP_S, 4 * gaps[len(gaps) * 99 // 100])


def expected_usage(storm):
    """A full batch's blocks of 64 tokens, by the usage of the answers."""
    lengths = {seen.prompt_tokens + seen.generated_tokens for seen in storm.load.of(status=200, since=storm.begun)}
    blocks = {math.ceil(length / 64) for length in lengths}
    assert len(blocks) == 1, lengths
    return BATCH * blocks.pop() / storm.blocks


def test_the_autoscaler_gets_full_queues_and_asks_for_more_replicas(storm):
    seen = storm.under_load
    assert seen.adapter["hadal_requests_waiting"] == WAITING
    assert seen.waiting == [sum(WAITING.values()) / 2] and seen.ready == [2]
    usage = expected_usage(storm)
    assert seen.adapter["hadal_kv_cache_usage_ratio"] == {name: pytest.approx(usage, rel=0.01) for name in WAITING}
    assert seen.usage == [pytest.approx(usage, rel=0.01)]
    hpa = yaml.safe_load((ROOT / "k8s/overlays/hpa/hpa.yaml").read_text(encoding="utf-8"))
    targets = {metric["pods"]["metric"]["name"]: float(metric["pods"]["target"]["averageValue"].replace("800m", "0.8"))
               for metric in hpa["spec"]["metrics"]}
    wanted = max(desired_replicas(list(seen.adapter[metric].values()), target) for metric, target in targets.items())
    assert wanted == 4  # 32 wait on average, 16 is the target: twice as many


def test_keda_gets_the_sums_and_asks_for_as_many(storm):
    (waiting, for_each), (usage, share) = storm.under_load.keda
    assert waiting == [sum(WAITING.values())]
    assert usage == [pytest.approx(2 * expected_usage(storm), rel=0.01)]
    assert max(math.ceil(waiting[0] / for_each), math.ceil(usage[0] / share)) == 4


def test_the_offered_load_is_what_the_clients_asked_for(storm):
    """Relative to what a full batch serves; the value before the end of the storm, and the adapter's maximum of half a minute."""
    for name in WAITING:
        expected = storm.under_load.load[name]
        assert expected >= 3
        assert storm.under_load.offered[name] == pytest.approx(expected, rel=0.2)
        assert storm.under_load.adapter["hadal_offered_load_ratio"][name] >= storm.under_load.offered[name]


# Panels that show nothing but zeros in such a storm, and why.
ALL_ZERO = {
    "Errors": "no request fails",
    "Log lines and spans lost": "the log keeps up",
    "Given up": "every client is patient",
    "Wasted tokens": "every client is patient",
    "Connections and bodies refused": "there are not so many",
    "Tool calls and cut thinking": "there are no tools, and nothing is thought",
    "Prefix cache hits": "every prompt is another",
    "Preemptions": "the cache is large enough",
    "State of the second level": "it works",
    "Upstreams left out": "the upstream answers",
    "In flight at upstreams": "what was passed on has ended",
    "Lines of batches": "files and batches are off",
    "Lines by outcome": "files and batches are off",
    "Lines in flight at most": "files and batches are off",
    "Store of batches": "files and batches are off",
    "Time used by the oldest batch": "files and batches are off",
    "Redis of files and batches": "files and batches are off",
    "Lines taken over and late": "files and batches are off",
    "Lines running on each replica": "files and batches are off",
}

# One refusal in a hundred is followed. Its turn comes while the storm lasts, which shows the error of its hint, or not before the server is idle.
SOONER_OR_LATER = {"Error of the hints", "Refusals followed"}

# Of test_prometheus.py, and of the test below.
OF_OTHER_TESTS = ("TLS", "Several hosts for one model")
GPU_ROWS = ("GPU (as each server sees its own)", "GPU (dcgm-exporter)")


def test_every_query_of_the_dashboard_has_an_answer_in_the_storm(storm):
    queries = [query for query in storm.under_load.dashboard if query[0] not in OF_OTHER_TESTS + GPU_ROWS]
    assert len(queries) > 90
    moved = set()
    for _, panel, expression, answer in queries:
        assert any(not math.isnan(value) for value in answer), (panel, expression)
        if any(value > 0 for value in answer):
            moved.add(panel)
    assert {panel for _, panel, _, _ in queries} - moved - SOONER_OR_LATER == ALL_ZERO.keys()
    followed = next(expression for _, panel, expression, _ in queries if panel == "Refusals followed")
    storm.prometheus.wait(followed, lambda values: values[0] > 0)


@contextlib.contextmanager
def mps_daemon(folder):
    """The environment of a client of an MPS daemon that answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control"))
        listener.listen(8)
        yield {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
               "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=256M", "EMULATED_GPU_SMS": "132"}


@pytest.mark.skipif(not EMULATED.exists(), reason="no hadal_emulated in this build")
def test_the_queries_about_gpus_have_answers_in_a_storm(tmp_path):
    """The server on the emulated device, with a stand-in for the driver's NVML where the loader finds it, and two versions of the exporter."""
    model = tmp_path / "model"
    model.mkdir()
    with contextlib.ExitStack() as stack:
        environment = {**stack.enter_context(mps_daemon(tmp_path)), "LD_LIBRARY_PATH": str(EMULATED_BUILD / "fake_nvml")}
        server = stack.enter_context(HadalProcess(
            *EMULATED_FLAGS, "--mps=require", "--memory-budget=auto", "--max-queue-requests=2", "--wait-limits=none", env=environment, binary=str(EMULATED),
            model=small_checkpoint("DeepSeek-R1-Distill-Qwen-1.5B", model)))
        nodes = {label: stack.enter_context(dcgm_exporter(label, label)) for label in ("Hostname", "hostname")}
        prometheus = stack.enter_context(Prometheus(tmp_path, free_port(), {"gpu": server.target}, gpu_nodes=nodes))
        load = LoadGenerator({"gpu": server}, tokens=4, prompt_words=2)
        load.begin("gpu", 10, PAUSE_S)
        stack.callback(load.close)
        prometheus.wait("sum(rate(hadal_admission_rejections_total[1m])) / sum(rate(hadal_admission_attempts_total[1m]))",
                        lambda seen: seen and seen[0] > 2 / 3)
        answers = {}
        for _, panel, expression in dashboard_queries(*GPU_ROWS):
            assert set(re.findall(r"\bhadal_gpu_\w+", expression)) <= documented(gpu=True).keys(), panel
            answers.setdefault(panel, []).append(prometheus.wait(expression, bool))
        assert answers["GPU trouble"].pop()[0] >= 0  # products that the library of the GPU refuses: any number
        # What the two libraries say, in the dashboard's units.
        assert answers == {
            "Share of time the GPU runs": [[0.75]], "GPU memory": [[600], [1000], [256 << 20]], "GPU clock": [[1.98e9]], "Processes on the GPU": [[3], [2]],
            "Multiprocessors a server may use": [[33 / 132]], "GPU trouble": [[0], [0]],
            "GPU busy": [[97, 97]], "GPU memory used": [[71234] * 2], "Memory bandwidth busy": [[0.42] * 2], "Power": [[412.7] * 2],
            "Temperature": [[61, 61]], "Last XID error": [[31, 31]]}
        assert prometheus.query("DCGM_FI_DEV_GPU_UTIL", "node") == dict.fromkeys(nodes, 97)
        # One alert for each node, whatever its exporter calls it.
        for alert in ("HighGPUUsage", "HadalXid"):
            prometheus.wait(f'count(ALERTS{{alertname="{alert}"}})', [2.0].__eq__)
        load.close()
        assert not load.failures and {seen.status for seen in load.of()} == {200, 503}
