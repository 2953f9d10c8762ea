# SPDX-License-Identifier: Apache-2.0
"""The model of the autoscaler does what Kubernetes documents, with the numbers of k8s/overlays/hpa; its replicas do what the server's own
admission does; and figure and table of the docs are its."""
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[3]))
HADAL_SIM = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", ROOT / "build/release")) / "hadal-sim"
sys.path.insert(0, str(ROOT / "benchmarks/sim"))
import replicas as sim  # noqa: E402


def test_numbers_are_those_of_the_manifest():
    spec = yaml.safe_load((ROOT / "k8s/overlays/hpa/hpa.yaml").read_text(encoding="utf-8"))["spec"]
    autoscaler = sim.Autoscaler()
    assert (autoscaler.minimum, autoscaler.maximum) == (spec["minReplicas"], spec["maxReplicas"])
    assert autoscaler.target == int(spec["metrics"][0]["pods"]["target"]["averageValue"])
    for mine, manifest in ((autoscaler.up, spec["behavior"]["scaleUp"]), (autoscaler.down, spec["behavior"]["scaleDown"])):
        (policy,) = manifest["policies"]
        assert (mine.window_seconds, mine.kind, mine.value, mine.period_seconds) == (
            manifest["stabilizationWindowSeconds"], policy["type"], policy["value"], policy["periodSeconds"])


@pytest.mark.parametrize("waiting, replicas, wanted", [
    ([16, 16, 16], 3, 3),
    ([17, 17, 18], 3, 3),   # within a tenth
    ([24, 24, 24], 3, 5),   # 4.5, rounded up
    ([96], 6, 6),           # five load and have nothing waiting: as if each of the six had the target
    ([4, 4, 4, 4], 4, 1),
    ([0, 0, 0], 3, 0),      # bounded by the minimum later
])
def test_recommendation_is_the_ratio_rounded_up(waiting, replicas, wanted):
    assert sim.Autoscaler().recommendation(waiting, replicas) == wanted


def run(autoscaler, waiting_of, replicas, begin, end):
    """{time: replicas} of a sync every 15 s."""
    counts = {}
    for now in range(begin, end, sim.SYNC_SECONDS):
        replicas = counts[now] = autoscaler.sync(now, waiting_of(now, replicas), replicas)
    return counts


def test_it_doubles_at_most_once_a_minute_and_stops_at_the_maximum():
    counts = run(sim.Autoscaler(), lambda now, replicas: [500] * replicas, 3, 0, 300)
    for now, count in counts.items():
        assert count <= 2 * counts.get(now - 60, 3)
    assert list(dict.fromkeys(counts.values())) == [6, 12, 20]


def test_a_peak_that_is_shorter_than_the_window_adds_nothing():
    autoscaler = sim.Autoscaler()
    run(autoscaler, lambda now, replicas: [16] * replicas, 3, 0, 60)
    counts = run(autoscaler, lambda now, replicas: [500 if now == 60 else 16] * replicas, 3, 60, 240)
    assert set(counts.values()) == {3}


def test_it_removes_a_pod_every_two_minutes_after_ten_quiet_ones():
    autoscaler = sim.Autoscaler()
    run(autoscaler, lambda now, replicas: [16] * replicas, 12, 0, 60)
    counts = run(autoscaler, lambda now, replicas: [0] * replicas, 12, 60, 2400)
    first = min(now for now, count in counts.items() if count < 12)
    assert 630 <= first <= 675
    for now, count in counts.items():
        assert counts.get(now - 120, 12) - count <= 1
    assert counts[2385] == 3


def test_a_fleet_serves_queues_and_refuses_every_arrival():
    fleet = sim.Fleet(capacity=10, wait_limit=2, startup=5)
    fleet.queues = [0.0]
    offered = refused = 0.0
    for second in range(20):
        offered += 15
        refused += fleet.second(second, 15)
    assert fleet.queues == [20.0]
    assert offered == refused + 20 * 10 + 20.0


def test_a_pod_serves_when_it_has_started():
    fleet = sim.Fleet(capacity=10, wait_limit=0, startup=5)
    fleet.queues = [0.0]
    fleet.scale(0, 2)
    assert [fleet.second(second, 20) for second in range(8)] == [10.0] * 5 + [0.0] * 3
    fleet.scale(8, 1)
    assert fleet.size() == 1


@pytest.mark.parametrize("load", [0.7, 2, 4])
def test_a_replica_queues_and_refuses_as_the_server_does(load):
    options = sim.parse([])
    done = subprocess.run([HADAL_SIM, f"--rate={options.capacity}", f"--load={load}", "--duration=60s", f"--wait-limits=normal={options.wait_limit}s"],
                          capture_output=True, text=True, check=True, timeout=120)
    server = json.loads(done.stdout)
    fleet = sim.Fleet(options.capacity, options.wait_limit, 0)
    fleet.queues = [0.0]
    refused = [fleet.second(second, load * options.capacity) for second in range(60)]
    assert 1 - server["all"]["admitted_ratio"] == pytest.approx(sum(refused[20:]) / (40 * load * options.capacity), abs=0.05)
    # By the second, so a queue that comes and goes within one is not seen; the server's peak is that of one moment.
    assert fleet.queues[0] <= server["waiting_high_water"] <= 1.4 * fleet.queues[0] + sim.Autoscaler().target


def test_slower_starts_refuse_more_and_a_steady_load_nothing():
    shares = []
    for startup in (5, 120, 300):
        options = sim.parse(["--startup", str(startup)])
        rows = sim.simulate(options)
        shares.append(sim.summary(rows, options)["refused"])
        assert all(row["refused"] == 0 for row in rows if row["second"] < options.begin)
    assert shares == sorted(shares) and shares[0] > 0


def test_capacity_is_what_the_virtual_clock_measured_last():
    measured = json.loads((ROOT / "benchmarks/results/overload_sim.json").read_text(encoding="utf-8"))["metrics"]["capacity"]["requests_per_s"]
    assert sim.parse([]).capacity == pytest.approx(measured, rel=0.1), "benchmarks/sim/replicas.py: --capacity, and its figure and table in the docs"


def test_a_seed_gives_the_same_run_and_another_one_another():
    runs = [sim.simulate(sim.parse(["--seed", seed, "--seconds", "600"])) for seed in ("1", "1", "2")]
    assert runs[0] == runs[1] != runs[2]


def test_the_table_of_the_docs_is_the_one_that_the_script_prints():
    text = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    options = sim.parse([])
    assert sim.table(options) in text, "benchmarks/sim/replicas.py"
    assert f"replicas of {options.capacity} requests per second, `--wait-limits` {options.wait_limit} s" in text


def test_the_figure_of_the_docs_is_the_one_that_the_script_draws():
    drawn = sim.plot(sim.simulate(sim.parse([])))
    xml.etree.ElementTree.fromstring(drawn)
    assert (ROOT / "docs/replicas.svg").read_text(encoding="utf-8") == drawn, "benchmarks/sim/replicas.py --plot docs/replicas.svg"
