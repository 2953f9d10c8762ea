# SPDX-License-Identifier: Apache-2.0
"""What the Python benchmarks share: the description of the machine and the form of a result (benchmarks/README.md)."""
import datetime
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[1]))
FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
         "avx_vnni", "amx_tile", "amx_bf16", "amx_int8")


def _run(*command, timeout=30, **kwargs):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **kwargs)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _cpu_info(key):
    match = re.search(rf"^{key}\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else ""


@functools.cache
def memory_bandwidth_gb_s(threads=None):
    """Read bandwidth in GB/s of all cores together (or of `threads`), measured now; None where there is no g++."""
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "memory_bandwidth")
        source = str(ROOT / "benchmarks/memory_bandwidth.cc")
        _run("g++", "-std=c++20", "-O3", "-march=native", "-pthread", source, "-o", binary, timeout=120)
        if not os.path.exists(binary):
            return None
        printed = _run(binary, str(threads or cores()), timeout=120)
        return float(printed) if printed else None


def cores():
    return len(os.sched_getaffinity(0))


@functools.cache
def machine(bandwidth=True):
    """The machine as a dict; every result carries it, so that a figure is never read without it."""
    flags = set(_cpu_info("flags").split())
    memory_kib = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="utf-8")).group(1))
    description = {
        "cpu": _cpu_info("model name"),
        "cores": cores(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": os.uname().release,
    }
    if bandwidth:
        description["memory_bandwidth_gb_s"] = memory_bandwidth_gb_s()
    gpu = _run("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    if gpu:
        description["gpus"] = gpu.splitlines()
    return description


def commit():
    """The commit that was measured, with '+changes' when tracked files differ from it; '' outside a checkout."""
    name = _run("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if name and _run("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"):
        name += "+changes"
    return name


def result(name, metrics, settings=None, bandwidth=True):
    """A result in the form of benchmarks/README.md. `metrics` maps a name with its unit to a number."""
    return {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "machine": machine(bandwidth),
        "settings": settings or {},
        "metrics": metrics,
    }


def write(outcome, path=None):
    """Prints the result as JSON on stdout, or writes it to `path`."""
    text = json.dumps(outcome, indent=2, ensure_ascii=False) + "\n"
    if path:
        pathlib.Path(path).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    write(machine())
