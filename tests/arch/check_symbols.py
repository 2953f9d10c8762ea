# SPDX-License-Identifier: Apache-2.0
"""Checks with nm that compiled objects hold no symbol of a library their layer must not know: check_symbols.py BUILD_DIR.

It sees what the include check cannot: a library that comes in through a third-party header or a link dependency. It also checks
that objects compiled for an instruction set define no weak function: the linker might give it to callers on other machines.
"""
import pathlib
import re
import subprocess
import sys

DEVICE = r"N5torch\d|_ZNK?2at\d|_ZNK?3c10\d|\bcuda[A-Z]\w+|\bcu(?:Ctx|Mem|Init|Device|Module|Stream)\w*|\bcublas\w+|\bcudnn\w+|\bnccl\w+"
DNNL = r"\bdnnl_\w+|4dnnl\d"
GRPC = r"4grpc\d|\bgrpc_\w+"
PROTOBUF = r"6google8protobuf"
JSON = r"8nlohmann|8simdjson"

# folder of the build tree -> what its objects must not mention
BANNED = {
    "server": (DEVICE, DNNL),
    "server/base": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "server/request": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "server/admission": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "server/engine": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "server/service": (DEVICE, DNNL, GRPC, PROTOBUF),
    "server/tls": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "server/http": (DEVICE, DNNL, GRPC, PROTOBUF),
    "models": (DEVICE, DNNL, GRPC, PROTOBUF),
    "kernels": (r"N5torch\d", GRPC, PROTOBUF, JSON),
    "kernels/reference": (DEVICE, DNNL, GRPC, PROTOBUF, JSON),
    "kernels/torch": (DNNL, GRPC, PROTOBUF, JSON),
    "kernels/cpu": (DEVICE, GRPC, PROTOBUF, JSON),
    "client": (DEVICE, DNNL, JSON),
}

# compiled with flags that not every machine understands
INSTRUCTION_SET_OBJECT = re.compile(r"/cpu/(avx|amx)[^/]*\.o$")


def folder_of(path):
    """'kernels/CMakeFiles/hadal_kernels.dir/cpu/gemm.cc.o' -> 'kernels/cpu'; None for a folder without a rule."""
    folder = re.sub(r"/CMakeFiles/[^/]+\.dir/", "/", path).rpartition("/")[0]
    matching = [name for name in BANNED if folder == name or folder.startswith(name + "/")]
    return max(matching, key=len) if matching else None


def find_banned(folder, listing):
    """The banned symbols in a listing with one symbol a line."""
    pattern = re.compile("|".join(BANNED[folder]))
    found = set()
    for match in pattern.finditer(listing):
        start = listing.rfind("\n", 0, match.start()) + 1
        found.add(listing[start:].split("\n", 1)[0].split(" ", 1)[0])
    return sorted(found)


def find_weak_functions(listing):
    """The weak functions that a listing of nm --format=posix (name, type, address) defines."""
    return sorted(line.split()[0] for line in listing.splitlines() if line.split()[1:2] == ["W"])


def symbols_of(path):
    return subprocess.run(["nm", "--format=just-symbols", str(path)], check=True, capture_output=True, text=True).stdout


def main():
    build = pathlib.Path(sys.argv[1])
    checked, problems = 0, []
    for path in sorted(build.rglob("*.o")):
        name = path.relative_to(build).as_posix()
        folder = folder_of(name)
        if folder is None:
            continue
        checked += 1
        found = find_banned(folder, symbols_of(path))
        problems += [f"{name}: {folder} must not know {symbol}" for symbol in found[:5]]
        if INSTRUCTION_SET_OBJECT.search(name):
            listing = subprocess.run(["nm", "--format=posix", str(path)], check=True, capture_output=True, text=True).stdout
            problems += [f"{name}: must be local, or be kept out: {symbol}" for symbol in find_weak_functions(listing)[:5]]
    print("\n".join(problems))
    print(f"{checked} objects checked, {len(problems)} problems")
    return 1 if problems or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
