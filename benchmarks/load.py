# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of a loaded server share: cores of their own, hadal-bench runs, and what the rest of the machine did."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import lib

BUILD = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", lib.ROOT / "build/release"))
os.environ.setdefault("HADAL_SOURCE_DIR", str(lib.ROOT))
os.environ.setdefault("HADAL_BINARY", str(BUILD / "hadal"))
sys.path.insert(0, str(lib.ROOT / "tests/e2e"))
from hadal_process import HadalProcess, filled  # noqa: E402,F401  for the scripts that import this
from tls_files import Authority  # noqa: E402,F401

MIN_CLASS = 50  # requests of a length class, below which its admission rate is chance
NOISE = 0.15    # cores that others may use in a run; above it the run is repeated
TRIES = 4


def server_and_client_cores(share):
    """One core for the server and one for its load, or all for both."""
    cores = sorted(os.sched_getaffinity(0))
    if share:
        return cores, cores
    if len(cores) < 2:
        raise SystemExit("this benchmark wants two cores: one for the server, one for the load")
    return cores[:1], cores[1:2]


def placement(server_cores, client_cores):
    """For the settings of a result. Priority is what is left on a machine that is never idle: `nice -n -20`."""
    return {"server_cores": server_cores, "client_cores": client_cores, "nice": os.getpriority(os.PRIO_PROCESS, 0)}


@contextlib.contextmanager
def on_cores(cores):
    """Processes that are started in the block run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def realtime(wanted=True):
    """Processes that are started in the block go before all ordinary ones on their cores (SCHED_FIFO; root only): a core of one's own on a
    machine that is never idle."""
    if wanted:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    try:
        yield
    finally:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def cpu_s(pid):
    """Processor time of a process so far, in seconds, with that of children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and all that it has started and that run."""
    pids = [pid]
    for one in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                pids += map(int, pathlib.Path(f"/proc/{one}/task/{task}/children").read_text(encoding="ascii").split())
    return pids


def machine_busy_s():
    """Seconds that all cores together were busy since the machine started."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text(encoding="ascii").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures processor time while it is entered: `used` of the given processes with theirs, `others` of all but these and ours."""

    def __init__(self, *pids):
        self.pids = pids

    def _own(self):
        return sum(os.times()[:4])

    def _each(self):
        return {pid: cpu_s(pid) for root in self.pids for pid in tree(root)}

    def __enter__(self):
        self._start = time.monotonic(), machine_busy_s(), self._own(), self._each()
        return self

    def __exit__(self, *_):
        began, busy, own, each = self._start
        self.wall_s = time.monotonic() - began
        self.used_s = sum(after - each.get(pid, 0) for pid, after in self._each().items())
        self.others = max(0.0, machine_busy_s() - busy - self.used_s - (self._own() - own)) / self.wall_s


def quiet(run, *pids, noise=NOISE):
    """What `run` returns, and the meter of that run; repeated while other processes use more than `noise` cores. The last try counts anyway: its
    noise stands in the result."""
    for attempt in range(TRIES):
        with Meter(*pids) as meter:
            outcome = run()
        if meter.others <= noise:
            break
        print(f"load: other processes used {meter.others:.2f} cores, try {attempt + 1} of {TRIES}", file=sys.stderr)
    return outcome, meter


def bench_command(url, rate, path, *flags, warmup=5, seconds=30, seed=1):
    return [str(BUILD / "hadal-bench"), f"--url={url}", f"--rate={rate}", f"--warmup={warmup}s", f"--duration={warmup + seconds}s",
            f"--seed={seed}", "--progress=never", f"--json={path}", *flags]


def bench(url, rate, *flags, **times):
    """One run of hadal-bench: its result file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.json"
        done = subprocess.run(bench_command(url, rate, path, *flags, **times), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"hadal-bench at {rate}/s: {done.stdout}{done.stderr}")
        return json.loads(path.read_text(encoding="utf-8"))


def bench_together(targets):
    """Several runs at the same time, one a (url, rate, flags, times): their result files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f"{i}.json" for i in range(len(targets))]
        started = [subprocess.Popen(bench_command(url, rate, path, *flags, **times), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                   for (url, rate, flags, times), path in zip(targets, paths)]
        try:
            for process in started:
                _, errors = process.communicate()
                if process.returncode:
                    raise SystemExit(f"hadal-bench: {errors}")
        finally:  # when one fails, the others are of no use
            for process in started:
                process.kill()
                process.wait()
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def latency(run, name, share):
    """A quantile of a run's latency in seconds, or None."""
    return next((value for q, value in run["latency"][f"{name}_s"]["quantiles"] if q == share), None)


def evenness(run):
    """Lowest over highest admission rate of the length classes that have enough requests to speak of a rate."""
    rates = [group["admission_ratio"] for group in run["groups"]["length"] if group["offered"] >= MIN_CLASS]
    return min(rates) / max(rates) if rates and max(rates) > 0 else None


def figures(result):
    """The flat figures of a run that the tables show."""
    run = result["runs"][0]
    requests = run["requests"]
    return {name: value for name, value in {
        **{key: run["metrics"].get(key) for key in (
            "offered_requests_per_s", "goodput_requests_per_s", "goodput_tokens_per_s", "admission_ratio", "failed_ratio",
            "attempts_per_served_ratio", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "refusal_p50_s", "refusal_p99_s",
            "generator_lag_p99_s", "generator_cpu_ratio")},
        "e2e_mean_s": run["latency"]["e2e_s"]["mean"],
        "ttft_mean_s": run["latency"]["ttft_s"]["mean"],
        "success_ratio": requests["served"] / max(1, requests["offered"]),
        "within_slo_ratio": run["goodput"][0]["offered_ratio"],
        "evenness_ratio": evenness(run),
    }.items() if value is not None}


def attainable_tokens_per_s(run, tokens_per_s, max_wait_s):
    """What no server that computes `tokens_per_s` can exceed with the arrivals of this run: one that takes whatever finds less than `max_wait_s` of work
    before it and rests only when nothing waits. Bursts leave any server idle between them. From the seconds of hadal-bench's time series."""
    first, seconds = run["warmup"]["seconds"], run["measured_s"]
    backlog = served = 0.0
    for window in run["windows"]:
        if window["from_s"] >= first + seconds:
            break
        backlog += min(window["offered_tokens"], max(0.0, max_wait_s * tokens_per_s - backlog) + tokens_per_s)
        computed = min(backlog, tokens_per_s)
        backlog -= computed
        if window["from_s"] >= first:
            served += computed
    return served / seconds


def median_and_range(rounds):
    """One dict of figures of several rounds: the median of each, and its range as NAME_min and NAME_max."""
    names = {name: None for figures_of_round in rounds for name in figures_of_round}
    merged = {}
    for name in names:
        values = [one[name] for one in rounds if name in one]
        merged[name] = round_off(statistics.median(values))
        if len(rounds) > 1:
            merged[f"{name}_min"], merged[f"{name}_max"] = round_off(min(values)), round_off(max(values))
    return merged


def round_off(value):
    return float(f"{value:.4g}")


def attempts_by_reason(results):
    """Refused and failed attempts of several runs together, as {"refusals": {reason: count}, "failures": ...}."""
    total = {"refusals": {}, "failures": {}}
    for kind, counts in total.items():
        for result in results:
            for reason, count in result["runs"][0][kind].items():
                counts[reason] = counts.get(reason, 0) + count
    return total
