# SPDX-License-Identifier: Apache-2.0
"""`hadal plan` on the configuration of every published checkpoint (tests/data/configs): family, parameters, cache bytes, and
what fits on devices of 80 and 141 GiB. Parameters are compared with the published counts, in billions, and exactly with
what the classes of transformers hold."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(os.environ.get("HADAL_SOURCE_DIR", Path(__file__).resolve().parents[2]))
BINARY = Path(os.environ.get("HADAL_BINARY", SOURCE / "build" / "release" / "hadal"))
CONFIGS = SOURCE / "tests" / "data" / "configs"
GIB = 1 << 30


@dataclass
class Row:
    checkpoint: str
    parameters: float  # billions, as published
    active: float  # in matrices per decoded token, billions
    cache: int  # bytes a token in bf16
    stands_for: str = ""  # other checkpoints with these sizes


# Parameters and cache sizes of the published models. V3.2's index keys are cached in bf16 here: 256 bytes a token and layer instead of 132.
ROWS = [
    Row("deepseek-llm-7b", 6.910, 6.491, 491520, "deepseek-math-7b"),
    Row("deepseek-llm-67b", 67.425, 66.585, 389120),
    Row("deepseek-coder-1.3b", 1.346, 1.280, 196608),
    Row("deepseek-coder-5.7bmqa", 5.700, 5.568, 16384),
    Row("deepseek-coder-6.7b", 6.741, 6.608, 524288),
    Row("deepseek-coder-33b", 33.343, 33.111, 253952),
    Row("deepseek-coder-7b-v1.5", 6.910, 6.491, 491520),
    Row("DeepSeek-R1-Distill-Qwen-1.5B", 1.777, 1.544, 28672),
    Row("DeepSeek-R1-Distill-Qwen-7B", 7.616, 7.070, 57344),
    Row("DeepSeek-R1-Distill-Qwen-14B", 14.770, 13.991, 196608),
    Row("DeepSeek-R1-Distill-Qwen-32B", 32.764, 31.984, 262144),
    Row("DeepSeek-R1-Distill-Llama-8B", 8.030, 7.505, 131072),
    Row("DeepSeek-R1-Distill-Llama-70B", 70.554, 69.502, 327680),
    Row("DeepSeek-R1-0528-Qwen3-8B", 8.191, 7.568, 147456),
    Row("deepseek-moe-16b", 16.376, 2.619, 229376),
    Row("DeepSeek-V2-Lite", 15.706, 2.451, 31104, "Coder-V2-Lite"),
    Row("DeepSeek-V2", 235.741, 20.851, 69120, "V2-Chat, V2.5, Coder-V2"),
    Row("DeepSeek-V3", 671.026, 36.625, 70272, "V3-0324, R1, R1-Zero, R1-0528"),
    Row("DeepSeek-V3.1", 671.026, 36.625, 70272, "V3.1-Base, V3.1-Terminus"),
    Row("DeepSeek-V3.2", 671.878, 37.476, 70272 + 61 * 256, "V3.2-Exp, V3.2-Speciale"),
    Row("DeepSeek-V4-Flash", 284.335, 13.27, 6880),
    Row("DeepSeek-V4-Pro", 1573.0, 48.85, 9848),
]
by_name = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.checkpoint)


def plan(folder, *flags):
    command = [str(BINARY), "plan", "--model", str(folder), "--device", "cpu", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in:\n{text}"
    return int(found[1])


def decimals(value):
    return len(repr(value).partition(".")[2])


def config_of(row):
    return json.loads((CONFIGS / row.checkpoint / "config.json").read_text())


def test_every_configuration_has_a_row():
    assert {row.checkpoint for row in ROWS} == {folder.name for folder in CONFIGS.iterdir()}


@by_name
def test_plan_gives_the_published_numbers(row):
    done = plan(CONFIGS / row.checkpoint, "--memory-budget", "1MiB")  # what does not fit is planned as without a budget
    assert done.returncode == 1 and "but the budget is" in done.stderr, done.stderr
    text = done.stdout
    parameters = number(r"parameters +(\d+) ", text)
    assert round(parameters / 1e9, decimals(row.parameters)) == row.parameters
    assert round(number(r"\((\d+) in matrices", text) / 1e9, decimals(row.active)) == row.active
    assert number(r"cache per token +(\d+) bytes", text) == row.cache
    weights = number(r"weights .*\((\d+) bytes\)", text)
    assert weights >= 2 * parameters
    # What fits is weights, workspace, windows and whole blocks of cache within the device.
    fixed = weights + number(r"workspace .*\((\d+) bytes\)", text)
    if "windows" in text:
        fixed += number(r"windows .*\((\d+) bytes\)", text)
    block_bytes, block_tokens = number(r"cache per block +(\d+) bytes", text), number(r"bytes \((\d+) tokens\)", text)
    for gib in (80, 141):
        blocks = (gib * GIB - fixed) // block_bytes
        if blocks >= 1:
            assert number(rf"on {gib} GiB +fits, with a cache of (\d+) tokens", text) == blocks * block_tokens
        else:
            assert number(rf"on {gib} GiB +does not fit: .*\((\d+) bytes\)", text) == fixed + block_bytes
    mtp = config_of(row).get("num_nextn_predict_layers", 0)
    assert ("ignored" in text) == (mtp > 0)


@by_name
def test_exactly_the_parameters_of_transformers(row):
    """Every parameter of the class, made without memory."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    fields = config_of(row)
    name = fields["architectures"][0]
    if not hasattr(transformers, name) or name == "DeepseekV4ForCausalLM":
        pytest.skip(f"transformers has no class for {row.checkpoint}, or one that holds other tensors than the checkpoint")
    for unused in ("quantization_config", "num_nextn_predict_layers"):
        fields.pop(unused, None)
    config = getattr(transformers, name.replace("ForCausalLM", "Config"))(**fields)
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    held = sum(p.numel() for p in model.parameters())
    held += sum(b.numel() for n, b in model.named_buffers() if n.endswith("e_score_correction_bias"))
    assert number(r"parameters +(\d+) ", plan(CONFIGS / row.checkpoint, "--memory-budget", "4000GiB").stdout) == held


def test_what_does_not_fit_is_planned_all_the_same():
    done = plan(CONFIGS / "DeepSeek-V3", "--memory-budget", "80GiB")
    assert done.returncode == 1
    assert "but the budget is 80.00 GiB" in done.stderr
    assert re.search(r"on 80 GiB +does not fit: needs 1\d\d\d\.\d\d GiB", done.stdout), done.stdout


def test_what_fits_uses_the_budget():
    done = plan(CONFIGS / "DeepSeek-R1-0528-Qwen3-8B", "--memory-budget", "80GiB")
    assert done.returncode == 0, done.stderr
    assert number(r"on 80 GiB +fits, with a cache of (\d+) tokens", done.stdout) == number(r"cache +\d+ blocks, (\d+) tokens", done.stdout)
