# SPDX-License-Identifier: Apache-2.0
"""What a server does on a GPU, shown on the emulated one: its metrics, under MPS, and when the device fails."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from hadal_process import PATIENCE, HadalProcess
from test_dummy_families import small_checkpoint
from test_metrics import documented, parse

SOURCE = pathlib.Path(os.environ["HADAL_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build/release")) / "tests/server/commands"
BINARY = BUILD / "hadal_emulated"
# Emulation is slow: small steps, few of them to warm up.
FLAGS = ["--device=cuda", "--load-format=dummy", "--max-batch-size=2", "--max-batch-tokens=16", "--memory-budget=128MiB"]

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason="no hadal_emulated in this build")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_checkpoint("DeepSeek-R1-Distill-Qwen-1.5B", tmp_path_factory.mktemp("model"))


@pytest.fixture
def serve(model):
    """serve(*flags, **options): a server on the emulated device."""
    running = []

    def start(*flags, **options):
        running.append(HadalProcess(*FLAGS, *flags, model=model, binary=str(BINARY), **options))
        return running[-1]

    yield start
    for process in running:
        process.stop()


@pytest.fixture
def daemon(tmp_path):
    """The environment of a client of an MPS daemon that answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control"))
        listener.listen(8)
        yield {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path), "EMULATED_GPU_SMS": "8"}


def complete(server, max_tokens, timeout=PATIENCE):
    """(status, answer) of a completion."""
    body = json.dumps({"model": "hadal-demo", "prompt": "1 2 3", "max_tokens": max_tokens, "ignore_eos": True}).encode()
    request = urllib.request.Request(server.url + "/v1/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_scrape_shows_the_gpu_as_documented(serve):
    """With NVML at hand; the library is found as the driver's is."""
    server = serve(env={"LD_LIBRARY_PATH": str(BUILD / "fake_nvml")})
    families = parse(server.get("/metrics")[1])
    assert {name: (kind, labels) for name, (kind, labels, _) in families.items()} == documented(gpu=True)
    values = {name: total for name, (_, _, total) in families.items() if name.startswith("hadal_gpu_")}
    assert values == {"hadal_gpu_utilization_ratio": 0.75, "hadal_gpu_memory_used_bytes": 600, "hadal_gpu_memory_total_bytes": 1000,
                      "hadal_gpu_processes": 3, "hadal_gpu_mps_clients": 2, "hadal_gpu_sm_clock_hertz": 1.98e9, "hadal_gpu_sms": 132,
                      "hadal_gpu_xid_errors_total": 2}
    server.wait_text("GPU 0000:65:00.0: XID 31")
    assert complete(server, 4)[0] == 200


def test_a_damaged_file_of_algorithms_does_not_end_the_start(serve, tmp_path):
    (tmp_path / "cublaslt-emulated_GPU-all.txt").write_bytes(bytes(3 << 20))
    server = serve(f"--gemm-cache={tmp_path}")
    server.wait_text("cublaslt-emulated_GPU-all.txt: it has 3145728 bytes, limit 2097152")
    assert complete(server, 4)[0] == 200


def test_without_nvml_the_gpu_serves_all_the_same(serve):
    server = serve()
    server.wait_text("no metrics of the GPU as a whole: NVML: libnvidia-ml")
    assert "hadal_gpu_" not in server.get("/metrics")[1]
    assert complete(server, 4)[0] == 200


def test_mps_limits_are_kept_and_shown(serve, daemon):
    server = serve("--mps=require", "--mps-client-priority=below-normal", "--memory-budget=auto",
                   env={**daemon, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=256M"})
    server.wait_text("memory limit 268435456 bytes, at most 0.25 of the threads, below normal priority")
    assert [server.metric(f"hadal_mps_{name}") for name in ("enabled", "sms", "memory_limit_bytes", "active_thread_ratio")] \
        == [1, 2, 256 << 20, 0.25]
    assert 0 < server.metric("hadal_memory_budget_bytes") <= 256 << 20


def test_a_full_device_is_a_refusal_and_no_failure(serve, daemon):
    """The budget follows the limit of MPS, beyond which the device refuses."""
    server = serve("--mps=require", "--memory-budget=auto", "--kv-block-tokens=512", "--wait-limits=none", "--drain-timeout=1s",
                   env={**daemon, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=256M"})
    refused = 'hadal_admission_rejections_total{class="normal",length_class="256",reason="GPU_MEMORY_EXHAUSTED"}'
    body = json.dumps({"model": "hadal-demo", "prompt": "1 2 3", "max_tokens": 500, "ignore_eos": True})
    callers = []
    for _ in range(int(server.metric("hadal_kv_blocks")) + 5):  # each holds one, also while it waits
        callers.append(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE))
        callers[-1].request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    assert len(callers) > 10
    deadline = time.monotonic() + PATIENCE
    while server.metric(refused) == 0:
        assert time.monotonic() < deadline and server.process.poll() is None, server.text()
        time.sleep(0.05)
    assert server.get("/health/ready")[0] == 200
    assert "DEVICE_FAULT" not in server.text()
    for caller in callers:
        caller.close()


def test_an_mps_server_that_is_not_ready_is_waited_for(serve, daemon, tmp_path):
    error = tmp_path / "error"
    error.write_text("807")
    server = serve("--mps=require", env={**daemon, "EMULATED_GPU_ERROR_FILE": str(error)}, wait_ready=False)
    server.wait_text("takes new ones when all that it served then have ended")
    server.wait_metric("hadal_mps_fault", 1)
    assert server.get("/health/ready")[0] == 503
    error.unlink()
    server.wait_ready()
    assert server.metric("hadal_mps_fault") == 0


def test_an_mps_server_without_a_place_ends_the_start_with_advice(serve, daemon, tmp_path):
    (tmp_path / "error").write_text("808")
    server = serve("--mps=require", env={**daemon, "EMULATED_GPU_ERROR_FILE": str(tmp_path / "error")}, wait_ready=False)
    assert server.process.wait(PATIENCE) == 1
    server.wait_text("the MPS server has all the clients that a GPU can have")


def test_a_fault_of_the_device_ends_requests_and_process(serve, tmp_path):
    error = tmp_path / "error"
    server = serve(env={"EMULATED_GPU_ERROR_FILE": str(error)})
    answers = []
    caller = threading.Thread(target=lambda: answers.append(complete(server, 400)))
    caller.start()
    server.wait_metric("hadal_requests_running", 1)
    error.write_text("700")  # cudaErrorIllegalAddress, as all clients of an MPS server get it
    assert server.process.wait(PATIENCE) == 3
    caller.join()
    status, answer = answers[0]
    assert status == 503 and answer["error"]["code"] == "DEVICE_FAULT", answer


def test_a_process_that_is_forced_to_end_lets_the_device_settle(serve, tmp_path):
    """Under MPS, work in flight of a process that dies can hurt its neighbours."""
    settled = tmp_path / "settled"
    server = serve("--drain-timeout=60s", env={"EMULATED_GPU_SETTLED_FILE": str(settled)})

    def call():
        with contextlib.suppress(OSError, http.client.HTTPException):
            complete(server, 400)

    caller = threading.Thread(target=call)
    caller.start()
    server.wait_metric("hadal_requests_running", 1)
    while server.process.poll() is None:  # three signals, however they meet
        server.signal(signal.SIGTERM)
        time.sleep(0.05)
    caller.join()
    assert server.process.returncode == 128 + signal.SIGTERM
    assert settled.exists()


CONTROL = """#!/usr/bin/env python3
import os, signal, socket, sys
pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
if "-d" in sys.argv:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(pipe + "/control")
    listener.listen(8)
    if os.fork() == 0:
        for stream in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        open(pipe + "/pid", "w").write(str(os.getpid()))
        while True:
            listener.accept()[0].close()
else:
    os.kill(int(open(pipe + "/pid").read()), signal.SIGTERM)
    os.unlink(pipe + "/control")
"""


def test_the_script_for_a_gpu_holds_on_the_emulated_one(model, tmp_path):
    control = tmp_path / "bin" / "nvidia-cuda-mps-control"
    control.parent.mkdir()
    control.write_text(CONTROL)
    control.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HADAL_")}
    environment |= {"PATH": f"{control.parent}:{os.environ['PATH']}", "EMULATED_GPU_SMS": "8"}
    done = subprocess.run([SOURCE / "scripts/mps-check", "--hadal", BINARY, "--model", model, "--limit-mib=256", "--longest=20",
                           "--flags=--load-format=dummy --max-batch-tokens=16", "--json", tmp_path / "result.json"],
                          capture_output=True, text=True, timeout=550, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads((tmp_path / "result.json").read_text())["checks"]
    assert len(checks) == 7 and all(check["passed"] for check in checks)
    assert re.search(r"full is 503, and nothing fails: answers \{", done.stdout)


def test_a_budget_that_shrinks_refuses_and_recovers(serve, tmp_path):
    """What runs goes on, what comes is refused with a time to return, and nothing is allocated that is not there."""
    budget = tmp_path / "budget"
    budget.write_text("0")
    server = serve(f"--memory-budget-file={budget}")
    assert complete(server, 4)[0] == 200
    fixed = int(server.metric("hadal_memory_committed_bytes"))  # weights and workspace: nothing is leased
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(complete, server, 60)
        server.wait_metric("hadal_requests_running", 1)
        budget.write_text(str(fixed))
        server.wait_metric("hadal_memory_budget_bytes", fixed)
        status, answer = complete(server, 4)
        assert status == 503 and answer["error"]["code"] == "GPU_MEMORY_EXHAUSTED", answer
        budget.write_text("half of it")
        server.wait_text("budget: expected")
        assert complete(server, 4)[0] == 503, "the last value stays in force"
        status, answer = running.result()
        assert status == 200 and answer["usage"]["completion_tokens"] == 60
    assert server.get("/health/live")[0] == 200 and server.get("/health/ready")[0] == 200
    budget.write_text("128MiB")
    server.wait_metric("hadal_memory_budget_bytes", 128 << 20)
    assert complete(server, 4)[0] == 200
