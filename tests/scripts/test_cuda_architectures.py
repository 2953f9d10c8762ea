# SPDX-License-Identifier: Apache-2.0
"""A CUDA build is configured for one kind of GPU or for several: what each kernel is then compiled for. Nothing is compiled here."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(os.environ.get("HADAL_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
ALL = ["80", "86", "89", "90a", "100", "120"]

pytestmark = [
    pytest.mark.skipif(not (shutil.which("nvcc") or os.access("/usr/local/cuda/bin/nvcc", os.X_OK)), reason="the CUDA toolkit is not installed"),
    pytest.mark.skipif(not (ROOT / ".deps/flashinfer/include").is_dir(), reason="scripts/bootstrap --cuda has not run")]


def kernels(folder, architectures):
    """What each .cu file of a build for these is compiled for."""
    done = subprocess.run(["cmake", "--preset", "cuda", "-B", folder, "-DHADAL_SERVER=OFF", "-DHADAL_TESTS=OFF", "-DHADAL_BENCHMARKS=OFF",
                           "-DCMAKE_CUDA_ARCHITECTURES=" + ";".join(architectures)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    commands = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
    return {pathlib.Path(entry["file"]).name: set(re.findall(r"compute_(\w+),code", entry["command"].replace("[", "")))
            for entry in commands if entry["file"].endswith(".cu")}, commands


def test_one_binary_holds_all_of_them(tmp_path):
    found, commands = kernels(tmp_path, ALL)
    hopper = {"flashinfer_hopper.cu", "flashinfer_mla_hopper_bf16.cu", "flashinfer_mla_hopper_f16.cu", "flashinfer_prefill_bf16.cu",
              "flashinfer_prefill_f16.cu"}
    assert {name for name, compiled_for in found.items() if compiled_for == {"90a"}} == hopper
    assert {name for name, compiled_for in found.items() if compiled_for == set(ALL)} == set(found) - hopper
    assert {"attention.cu", "gemv.cu", "cutlass_grouped.cu", "flashinfer_mla.cu"} <= set(found) - hopper
    device = next(entry["command"] for entry in commands if entry["file"].endswith("/cuda_device.cc"))
    assert "80, 86, 89, 90a, 100, 120" in device.replace("\\", "")  # what a GPU without code is told


def test_a_build_without_hopper_leaves_its_kernels_out(tmp_path):
    others = {"80", "120"}
    found, commands = kernels(tmp_path, sorted(others))
    assert found and all(compiled_for == others for compiled_for in found.values())
    assert not any("hopper" in name or "prefill" in name for name in found)
    assert any(entry["file"].endswith("/flashinfer_hopper_unavailable.cc") for entry in commands)
