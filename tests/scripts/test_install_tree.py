# SPDX-License-Identifier: Apache-2.0
"""The tree of the runtime image has all that the binary needs: its libraries come from the packages that are listed, and it serves."""
import os
import pathlib
import re
import shutil
import subprocess
import urllib.request

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", ROOT / "build/release"))

pytestmark = [pytest.mark.skipif(not os.access(BUILD / "hadal", os.X_OK), reason="the server is not built (HADAL_BUILD_DIR)"),
              pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="the packages of libraries are known on Debian only")]


# A program and a library that no package owns, as CUDA's are.
PROJECT = """cmake_minimum_required(VERSION 3.25)
project(stand_in C)
file(WRITE "${CMAKE_BINARY_DIR}/alone.c" "int alone(void) { return 42; }")
file(WRITE "${CMAKE_BINARY_DIR}/main.c" "int alone(void); int main(void) { return alone() - 42; }")
add_library(alone SHARED "${CMAKE_BINARY_DIR}/alone.c")
add_executable(hadal "${CMAKE_BINARY_DIR}/main.c")
target_link_libraries(hadal PRIVATE alone)
set_target_properties(hadal PROPERTIES INSTALL_RPATH "${RPATH}")
install(TARGETS hadal RUNTIME DESTINATION bin COMPONENT hadal)
"""


def install(build, out):
    return subprocess.run([ROOT / "scripts/lib/install_tree.sh", build, out], capture_output=True, text=True, timeout=120)


def stand_in(folder, rpath):
    (folder / "CMakeLists.txt").write_text(PROJECT, encoding="utf-8")
    build = folder / "build"
    subprocess.run(["cmake", "-S", folder, "-B", build, "-G", "Ninja", f"-DRPATH={rpath}"], check=True, stdout=subprocess.DEVNULL, timeout=120)
    subprocess.run(["ninja", "-C", build], check=True, stdout=subprocess.DEVNULL, timeout=120)
    return build


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    out = tmp_path_factory.mktemp("image")
    result = install(BUILD, out)
    assert result.returncode == 0, result.stderr
    return out


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **kwargs)


def test_every_library_is_in_a_listed_package_or_in_the_tree(tree):
    packages = (tree / "runtime-packages").read_text(encoding="utf-8").split()
    assert packages == sorted(set(packages) - {"ca-certificates"}) + ["ca-certificates"]
    assert {"libc6", "libstdc++6"} <= set(packages)
    assert not [package for package in packages if package.endswith("-dev")], "headers have no place in the image"
    files = set(run("dpkg-query", "-L", *packages).stdout.splitlines())
    assert "[$ORIGIN/../lib]" in run("readelf", "-d", tree / "hadal/bin/hadal").stdout
    linked = run("ldd", tree / "hadal/bin/hadal").stdout
    assert "not found" not in linked
    for library in re.findall(r"=> (/\S+)", linked):
        real = os.path.realpath(library)
        assert {library, real, real.removeprefix("/usr")} & files or (tree / "hadal/lib" / pathlib.Path(library).name).exists(), library


def test_binary_is_stripped_and_serves_the_model_of_the_tree(tree):
    binary = tree / "hadal/bin/hadal"
    assert binary.stat().st_size < (BUILD / "hadal").stat().st_size
    environment = {"PATH": "/usr/bin:/bin"}  # nothing else of this machine's
    with subprocess.Popen([binary, "serve", "--port=0", "--log-format=text"], cwd=tree, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as server:
        try:
            lines = iter(server.stdout.readline, "")
            port = next(found.group(1) for found in (re.search(r"listening on http://\S+:(\d+)", line) for line in lines) if found)
            assert any(line.rstrip().endswith("ready") for line in lines)
            assert run(binary, "health", "--port", port, "--check", "ready").returncode == 0
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=20) as answer:
                assert b"hadal-demo" in answer.read()
        finally:
            server.terminate()
            output = server.stdout.read()
    assert server.returncode == 0, output


def test_licences_are_in_the_tree(tree):
    for name in ("LICENSE", "NOTICE", "models/demo/config.json"):
        assert (tree / "hadal" / name).is_file(), name


def test_a_library_without_a_package_is_found_beside_the_binary(tmp_path):
    build = stand_in(tmp_path, "$ORIGIN/../lib")
    result = install(build, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    (build / "libalone.so").unlink()
    assert (tmp_path / "out/hadal/lib/libalone.so").exists()
    assert run(tmp_path / "out/hadal/bin/hadal").returncode == 0


@pytest.mark.parametrize("rpath", ["", "/nowhere"])
def test_a_binary_that_does_not_look_there_is_refused(tmp_path, rpath):
    result = install(stand_in(tmp_path, rpath), tmp_path / "out")
    assert result.returncode != 0
    assert "libalone.so => not found" in result.stderr
    assert "does not find all of its libraries" in result.stderr
