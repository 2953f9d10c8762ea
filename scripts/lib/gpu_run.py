#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs packed GPU tests: run [--budget SECONDS] [RESULT.json].

Lies beside bin/ (GoogleTest binaries) and lib/ (their libraries). Every binary runs alone with HADAL_REQUIRE_GPU=1, so a
missing GPU is a failure. The CUDA libraries come from the machine: the toolkit, or the Python packages of nvidia. So does libtorch,
from the torch wheel: where it is, libtorch's cases must run; elsewhere they are skipped.
"""
import argparse
import datetime
import glob
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ONE_TEST_S = 180
# What GoogleTest says of every case; the rest is what the case itself recorded.
CASE_KEYS = {"name", "file", "line", "value_param", "type_param", "status", "result", "timestamp", "time", "classname", "failures", "skipped"}


def site_packages():
    """Folders of Python packages: this python3's, and those of environments below /opt."""
    found = sys.path + glob.glob("/opt/*/.venv/lib/python3*/site-packages") + glob.glob("/opt/*/lib/python3*/site-packages")
    return [prefix for prefix in found if prefix]


def torch_folder():
    """Where libtorch with CUDA is installed, or ""."""
    folders = [os.path.join(prefix, "torch/lib") for prefix in site_packages()]
    return next((folder for folder in folders if os.path.exists(os.path.join(folder, "libtorch_cuda.so"))), "")


def library_folders():
    """Folders with libcublasLt.so and libcudart.so: the toolkit's, or those of the nvidia wheels beside any python3."""
    found = [str(HERE / "lib")]
    patterns = ["/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/x86_64-linux/lib", "/usr/local/nvidia/lib*"]
    patterns += [os.path.join(prefix, "nvidia/*/lib") for prefix in site_packages()]
    for pattern in patterns:
        found += [folder for folder in sorted(glob.glob(pattern)) if folder not in found]
    return found


def gpu():
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def run_one(binary, environment, limit_s):
    """Runs one binary; a crash or a time-out counts as one failure beside the cases that were reported."""
    outcome = {"name": binary.name, "passed": 0, "failed": 0, "skipped": 0, "failures": [], "measured": {}}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        try:
            done = subprocess.run([str(binary), f"--gtest_output=json:{report}"], env=environment, cwd=folder, timeout=limit_s,
                                  capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
            code, text = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as expired:
            code, text = -1, f"no end after {limit_s:.0f} s\n" + (expired.stdout or b"").decode(errors="replace")
        suites = json.loads(report.read_text(encoding="utf-8"))["testsuites"] if report.is_file() else []
    for suite in suites:
        for case in suite["testsuite"]:
            name = f"{case['classname']}.{case['name']}"
            measured = {key: value for key, value in case.items() if key not in CASE_KEYS}
            if measured:
                outcome["measured"][name] = measured
            if case.get("failures"):
                outcome["failed"] += 1
                outcome["failures"].append({"case": name, "message": case["failures"][0]["failure"][:2000]})
            elif case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
                outcome["skipped"] += 1
            else:
                outcome["passed"] += 1
    if code != 0 and outcome["failed"] == 0:
        outcome["failed"] = 1
        outcome["failures"].append({"case": binary.name, "message": f"ended with code {code}\n{text[-3000:]}"})
    outcome["seconds"] = round(time.monotonic() - start, 2)
    return outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=420, help="start no test after this many seconds")
    parser.add_argument("json", nargs="?", default=str(HERE / "result.json"), help="result file")
    arguments = parser.parse_args()

    environment = dict(os.environ, HADAL_REQUIRE_GPU="1")
    environment.setdefault("GTEST_FILTER", "*/cuda:*_cuda")  # cases that run on every backend; the CPU's are tested elsewhere
    torch = torch_folder() if (HERE / "bin/libhadal_torch.so").exists() else ""
    if torch:
        environment["HADAL_REQUIRE_TORCH_CUDA"] = "1"
    folders = library_folders() + [folder for folder in (torch, os.environ.get("LD_LIBRARY_PATH", "")) if folder]
    environment["LD_LIBRARY_PATH"] = ":".join(folders)
    commit = HERE / "commit"
    start, tests = time.monotonic(), []
    for binary in sorted(path for path in (HERE / "bin").iterdir() if path.suffix != ".so"):
        left = arguments.budget - (time.monotonic() - start)
        if left <= 0:
            tests.append({"name": binary.name, "passed": 0, "failed": 1, "skipped": 0, "seconds": 0,
                          "failures": [{"case": binary.name, "message": "not started: the time budget was used up"}]})
            continue
        outcome = run_one(binary, environment, min(ONE_TEST_S, left))
        tests.append(outcome)
        print(f"{outcome['seconds']:7.1f} s  {outcome['name']}: {outcome['passed']} passed, {outcome['failed']} failed, "
              f"{outcome['skipped']} skipped", flush=True)
        for name, values in outcome["measured"].items():
            for key, value in values.items():
                print(f"           {name}: {key}: {value}", flush=True)
        for failure in outcome["failures"][:5]:
            print(f"           FAILED {failure['case']}: {failure['message'][:600]}", flush=True)
    totals = {key: sum(test[key] for test in tests) for key in ("passed", "failed", "skipped")}
    result = {
        "name": "gpu-check",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit.read_text(encoding="utf-8").strip() if commit.is_file() else "",
        "machine": {"gpus": gpu(), "torch": torch, "cores": os.cpu_count(), "kernel": platform.release()},
        "metrics": dict(totals, seconds=round(time.monotonic() - start, 1)),
        "tests": tests,
    }
    pathlib.Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped in {result['metrics']['seconds']} s")
    return 0 if totals["failed"] == 0 and totals["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
