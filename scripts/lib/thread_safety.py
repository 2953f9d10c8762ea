# SPDX-License-Identifier: Apache-2.0
"""Clang's thread-safety analysis of the product's sources: thread_safety.py BUILD_DIR JOBS.

Takes the sources and their flags from BUILD_DIR/compile_commands.json, keeps those that include base/sync.h, also through
other headers of ours, and lets clang check their annotations without generating code. The sets of library headers that the
build precompiles for g++ are precompiled for clang as well. Ninja runs it, so that only what changed is checked again;
stamps, sets and the build file are in BUILD_DIR/thread-safety.
"""
import json
import pathlib
import shlex
import subprocess
import sys

from includes import Includes

SYNC = "base/sync.h"
FOLDERS = ("base", "kernels", "models", "server", "client")
# libstdc++ 12 asks for GCC's macro before it declares std::coroutine_handle.
FLAGS = ["-Wno-everything", "-Wthread-safety", "-Wthread-safety-beta", "-Werror=thread-safety", "-Werror=thread-safety-beta",
         "-D__cpp_impl_coroutine=201902L"]
NINJA = """\
rule check
  command = clang++ -fsyntax-only $flags -MD -MF $out.d -MT $out $in && touch $out
  depfile = $out.d
  deps = gcc
  description = Checking $in
rule precompile
  command = clang++ -x c++-header $flags -MD -MF $out.d -MT $out $in -o $out
  depfile = $out.d
  deps = gcc
  description = Precompiling $in
"""


def clang_flags(command):
    """The part of a g++ command line that says how to read the source."""
    arguments = shlex.split(command)
    kept = []
    for argument, following in zip(arguments, arguments[1:] + [""]):
        if argument == "-isystem":
            kept += [argument, following]
        elif argument.startswith(("-I", "-D", "-std=", "-m")):
            kept.append(argument)
    return kept


def precompiled(command):
    """The set of precompiled headers that a g++ command line takes, or None."""
    arguments = shlex.split(command)
    return next((following for argument, following in zip(arguments, arguments[1:]) if argument == "-include"), None)


def sources(root, database):
    """(path below root, flags, set of precompiled headers or None) of each source that is to be checked."""
    includes = Includes(root)
    for entry in database:
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(root) or path.suffix != ".cc":
            continue
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in FOLDERS and SYNC in includes.of(name):
            yield name, clang_flags(entry["command"]), precompiled(entry["command"])


def check(root, build, jobs):
    """Ninja's exit status and what it printed."""
    database = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    folder = build / "thread-safety"
    folder.mkdir(exist_ok=True)
    lines = [NINJA]
    chosen = sorted(sources(root, database))
    sets = {headers: pathlib.Path(headers).parent.name + ".pch" for _, _, headers in chosen if headers is not None}
    # The carrier of a set lies in the build folder.
    carriers = {precompiled(entry["command"]): entry["command"] for entry in database if pathlib.Path(entry["file"]).is_relative_to(build)}
    for headers, file in sets.items():
        lines.append(f"build {file}: precompile {headers}\n  flags = {shlex.join(FLAGS + clang_flags(carriers[headers]))}\n")
    for name, flags, headers in chosen:
        use = ["-include-pch", sets[headers]] if headers is not None else []
        needs = f" | {sets[headers]}" if headers is not None else ""
        lines.append(f"build {name}.checked: check {root / name}{needs}\n  flags = {shlex.join(FLAGS + flags + use)}\n")
    text = "".join(lines)
    build_file = folder / "build.ninja"
    if not build_file.is_file() or build_file.read_text(encoding="utf-8") != text:
        build_file.write_text(text, encoding="utf-8")
    for parent in {(folder / name).parent for name, _, _ in chosen}:
        parent.mkdir(parents=True, exist_ok=True)
    ninja = subprocess.run(["ninja", "-C", str(folder), "-j", str(jobs), "-k", "0"], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    return ninja.returncode, ninja.stdout, len(chosen)


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    code, output, count = check(root, pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]))
    if code != 0:
        print(output)
    print(f"{count} sources with locks checked")
    return 1 if code != 0 or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
