#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what scripts/gpu-check has packed: run [--budget SECONDS] [RESULT.json].

Lies beside bin/ (GoogleTest binaries and device_rates), configs/ (config.json of published models) and lib/ (their libraries). The
stages run in the order of what their result is worth, each within a limit of its own, and the result is written after each of them, by
rename: a run that is killed leaves what was known, with the stages still open by name. HADAL_REQUIRE_GPU=1 makes a missing GPU a
failure. The CUDA libraries come from the machine: the toolkit, or the Python packages of nvidia. So does libtorch, from the torch
wheel: where it is, libtorch's cases must run; elsewhere they are skipped. GTEST_FILTER in the environment runs every test binary once,
with that filter, and nothing else.
"""
import argparse
import dataclasses
import datetime
import glob
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EVERY_BACKEND = "*/cuda:*_cuda"  # cases that run on every backend; the CPU's are tested elsewhere
# What GoogleTest says of every case; the rest is what the case itself recorded.
CASE_KEYS = {"name", "file", "line", "value_param", "type_param", "status", "result", "timestamp", "time", "classname", "failures", "skipped"}


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    program: str
    limit_s: float
    cases: str = EVERY_BACKEND  # GoogleTest filter
    model: str = ""  # folder below configs/: a table, not a test
    options: tuple = ()  # of the program
    sanitized: bool = False
    swapped: str = ""  # ops that libtorch runs, on the stream of our backend


# By value: are the ops right at real shapes, are whole models right, how fast is it, then everything else.
STAGES = [
    Stage("real_shapes", "kernels_ops_test", 90, "*DeviceShapesTest*cuda"),
    Stage("families", "device_model_test", 90, "*DeviceParityTest*_cuda"),
    Stage("rates_7b", "device_rates", 90, model="DeepSeek-R1-Distill-Qwen-7B"),
    Stage("rates_v2_lite", "device_rates", 120, model="DeepSeek-V2-Lite"),
    Stage("start_7b", "device_rates", 60, model="DeepSeek-R1-Distill-Qwen-7B", options=("--checkpoint=checkpoint",)),
    Stage("start_v2_lite", "device_rates", 60, model="DeepSeek-V2-Lite", options=("--checkpoint=checkpoint",)),
    Stage("ops", "kernels_ops_test", 120, f"{EVERY_BACKEND}:-*DeviceShapesTest*:*GemvSpeedTest*"),
    Stage("batches", "device_model_test", 120, "*_cuda:-*DeviceParityTest*"),
    Stage("swapped", "device_model_test", 60, "*DeviceParityTest*bf16_cuda", swapped="gemm,paged_attention,mla_attention,rms_norm"),
    Stage("few_rows", "kernels_ops_test", 60, "*GemvSpeedTest*"),
    Stage("sanitizer", "kernels_ops_test", 90, "*DeviceShapesTest.GemmWithBias*/cuda:*DeviceShapesTest.MlaAttention/cuda:*DeviceShapesTest.PagedAttention/cuda",
          sanitized=True),
]
OTHER_LIMIT_S = 180
CHECKPOINT_BYTES = 17 << 30  # what device_rates writes at most, and a little more


def stages():
    """Those whose program is packed, then every other test binary."""
    programs = sorted(path.name for path in (HERE / "bin").iterdir() if path.suffix != ".so")
    chosen = os.environ.get("GTEST_FILTER")
    if chosen:
        return [Stage(name, name, OTHER_LIMIT_S, chosen) for name in programs if name != "device_rates"]
    known = [stage for stage in STAGES if stage.program in programs]
    named = {stage.program for stage in STAGES}
    return known + [Stage(name, name, OTHER_LIMIT_S) for name in programs if name not in named]


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


def sanitizer():
    """compute-sanitizer of the toolkit, or None."""
    return shutil.which("compute-sanitizer") or next(iter(sorted(glob.glob("/usr/local/cuda*/bin/compute-sanitizer"))), None)


def folder_in_memory(shared="/dev/shm", meminfo="/proc/meminfo"):
    """Where the weights of a start are written in seconds and are as in the page cache; None: where that would not take them."""
    try:
        available = int(re.search(r"MemAvailable: +(\d+) kB", pathlib.Path(meminfo).read_text(encoding="utf-8"))[1]) << 10
        return shared if shutil.disk_usage(shared).free > CHECKPOINT_BYTES and available > 3 * CHECKPOINT_BYTES else None
    except (OSError, TypeError):
        return None


def gpu():
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def run_program(command, environment, limit_s, folder):
    """Exit code, standard output and standard error; what was printed before a time-out is kept."""
    try:
        done = subprocess.run(command, env=environment, cwd=folder, timeout=limit_s, capture_output=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        out, err = ((text or b"").decode(errors="replace") for text in (expired.stdout, expired.stderr))
        return -1, out, f"{err}\nno end after {limit_s:.0f} s"


def fail(outcome, case, message):
    outcome["failed"] += 1
    outcome["failures"].append({"case": case, "message": message})


def count_cases(outcome, suites):
    for case in (case for suite in suites for case in suite["testsuite"]):
        name = f"{case['classname']}.{case['name']}"
        measured = {key: value for key, value in case.items() if key not in CASE_KEYS}
        if measured:
            outcome["measured"][name] = measured
        if case.get("failures"):
            fail(outcome, name, case["failures"][0]["failure"][:2000])
        elif case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
            outcome["skipped"] += 1
        else:
            outcome["passed"] += 1


def run_stage(stage, environment, limit_s):
    """One stage; a crash or a time-out counts as one failure beside what was reported until then."""
    outcome = {"name": stage.name, "passed": 0, "failed": 0, "skipped": 0, "failures": [], "measured": {}}
    start = time.monotonic()
    command = [str(HERE / "bin" / stage.program)]
    if stage.sanitized:
        tool = sanitizer()
        if not tool:
            return dict(outcome, skipped=1, seconds=0, reason="compute-sanitizer is not installed")
        command = [tool, "--tool", "memcheck", "--error-exitcode", "99", *command]
    if stage.swapped:
        if "HADAL_REQUIRE_TORCH_CUDA" not in environment:
            return dict(outcome, skipped=1, seconds=0, reason="libtorch with CUDA is not installed")
        environment = dict(environment, HADAL_CUDA_TORCH_OPS=stage.swapped)
    with tempfile.TemporaryDirectory(dir=folder_in_memory() if stage.options else None) as folder:  # a written checkpoint goes with it
        report = pathlib.Path(folder) / "report.json"
        if stage.model:
            command += [*stage.options, str(HERE / "configs" / stage.model)]
        else:
            command.append(f"--gtest_output=json:{report}")
        code, out, err = run_program(command, dict(environment, GTEST_FILTER=stage.cases), limit_s, folder)
        suites = json.loads(report.read_text(encoding="utf-8"))["testsuites"] if report.is_file() else None
    if stage.model:
        outcome["rates"] = [json.loads(line) for line in out.splitlines() if line.startswith("{") and line.endswith("}")]
        outcome["passed"] = len(outcome["rates"])
    elif suites is not None:
        count_cases(outcome, suites)
    else:  # GoogleTest writes its report at the end; its lines are there as the cases end
        outcome["passed"] = len(re.findall(r"^\[ +OK \]", out, re.MULTILINE))
        for name in sorted(set(re.findall(r"^\[ +FAILED +\] (\S+?),? ", out, re.MULTILINE))):
            fail(outcome, name, "failed before the program ended early")
    if code != 0 and (outcome["failed"] == 0 or suites is None or code == 99):
        fail(outcome, stage.name, f"ended with code {code}\n{out[-2000:]}{err[-2000:]}")
    outcome["seconds"] = round(time.monotonic() - start, 2)
    return outcome


def show(outcome):
    print(f"{outcome['seconds']:7.1f} s  {outcome['name']}: {outcome['passed']} passed, {outcome['failed']} failed, "
          f"{outcome['skipped']} skipped {outcome.get('reason', '')}".rstrip(), flush=True)
    for name, values in outcome["measured"].items():
        for key, value in values.items():
            print(f"           {name}: {key}: {value}", flush=True)
    for rate in outcome.get("rates", []):
        print(f"           {json.dumps(rate)}", flush=True)
    for failure in outcome["failures"][:5]:
        print(f"           FAILED {failure['case']}: {failure['message'][:600]}", flush=True)


def write(path, result):
    """Whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=540, help="start no stage after this many seconds, and stop the one that runs")
    parser.add_argument("json", nargs="?", default=str(HERE / "result.json"), help="result file")
    arguments = parser.parse_args()

    environment = dict(os.environ, HADAL_REQUIRE_GPU="1")
    torch = torch_folder() if (HERE / "bin/libhadal_torch.so").exists() else ""
    if torch:
        environment["HADAL_REQUIRE_TORCH_CUDA"] = "1"
    folders = library_folders() + [folder for folder in (torch, os.environ.get("LD_LIBRARY_PATH", "")) if folder]
    environment["LD_LIBRARY_PATH"] = ":".join(folders)
    commit = HERE / "commit"
    start, todo = time.monotonic(), stages()
    result = {
        "name": "gpu-check",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit.read_text(encoding="utf-8").strip() if commit.is_file() else "",
        "machine": {"gpus": gpu(), "torch": torch, "cores": os.cpu_count(), "kernel": platform.release()},
        "metrics": {},
        "open": [],
        "tests": [],
    }

    def note():
        totals = {key: sum(test[key] for test in result["tests"]) for key in ("passed", "failed", "skipped")}
        result["metrics"] = dict(totals, seconds=round(time.monotonic() - start, 1))
        result["open"] = [stage.name for stage in todo[len(result["tests"]):]]
        write(pathlib.Path(arguments.json), result)
        return totals

    totals = note()
    for stage in todo:
        left = arguments.budget - (time.monotonic() - start)
        if left > 0:
            outcome = run_stage(stage, environment, min(stage.limit_s, left))
        else:
            outcome = {"name": stage.name, "passed": 0, "failed": 0, "skipped": 0, "seconds": 0, "failures": [], "measured": {}}
            fail(outcome, stage.name, "not started: the time budget was used up")
        result["tests"].append(outcome)
        totals = note()
        show(outcome)
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped in {result['metrics']['seconds']} s")
    return 0 if totals["failed"] == 0 and totals["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
