# SPDX-License-Identifier: Apache-2.0
"""Checks that our kernels divide in 32 bits: check_cuda_divisions.py BUILD_DIR, of the cuda preset.

A GPU has no instruction for a division: one of 64 bits is a function of some seventy instructions, one of 32 a tenth of that. So
kernels take indices from the grid or divide them by Divide (device.cuh), and PTX, which names a division as one instruction, shows
where one was overlooked, or made by the compiler to unroll a loop.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ENTRY = re.compile(r"\.(?:entry|func)\s.*?\b(_Z\w+)")
DIVISION = re.compile(r"\b(?:div|rem)\.[su]64\b")
# Slots and elements that no 32 bits hold, a path chosen at run time; and a likelihood, which has 64, once a row.
ALLOWED = {"CastKernelIm": 4, "KvAppendKernelE": 1, "RopeKvAppendKernelE": 2, "SampleDigitKernelE": 1, "SampleSumKernelE": 1}
KERNEL = re.compile(r"\d(?:%s)" % "|".join(ALLOWED))
LIBRARIES = re.compile(r"/(?:flashinfer|cutlass)\w*\.cu$")


def find_divisions(ptx):
    """Problems of one file's PTX."""
    kernel, counts = "?", collections.Counter()
    for line in ptx.splitlines():
        found = ENTRY.search(line)
        kernel = found.group(1) if found else kernel
        counts[kernel] += len(DIVISION.findall(line))
    allowed = {kernel: ALLOWED[found.group(0)[1:]] for kernel in counts if (found := KERNEL.search(kernel))}
    return [f"{kernel}: {count} divisions of 64 bits, {allowed.get(kernel, 0)} allowed" for kernel, count in counts.items()
            if count > allowed.get(kernel, 0)]


def own_kernels(commands):
    """nvcc, the files and the root of the sources."""
    kernels = [entry for entry in commands if "/kernels/cuda/" in entry["file"] and entry["file"].endswith(".cu")
               and not LIBRARIES.search(entry["file"])]
    compilers = {word for entry in kernels for word in shlex.split(entry["command"])[:2] if word.endswith("nvcc")}
    return next(iter(compilers), ""), sorted({entry["file"] for entry in kernels})


def main():
    nvcc, files = own_kernels(json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text(encoding="utf-8")))
    if not files:
        print("no .cu file is compiled: is this a build of the cuda preset?")
        return 1

    def check(file):
        root = str(pathlib.Path(file).parents[2])
        command = [nvcc, "-std=c++17", "-O3", "-arch=compute_80", "--expt-relaxed-constexpr", f"-I{root}", "--ptx", file, "-o", "/dev/stdout"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not ENTRY.search(done.stdout):
            return [f"{file}: no PTX: {done.stderr[-500:]}"]
        return [f"{file}: {problem}" for problem in find_divisions(done.stdout)]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for found in pool.map(check, files) for problem in found]
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
