# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V4 with the published ratios and window (4, 128 and 128) and prompts beyond them: groups that lie across chunks
and blocks, rows that leave the window and whose blocks go to other sequences, more entries than the indexer keeps. And
checkpoints that transformers itself wrote, under its names."""

import dataclasses
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent))
from test_parity import F32_TOLERANCE, GREEDY, PROMPTS, VOCAB, Reference, assert_equal_to  # noqa: E402
from test_parity import checkpoint, tool  # noqa: E402, F401 (fixtures)

from parity_checkpoints import case_named  # noqa: E402
from parity_checkpoints.families import deepseek_v4  # noqa: E402

LENGTHS = [127, 128, 129, 300, 520]


@pytest.fixture(scope="module")
def case():
    config = deepseek_v4.BASE | dict(sliding_window=128, compress_rates={deepseek_v4.CSA: 4, deepseek_v4.HCA: 128},
                                     index_topk=20, max_position_embeddings=1024)
    return dataclasses.replace(case_named("v4_mixed"), name="v4_published_ratios", config=config, seed=71)


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in LENGTHS]


@pytest.fixture(scope="module")
def expected(case, checkpoint, prompts):  # noqa: F811
    reference = Reference(case.family, checkpoint(case) / "reference", torch.float32)
    return [reference.score(prompt) for prompt in prompts]


@pytest.mark.parametrize("chunk", [0, 1, 37, 128, 200])
def test_long_prompts_equal_transformers(chunk, case, checkpoint, prompts, expected, tool):  # noqa: F811
    runs = [{"prompts": prompts, "chunk": chunk}]
    results = tool(checkpoint(case) / "hadal", runs, dtype="float32", block_tokens=128, blocks=40)[0]
    for prompt, scores, found in zip(prompts, expected, results, strict=True):
        error = (torch.tensor(scores) - torch.tensor(found["prompt_logprobs"])).abs()
        assert error.max() <= F32_TOLERANCE, f"prompt of {len(prompt)}, position {int(error.argmax())}: {error.max()}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["v4_mixed", "v4_yarn_two_hash_layers"])
def test_checkpoint_of_save_pretrained_equals_transformers(name, dtype, tmp_path, tool):  # noqa: F811
    case = case_named(name)
    case.family.build(case).to(dtype).save_pretrained(tmp_path, max_shard_size="200KB")
    assert (tmp_path / "model.safetensors.index.json").exists()  # several shards
    results = tool(tmp_path, [{"prompts": PROMPTS, "greedy": GREEDY}], dtype="float32")[0]
    assert_equal_to(Reference(case.family, tmp_path, torch.float32), results, name)
