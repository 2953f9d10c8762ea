# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with the configuration and rules of prometheus/, faster and with other targets."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


class Prometheus:
    """Scrapes `pods` ({name: "host:port"}) every other second, as pods of the namespace hadal, and `workers` as those of `hadal worker`. Use as a context manager.

    `annotations`: of the pods. `ca_file`: who signed the certificates of those that speak TLS. `gpu_nodes`: {name of a node: "host:port"
    of its dcgm-exporter}.
    """

    def __init__(self, folder, port, pods, annotations=None, ca_file=None, workers=None, gpu_nodes=None):
        if shutil.which("prometheus") is None:
            pytest.skip("prometheus is not installed")
        config = yaml.safe_load((ROOT / "prometheus/kubernetes.yml").read_text(encoding="utf-8"))
        # A scrape may take as long as it is to the next: one that a busy machine makes late is a target that is down.
        config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "prometheus" / name) for name in config["rule_files"]]
        job = next(job for job in config["scrape_configs"] if job["job_name"] == "hadal")
        # What the discovery of Kubernetes says of each port of a pod; one has another port, which is not for us.
        job.pop("kubernetes_sd_configs")
        meta = "__meta_kubernetes_"
        ports = [(pod, target, "serve") for pod, target in pods.items()] + [("full", "127.0.0.1:1", "other")]
        job["static_configs"] = [
            {"targets": [target], "labels": {meta + "pod_label_app_kubernetes_io_name": "hadal", meta + "pod_container_port_name": name,
                                             meta + "namespace": "hadal", meta + "pod_name": pod,
                                             **{meta + "pod_annotation_" + re.sub(r"\W", "_", key): value
                                                for key, value in (annotations or {}).items()}}} for pod, target, name in ports]
        if ca_file:
            job["tls_config"]["ca_file"] = str(ca_file)
        workers_job = next(job for job in config["scrape_configs"] if job["job_name"] == "hadal-worker")
        workers_job.pop("kubernetes_sd_configs")
        workers_job["static_configs"] = [
            {"targets": [target], "labels": {meta + "pod_label_app_kubernetes_io_name": "hadal-worker", meta + "pod_container_port_name": name,
                                             meta + "namespace": "hadal", meta + "pod_name": pod}}
            for pod, port in (workers or {}).items() for target, name in ((port, "http"), ("127.0.0.1:1", "pipeline"))]
        gpu_job = next(job for job in config["scrape_configs"] if job["job_name"] == "dcgm")
        gpu_job.pop("kubernetes_sd_configs")
        gpu_job["static_configs"] = [
            {"targets": [target], "labels": {meta + "pod_label_app_kubernetes_io_name": "dcgm-exporter", meta + "pod_node_name": node}}
            for node, target in (gpu_nodes or {}).items()]
        config["scrape_configs"] = [job, workers_job, gpu_job]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self):
        try:
            self._wait_ready()
        except BaseException:  # a block that was not entered is not left
            self.__exit__()
            raise
        return self

    def _wait_ready(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(self._url + "/-/ready", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text(encoding="utf-8")
                time.sleep(0.05)

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def api(self, path, **parameters):
        """The `data` of an answer; an error of Prometheus is an AssertionError with its text."""
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression, label=None):
        """The instant values: a list, or {value of the label: value}."""
        result = self.api("query", query=expression)["result"]
        if label is None:
            return [float(series["value"][1]) for series in result]
        return {series["metric"].get(label, ""): float(series["value"][1]) for series in result}

    def wait(self, expression, accept, label=None, timeout=120):
        """Asks until `accept` takes the values, and returns them: scrapes and rules follow the servers by seconds."""
        deadline = time.monotonic() + timeout
        while True:
            values = self.query(expression, label)
            if accept(values):
                return values
            assert time.monotonic() < deadline, f"{expression} stays {values}"
            time.sleep(0.1)
