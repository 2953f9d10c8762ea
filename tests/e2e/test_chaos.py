# SPDX-License-Identifier: Apache-2.0
"""The experiments of k8s/addons/chaos without a cluster. That of a killed pod is test_killed_server.py, that of a slow network test_far_hosts.py."""
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.request

import yaml

import test_far_hosts
from hadal_process import PATIENCE, HadalProcess
from http_client import post

K8S = pathlib.Path(os.environ["HADAL_SOURCE_DIR"]) / "k8s"
TOKENS = 200


def experiment(name):
    return yaml.safe_load((K8S / f"addons/chaos/{name}.yaml").read_text(encoding="utf-8"))["spec"]


def probe(name):
    """Of the pods."""
    deployment = yaml.safe_load((K8S / "base/deployment.yaml").read_text(encoding="utf-8"))
    return deployment["spec"]["template"]["spec"]["containers"][0][name]


def test_the_delay_is_the_one_that_is_tested():
    delay = experiment("delay")["delay"]
    assert [delay["latency"], delay["jitter"]] == [f"{1000 * value:g}ms" for value in (test_far_hosts.DELAY, test_far_hosts.JITTER)]
    assert float(delay["correlation"]) < 100, "100: every packet is as late as the first"


class Neighbours:
    """Busy processes on the core of a server, as many as the experiment has for all cores of a container."""

    def __init__(self, server):
        self.core = {min(os.sched_getaffinity(0))}
        for thread in os.listdir(f"/proc/{server.process.pid}/task"):
            os.sched_setaffinity(int(thread), self.core)
        stressors = experiment("stress")["stressors"]["cpu"]
        assert stressors["load"] == 100
        self.processes = [subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {self.core})\nwhile True: pass"])
                          for _ in range(stressors["workers"])]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


def test_a_server_without_cpu_lives_and_answers_whole():
    live = probe("livenessProbe")
    with HadalProcess("--load-format=null:2ms", "--max-batch-size=4") as server, Neighbours(server):
        begin, failed, answers = time.monotonic(), 0, []
        body = {"model": "hadal-demo", "prompt": "x", "max_tokens": TOKENS, "ignore_eos": True}
        callers = [threading.Thread(target=lambda: answers.append(post(server, "/v1/completions", body, timeout=PATIENCE))) for _ in range(8)]
        for caller in callers:
            caller.start()
        probes = 0
        while any(caller.is_alive() for caller in callers) or time.monotonic() - begin < 5:
            probes += 1
            try:
                with urllib.request.urlopen(server.url + live["httpGet"]["path"], timeout=live["timeoutSeconds"]) as answer:
                    failed = 0 if answer.status == 200 else failed + 1
            except OSError:
                failed += 1
            assert failed < live["failureThreshold"], "it would be restarted"
            time.sleep(0.1)
        assert probes >= 5
        assert [status for status, _, _ in answers] == [200] * 8
        assert {json.loads(text)["usage"]["completion_tokens"] for _, _, text in answers} == {TOKENS}
        server.wait_idle()
        assert server.process.poll() is None
