# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu-check packs what a GPU machine lacks, and its runner counts GoogleTest cases into one JSON result."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


def run(*command, **kwargs):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **kwargs)


def script(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + body + "\n", encoding="utf-8")
    path.chmod(0o755)


def report(*cases):
    return json.dumps({"testsuites": [{"testsuite": list(cases)}]})


PASSED = {"classname": "A", "name": "One", "status": "RUN", "result": "COMPLETED"}
SKIPPED = {"classname": "A", "name": "Two", "status": "RUN", "result": "SKIPPED"}
FAILED = {"classname": "A", "name": "Three", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x.cc:1\nno GPU"}]}


@pytest.fixture
def packed(tmp_path):
    """A packed folder without tests; add(name, cases) adds one that reports them."""
    folder = tmp_path / "packed"
    (folder / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/lib/gpu_run.py", folder / "run")

    def add(name, *cases, code=0, before=""):
        script(folder / "bin" / name, f"{before}\ncat >\"${{1#--gtest_output=json:}}\" <<'END'\n{report(*cases)}\nEND\nexit {code}")

    return folder, add


def check(folder, *options):
    result = folder.parent / "result.json"
    done = run(ROOT / "scripts/gpu-check", "--run", folder, "--json", result, *options)
    return done, json.loads(result.read_text(encoding="utf-8")) if result.exists() else None


def test_counts_cases_and_requires_the_gpu(packed):
    folder, add = packed
    add("a_test", PASSED, SKIPPED, before='[ "$HADAL_REQUIRE_GPU" = 1 ] || exit 9')
    done, result = check(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {key: result["metrics"][key] for key in ("passed", "failed", "skipped")} == {"passed": 1, "failed": 0, "skipped": 1}


def test_what_a_case_measures_is_in_the_result(packed):
    folder, add = packed
    add("a_test", dict(PASSED, m1_n64_k8="own 2.00 us", time="0s"), SKIPPED)
    done, result = check(folder)
    assert result["tests"][0]["measured"] == {"A.One": {"m1_n64_k8": "own 2.00 us"}}
    assert "A.One: m1_n64_k8: own 2.00 us" in done.stdout


def test_a_failed_case_fails_the_check_and_is_named(packed):
    folder, add = packed
    add("a_test", PASSED, FAILED, code=1)
    done, result = check(folder)
    assert done.returncode == 1
    assert result["tests"][0]["failures"] == [{"case": "A.Three", "message": "x.cc:1\nno GPU"}]


def test_a_crash_and_a_check_without_a_pass_fail(packed):
    folder, add = packed
    script(folder / "bin/crash_test", "echo boom; kill -SEGV $$")
    done, result = check(folder)
    assert done.returncode == 1 and result["metrics"]["failed"] == 1
    assert "boom" in result["tests"][0]["failures"][0]["message"]
    (folder / "bin/crash_test").unlink()
    add("skip_test", SKIPPED)
    assert check(folder)[0].returncode == 1


def test_tests_beyond_the_budget_fail_rather_than_vanish(packed):
    folder, add = packed
    add("a_test", PASSED)
    done, result = check(folder, "--budget", "0")
    assert done.returncode == 1 and "budget" in result["tests"][0]["failures"][0]["message"]


def test_pack_takes_the_gpu_tests_and_their_libraries_but_not_cudas(tmp_path):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "CMakePresets.json", tmp_path)
    script(tmp_path / "scripts/bootstrap", 'echo "$*" >"$(dirname "$0")/bootstrap.called"')
    tools = tmp_path / "tools"
    (tmp_path / "libother.so.1").write_text("library", encoding="utf-8")
    script(tools / "nvcc", "exit 0")
    build = tmp_path / "build/cuda"
    script(tools / "ninja", f"mkdir -p {build}/tests/kernels && cp /bin/true {build}/tests/kernels/a_test && cp /bin/true {build}/libhadal_torch.so")
    script(tools / "cmake", f'echo "$*" >{tmp_path}/cmake.called')
    script(tools / "ctest", 'echo "  Test  #1: a_test"')
    script(tools / "strip", 'cp "$3" "$2"')
    script(tools / "ldd", f'printf "\\tlibother.so.1 => {tmp_path}/libother.so.1 (0x1)\\n\\tlibcudart.so.13 => /x/libcudart.so.13 (0x2)\\n"')
    done = run(tmp_path / "scripts/gpu-check", "--pack", "--arch", "80;90a", env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "build/gpu-check"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "commit") == [
        "bin/a_test", "bin/libhadal_torch.so", "lib/libother.so.1", "run"]
    called = (tmp_path / "cmake.called").read_text(encoding="utf-8")
    assert "--preset cuda" in called and "-DHADAL_TORCH=ON" in called and "-DCMAKE_CUDA_ARCHITECTURES=80;90a" in called
    assert "--cuda" in (tmp_path / "scripts/bootstrap.called").read_text(encoding="utf-8")


def test_libtorch_is_the_machines_and_must_run_where_it_is(packed, tmp_path):
    folder, add = packed
    add("a_test", PASSED, before='echo "$HADAL_REQUIRE_TORCH_CUDA $LD_LIBRARY_PATH" >"$TORCH_SEEN"')
    (folder / "bin/libhadal_torch.so").write_text("no test", encoding="utf-8")
    seen, site = tmp_path / "seen", tmp_path / "site"

    def check_with(path):
        done = run(sys.executable, folder / "run", tmp_path / "result.json", env={**os.environ, "TORCH_SEEN": str(seen), "PYTHONPATH": str(path)})
        assert done.returncode == 0, done.stdout + done.stderr
        return seen.read_text(encoding="utf-8")

    (site / "torch/lib").mkdir(parents=True)
    (site / "torch/lib/libtorch_cuda.so").write_text("library", encoding="utf-8")
    assert re.match(rf"1 .*{site}/torch/lib", check_with(site))
    (folder / "bin/libhadal_torch.so").unlink()
    assert re.match(r" .*", check_with(site)) and "torch/lib" not in check_with(site)


def test_running_what_was_not_packed_says_what_to_do(tmp_path):
    done = run(ROOT / "scripts/gpu-check", "--run", tmp_path)
    assert done.returncode == 1 and "--pack" in done.stderr
