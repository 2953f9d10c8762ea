# SPDX-License-Identifier: Apache-2.0
"""Checks how a CUDA build compiles its kernels: check_cuda_build.py BUILD_DIR.

Under NVIDIA's MPS a module with dynamic parallelism does not load. Device code can launch kernels only when it is compiled as
relocatable, which nvcc else refuses, so that no source is compiled so.
"""
import json
import pathlib
import re
import sys

RELOCATABLE = re.compile(r"(?:^|\s)(?:-dc|-rdc[= ]true|--device-c|--relocatable-device-code[= ]true)(?=\s|$)")


def find_problems(commands):
    """Of compile_commands.json."""
    kernels = [entry for entry in commands if entry["file"].endswith(".cu")]
    if not kernels:
        return ["no .cu file is compiled: is this a build of the cuda preset?"]
    return [f"{entry['file']}: compiled as relocatable device code, so that it may launch kernels itself"
            for entry in kernels if RELOCATABLE.search(entry["command"])]


def main():
    commands = json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text(encoding="utf-8"))
    problems = find_problems(commands)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
