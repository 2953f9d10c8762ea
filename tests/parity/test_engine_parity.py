# SPDX-License-Identifier: Apache-2.0
"""Every family through the real engine: scheduler, prefix cache, preemption, both block pools (engine_parity_tool.cc).

A prompt alone, in an engine without a prefix cache, gets the reference implementation's tokens, in float32. What a request
gets must not depend on its neighbours, on chunks, on prefix hits or on preemption: tokens and log-probabilities equal those
of the prompt alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent))
import parity_checkpoints  # noqa: E402
import test_parity  # noqa: E402
from parity_checkpoints import CASES, VOCAB  # noqa: E402

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build" / "release"))
TOOL = BUILD / "hadal_engine_parity_tool"

GREEDY = test_parity.GREEDY
BLOCK = 4  # the engine rounds it up to what the model's caches need
LONGEST_BLOCK = 16  # of any case
TOLERANCE = 1e-3
LENGTHS = [3, 17, 41, 58, 80]
COMPARED = 3  # the first ones are prompts of test_parity.py, which makes sure that no choice in them is a near-tie


def random_tokens(count, seed):
    return torch.randint(2, VOCAB, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


PROMPTS = [next(prompt for prompt in test_parity.PROMPTS if len(prompt) == count) for count in LENGTHS[:COMPARED]]
PROMPTS += [random_tokens(count, count) for count in LENGTHS[COMPARED:]]
# The same openings with other ends: hits that stop inside what is cached, also inside what was one chunk.
BRANCHES = [prompt[:len(prompt) * 2 // 3] + random_tokens(19, 1000 + len(prompt)) for prompt in PROMPTS]


def run(folder, engines):
    request = {"dir": str(folder), "dtype": "float32", "block_tokens": BLOCK, "engines": engines}
    done = subprocess.run([str(TOOL)], input=json.dumps(request), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [engine["batches"] for engine in json.loads(done.stdout)["engines"]]


def engine(*batches, **options):
    settings = {"kv_tokens": 2000, "max_batch_size": 8, "max_batch_tokens": 512, **options}
    return settings | {"batches": [{"prompts": prompts, "greedy": GREEDY} for prompts in batches]}


def assert_same(expected, found, what):
    for alone, result in zip(expected, found, strict=True):
        prompt = f"{what}, {result['cached_tokens']} cached"
        assert len(result["tokens"]) == GREEDY
        assert result["tokens"] == alone["tokens"], prompt
        error = (torch.tensor(result["logprobs"]) - torch.tensor(alone["logprobs"])).abs().max()
        assert error <= TOLERANCE, f"{prompt}: error {error}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engine_gives_the_tokens_of_the_prompt_alone(case, tmp_path):
    if not TOOL.exists():
        pytest.fail(f"{TOOL} is missing: build the target hadal_engine_parity_tool")
    parity_checkpoints.write(case, tmp_path)
    alone, together, small, tight, fed, parts = run(tmp_path / "hadal", [
        engine(*[[prompt] for prompt in PROMPTS + BRANCHES], max_batch_size=1, prefix_cache=False),
        engine(PROMPTS, PROMPTS, BRANCHES, PROMPTS + BRANCHES, max_batch_tokens=24, extra_window_blocks=100),
        # The four shorter ones start together and outgrow the pool; the longest fits alone.
        engine(PROMPTS, BRANCHES, kv_tokens=160),
        engine(PROMPTS, BRANCHES, kv_tokens=160, max_batch_tokens=24, prefix_cache=False),
        engine(PROMPTS, BRANCHES, kv_tokens=160, **{"async": True}),  # steps launched before their tokens are known
        engine(PROMPTS, BRANCHES, kv_tokens=160, parts=2, **{"async": True}),
    ])
    expected = [batch["results"][0] for batch in alone]
    prompts, branches = expected[:len(PROMPTS)], expected[len(PROMPTS):]
    reference = test_parity.Reference(case.family, tmp_path / "reference", torch.float32)
    for prompt, result in zip(PROMPTS[:COMPARED], prompts):
        assert result["tokens"] == reference.greedy(prompt, result["tokens"]), f"alone, prompt of {len(prompt)}"

    cold, warm, branched, mixed = together
    assert_same(prompts, cold["results"], "cold, in chunks beside others")
    assert cold["largest_step_sequences"] > 1
    assert_same(prompts, warm["results"], "the same prompts again")
    assert all(r["cached_tokens"] > 0 for r, n in zip(warm["results"], LENGTHS) if n > LONGEST_BLOCK)
    assert_same(branches, branched["results"], "the same openings")
    assert branched["results"][-1]["cached_tokens"] > 0
    assert branched["results"][-1]["cached_tokens"] < warm["results"][-1]["cached_tokens"]
    assert_same(prompts + branches, mixed["results"], "hits in one batch")

    for batches, what in (small, "a small pool"), (tight, "a small pool without a prefix cache"), (fed, "fed steps"), (parts, "two parts"):
        for batch, answers in zip(batches, (prompts, branches)):
            assert_same(answers, batch["results"], what)
        assert batches[0]["preemptions"] > 0, what
