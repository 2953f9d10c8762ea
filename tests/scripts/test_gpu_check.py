# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu-check packs what a GPU machine lacks, and its runner counts GoogleTest cases into one JSON result."""
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

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


@pytest.fixture
def pack(tmp_path):
    """pack(): scripts/gpu-check --pack with programs that were never compiled, one of them of `mib`."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "CMakePresets.json", tmp_path)
    script(tmp_path / "scripts/bootstrap", 'echo "$*" >"$(dirname "$0")/bootstrap.called"')
    tools = tmp_path / "tools"
    (tmp_path / "libother.so.1").write_text("library", encoding="utf-8")
    script(tools / "nvcc", "exit 0")
    build = tmp_path / "build/cuda"
    rates = build / "benchmarks/models"
    for model in ("DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-V2-Lite"):
        (tmp_path / "tests/data/configs" / model).mkdir(parents=True)
        (tmp_path / "tests/data/configs" / model / "config.json").write_text("{}", encoding="utf-8")
    script(tools / "ninja", f"mkdir -p {build}/tests/kernels {rates} && cp /bin/true {rates}/device_rates_run && cp /bin/true {build}/tests/kernels/a_test && cp /bin/true {build}/libhadal_torch.so")
    script(tools / "cmake", f'echo "$*" >{tmp_path}/cmake.called')
    script(tools / "ctest", 'echo "  Test  #1: a_test"')
    script(tools / "strip", 'cp "$3" "$2"')
    script(tools / "ldd", f'printf "\\tlibother.so.1 => {tmp_path}/libother.so.1 (0x1)\\n\\tlibcudart.so.13 => /x/libcudart.so.13 (0x2)\\n"')

    def pack_with(mib=0):
        with open(tmp_path / "libother.so.1", "wb") as library:
            library.write(b"\1" * (mib << 20))
        return run(tmp_path / "scripts/gpu-check", "--pack", "--arch", "80;90a", env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)})

    return pack_with


def test_pack_takes_the_gpu_tests_and_their_libraries_but_not_cudas(pack, tmp_path):
    done = pack()
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "build/gpu-check"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "commit") == [
        "bin/a_test", "bin/device_rates", "bin/libhadal_torch.so", "configs/DeepSeek-R1-Distill-Qwen-7B/config.json",
        "configs/DeepSeek-V2-Lite/config.json", "lib/libother.so.1", "run"]
    called = (tmp_path / "cmake.called").read_text(encoding="utf-8")
    assert "--preset cuda" in called and "-DHADAL_TORCH=ON" in called and "-DCMAKE_CUDA_ARCHITECTURES=80;90a" in called
    assert "--cuda" in (tmp_path / "scripts/bootstrap.called").read_text(encoding="utf-8")


def test_a_pack_that_is_too_large_fails_with_its_size_and_the_limit(pack):
    assert pack(mib=50).returncode == 0
    done = pack(mib=60)
    assert done.returncode == 1
    found = re.search(r"error: the pack build/gpu-check has (\d+) MB, limit 60 MB: fewer architectures than --arch '80;90a'", done.stderr)
    assert found and 60 < int(found[1]) < 66, done.stderr
    assert "packed" not in done.stderr


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


def test_ops_are_swapped_where_libtorch_is(packed, tmp_path):
    folder, add = packed
    add("device_model_test", PASSED, before='echo "$GTEST_FILTER $HADAL_CUDA_TORCH_OPS" >>"$SEEN"')
    (folder / "bin/libhadal_torch.so").write_text("no test", encoding="utf-8")
    seen, site, result = tmp_path / "seen", tmp_path / "site", tmp_path / "result.json"

    def outcome():
        seen.unlink(missing_ok=True)
        run(sys.executable, folder / "run", result, env={**os.environ, "SEEN": str(seen), "PYTHONPATH": str(site)})
        found = next(test for test in json.loads(result.read_text(encoding="utf-8"))["tests"] if test["name"] == "swapped")
        return found, [line for line in seen.read_text(encoding="utf-8").splitlines() if "gemm,paged_attention" in line]

    (site / "torch/lib").mkdir(parents=True)
    (site / "torch/lib/libtorch_cuda.so").write_text("library", encoding="utf-8")
    found, lines = outcome()
    assert found["passed"] == 1 and len(lines) == 1 and lines[0].startswith("*DeviceParityTest")
    shutil.rmtree(site)
    found, lines = outcome()
    if "torch/lib" not in json.loads(result.read_text(encoding="utf-8"))["machine"]["torch"]:  # this machine's own python3 may have one
        assert found["skipped"] == 1 and "libtorch" in found["reason"] and not lines


def test_running_what_was_not_packed_says_what_to_do(tmp_path):
    done = run(ROOT / "scripts/gpu-check", "--run", tmp_path)
    assert done.returncode == 1 and "--pack" in done.stderr


LIMITS = {"measure": "limits", "copy_gb_s": 4000.0, "product_tflop_s": 700.0}
DECODE = {"model": "DeepSeek-R1-Distill-Qwen-7B", "measure": "decode", "sequences": 1, "tokens_per_s": 250.0, "share": 0.83}


def rates(folder, *lines, after="exit 0"):
    printed = "\n".join(json.dumps(line) for line in lines)
    script(folder / "bin/device_rates", f"cat <<'END'\n{printed}\nEND\n{after}")


def test_stages_run_by_value_and_not_by_name(packed):
    folder, add = packed
    for name in ("a_test", "device_model_test", "kernels_ops_test"):
        add(name, PASSED, before='[ -n "$GTEST_FILTER" ] || exit 9')
    rates(folder, LIMITS, DECODE)
    _, result = check(folder)
    names = [test["name"] for test in result["tests"]]
    assert names == ["real_shapes", "families", "rates_7b", "rates_v2_lite", "start_7b", "start_v2_lite", "ops", "batches", "swapped", "few_rows", "sanitizer", "a_test"]
    assert result["open"] == []
    assert result["tests"][2]["rates"] == [LIMITS, DECODE]


def test_a_filter_runs_every_test_binary_once_and_measures_nothing(packed):
    folder, add = packed
    add("kernels_ops_test", PASSED, before='[ "$GTEST_FILTER" = "*One" ] || exit 9')
    rates(folder, LIMITS)
    done = run(sys.executable, folder / "run", folder.parent / "result.json", env={**os.environ, "GTEST_FILTER": "*One"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [test["name"] for test in json.loads((folder.parent / "result.json").read_text())["tests"]] == ["kernels_ops_test"]


def test_a_run_that_is_killed_leaves_what_it_knew(packed):
    folder, add = packed
    add("a_test", PASSED)
    script(folder / "bin/b_test", "touch \"$STARTED\"; exec sleep 60")
    result, started = folder.parent / "result.json", folder.parent / "started"
    process = subprocess.Popen([sys.executable, folder / "run", result], env={**os.environ, "STARTED": str(started)},
                               stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 50
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert started.exists()
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    known = json.loads(result.read_text(encoding="utf-8"))
    assert [test["name"] for test in known["tests"]] == ["a_test"] and known["open"] == ["b_test"]
    assert known["metrics"]["passed"] == 1


def test_what_was_reported_before_a_time_out_counts(packed):
    folder, _ = packed
    rates(folder, LIMITS, DECODE, after="exec sleep 60")
    script(folder / "bin/a_test", "echo '[       OK ] A.One (1 ms)'; echo '[  FAILED  ] A.Two (1 ms)'; exec sleep 60")
    done, result = check(folder, "--budget", "3")
    assert done.returncode == 1
    first = result["tests"][0]
    assert first["rates"] == [LIMITS, DECODE] and "no end after" in first["failures"][0]["message"]
    (folder / "bin/device_rates").unlink()
    test = check(folder, "--budget", "3")[1]["tests"][0]
    assert test["passed"] == 1 and [failure["case"] for failure in test["failures"]] == ["A.Two", "a_test"]


def test_the_sanitizer_fails_the_check_when_it_finds_something(packed, tmp_path):
    folder, add = packed
    add("kernels_ops_test", PASSED)
    tools = tmp_path / "tools"
    script(tools / "compute-sanitizer", 'echo "$*" >"$SEEN"; echo "Invalid __global__ read"; exit 99')
    seen = tmp_path / "seen"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SEEN": str(seen)}
    done = run(sys.executable, folder / "run", tmp_path / "result.json", env=environment)
    outcome = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["tests"][-1]
    assert done.returncode == 1 and outcome["name"] == "sanitizer" and outcome["failed"] == 1
    assert "Invalid __global__ read" in outcome["failures"][0]["message"]
    assert "--tool memcheck" in seen.read_text(encoding="utf-8")


def test_device_rates_measure_what_the_page_shows(packed, tmp_path):
    """The program itself, on the CPU with a small model of the name that the table has."""
    program = pathlib.Path(os.environ.get("HADAL_BUILD_DIR", ROOT / "build/release")) / "benchmarks/models/device_rates_run"
    if not program.exists():
        pytest.skip("the benchmarks are not built")
    folder, _ = packed
    model = folder / "configs/DeepSeek-R1-Distill-Qwen-7B"
    model.mkdir(parents=True)
    config = json.loads((ROOT / "tests/data/configs/DeepSeek-R1-Distill-Qwen-7B/config.json").read_text(encoding="utf-8"))
    config.update(num_hidden_layers=2, hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2, vocab_size=300,
                  max_window_layers=2, bos_token_id=1, eos_token_id=2)
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    script(folder / "bin/device_rates", f'exec {program} --device=cpu --context=8 --steps=2 --single-steps=3 --runs=1 --copy-mb=1 --product=32 "$@"')
    _, result = check(folder)
    first, second, start, last = result["tests"]
    assert first["failed"] == 0, first["failures"]
    assert start["failed"] == 0 and start["rates"][0]["layers"] == 2, start
    assert second["failed"] == 1 and "DeepSeek-V2-Lite" in second["failures"][0]["message"] and last["failed"] == 1
    page = gpu_page().page(result)
    rows = [line for line in page.splitlines() if line.startswith("| DeepSeek-R1-Distill-Qwen-7B")]
    assert len(rows) == 3 + 7 + 2 + 3 + 1 and not any("open" in row for row in rows), rows
    assert all("open" in line for line in page.splitlines() if line.startswith("| DeepSeek-V2-Lite | "))
    gaps = [rate for rate in first["rates"] if rate["measure"] == "gaps"]
    assert [rate["sequences"] for rate in gaps] == [1, 128, 256] and [rate["steps"] for rate in gaps] == [3, 2, 2]
    assert all(sum(rate["histogram"]) == rate["steps"] for rate in gaps)


def test_a_checkpoint_is_written_to_memory_where_that_has_room(tmp_path, monkeypatch):
    runner = module_of("gpu_run")
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 18 << 30))
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:   {64 << 20} kB\n", encoding="utf-8")
    assert runner.folder_in_memory("/some/shm", meminfo) == "/some/shm"
    meminfo.write_text(f"MemAvailable: {40 << 20} kB\n", encoding="utf-8")
    assert runner.folder_in_memory("/some/shm", meminfo) is None
    assert runner.folder_in_memory("/some/shm", tmp_path / "none") is None
    meminfo.write_text(f"MemAvailable: {64 << 20} kB\n", encoding="utf-8")
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 64 << 20))
    assert runner.folder_in_memory("/some/shm", meminfo) is None


def gpu_page():
    return module_of("gpu_page")


def module_of(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/lib/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes():
    result = ROOT / "benchmarks/results/gpu_check.json"
    written = run(sys.executable, ROOT / "scripts/lib/gpu_page.py", *([result] if result.exists() else [])).stdout
    assert (ROOT / "docs/gpu-results.md").read_text(encoding="utf-8") == written


def test_rows_without_a_measurement_are_open():
    result = {"commit": "c", "date": "2026-01-02T00:00:00Z", "machine": {"gpus": ["H200"]}, "tests": [
        {"name": "real_shapes", "passed": 3, "failed": 1, "skipped": 0, "seconds": 2},
        {"name": "ops", "passed": 0, "failed": 1, "skipped": 0, "seconds": 0},
        {"name": "rates_7b", "passed": 2, "failed": 0, "skipped": 0, "seconds": 9, "rates": [LIMITS, DECODE]}]}
    page = gpu_page().page(result)
    assert "| DeepSeek-R1-Distill-Qwen-7B | decode, 1 sequence | 258 tok/s, 85 % of the bandwidth bound | 250 tok/s | 83 % |" in page
    assert "| DeepSeek-R1-Distill-Qwen-7B | decode, 128 sequences | 20,000 tok/s | open | open |" in page
    assert "| DeepSeek-R1-Distill-Qwen-7B | 4,000 | 700 |" in page and "| DeepSeek-V2-Lite | open | open |" in page
    assert "against the reference, memory guarded | 3 | 1 | 0 |" in page and "| all other op tests | open | | |" in page


def test_every_stage_has_its_row():
    runner = (ROOT / "scripts/lib/gpu_run.py").read_text(encoding="utf-8")
    known = re.findall(r'Stage\("(\w+)"', runner)
    rows = {name for name, _ in gpu_page().CHECKS}
    assert {name for name in known if not name.startswith(("rates_", "start_"))} == rows
    assert set(re.findall(r'model="([^"]+)"', runner)) == {row[0] for row in gpu_page().ROWS}
