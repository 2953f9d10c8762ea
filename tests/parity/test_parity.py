# SPDX-License-Identifier: Apache-2.0
"""Parity with Hugging Face transformers on tiny random checkpoints of every family, odd sizes included.

Log-probabilities are compared at every prompt position and greedy continuations token by token, through the same Model
contract that the engine uses (parity_tool.cc): ragged batches, chunked prefill, paged cache with shuffled blocks.

The published routing rule fills masked expert groups with minus infinity. Some releases of transformers used 0.0, which can
choose an expert of a masked group when biased scores are negative; test_reference_router_masks_with_minus_infinity makes
sure that the installed one does not."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parent))
import parity_checkpoints  # noqa: E402
import parity_table  # noqa: E402
from parity_checkpoints import CASES, FAMILIES, VOCAB  # noqa: E402
from parity_checkpoints.families import deepseek_v3, deepseek_v32  # noqa: E402

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build" / "release"))
TOOL = BUILD / "hadal_parity_tool"

GREEDY = 24
LENGTHS = [1, 2, 3, 7, 16, 17, 33, 41]
F32_TOLERANCE = 1e-3

torch.set_num_threads(1)  # the matrices are tiny: a second thread only waits
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def prompts():
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in LENGTHS]


PROMPTS = prompts()

# What the tests of this run measured, by case: for the table in docs/parity.md.
FLOAT32_ERRORS = {}
HALF_ERRORS = {}
WRITE_TABLE = os.environ.pop("HADAL_WRITE_PARITY_TABLE", None)  # hadal refuses settings that it does not know


@pytest.fixture(scope="session")
def tool():
    if not TOOL.exists():
        pytest.fail(f"{TOOL} is missing: build the target hadal_parity_tool")

    def run(folder, runs, **options):
        request = {"dir": str(folder), "runs": runs, "block_tokens": 5, "blocks": 200, **options}
        done = subprocess.run([str(TOOL)], input=json.dumps(request), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["runs"]

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """checkpoint(case) -> folder, written once a session."""
    folders = {}

    def get(case):
        if case.name not in folders:
            folders[case.name] = tmp_path_factory.mktemp(case.name)
            parity_checkpoints.write(case, folders[case.name])
        return folders[case.name]

    return get


class Reference:
    """A reference model and what it says about the prompts."""

    def __init__(self, family, folder, dtype):
        self.logits = family.load_reference(folder, dtype)
        self.cache = {}
        self.results = [{"prompt_logprobs": self.score(prompt)} for prompt in PROMPTS]

    def logprobs(self, ids):
        """[tokens, vocab] after each token. Cached: many runs ask for the same."""
        key = tuple(ids)
        if key not in self.cache:
            self.cache[key] = self.forward(ids)
        return self.cache[key]

    @torch.no_grad()
    def forward(self, ids):
        return torch.log_softmax(self.logits(ids).float(), dim=-1)

    def score(self, prompt):
        logprobs = self.logprobs(prompt)
        return [logprobs[i, prompt[i + 1]].item() for i in range(len(prompt) - 1)]

    def greedy(self, prompt, tokens):
        """What greedy decoding says after the prompt and each of `tokens` but the last: equal to `tokens` if and only if
        greedy decoding gives them. One pass instead of one a token."""
        logprobs = self.logprobs(prompt + tokens[:-1])
        return logprobs[len(prompt) - 1:].argmax(dim=-1).tolist()


@pytest.fixture(scope="session")
def reference(checkpoint):
    """reference(case, dtype), loaded and scored once a session."""
    references = {}

    def get(case, dtype):
        key = (case.name, dtype)
        if key not in references:
            references[key] = Reference(case.family, checkpoint(case) / "reference", dtype)
        return references[key]

    return get


def logprobs_of(results):
    return torch.tensor([x for result in results for x in result["prompt_logprobs"]], dtype=torch.float64)


def assert_equal_to(reference, results, what, prompts=PROMPTS):
    """The largest difference of a log-probability; all within F32_TOLERANCE and greedy tokens equal."""
    worst = 0.0
    for prompt, found in zip(prompts, results, strict=True):
        expected = reference.score(prompt)
        for i, (e, f) in enumerate(zip(expected, found["prompt_logprobs"], strict=True)):
            worst = max(worst, abs(e - f))
            assert abs(e - f) <= F32_TOLERANCE, f"{what}: prompt of {len(prompt)}, position {i}: expected {e}, found {f}"
        assert len(found["tokens"]) == GREEDY
        assert found["tokens"] == reference.greedy(prompt, found["tokens"]), f"{what}: prompt of {len(prompt)}"
    return worst


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float32_equals_the_reference(case, checkpoint, reference, tool):
    """Alone, together, and in chunks; each form of latent attention."""
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "chunk": chunk, "together": together}
            for together, chunk in [(False, 0), (True, 0), (True, 1), (True, 3), (True, 16), (False, 6)]]
    for form in case.family.mla_forms:
        for run, results in zip(runs, tool(checkpoint(case) / "hadal", runs, dtype="float32", mla_form=form)):
            what = f"mla_form {form}, chunk {run['chunk']}, together {run['together']}"
            worst = assert_equal_to(reference(case, torch.float32), results, what)
            FLOAT32_ERRORS[case.name] = max(worst, FLOAT32_ERRORS.get(case.name, 0.0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_half_precision_error_is_at_most_twice_transformers(case, checkpoint, reference, tool):
    """The checkpoint's own half type (bf16 for FP8 and float32 ones), both measured against transformers in float32. Where
    a family chooses what to attend to, a rounding that flips a choice moves a result by far more than roundings do, in
    theirs as in ours: its errors are pooled over several models, so that the luck of one does not decide."""
    dtype = case.half_dtype
    models = [case] + [dataclasses.replace(case, name=f"{case.name}_{i}", seed=case.seed + 1000 * i)
                       for i in range(1, case.family.half_precision_models)]
    exact = [logprobs_of(reference(model, torch.float32).results) for model in models]
    theirs = torch.cat([logprobs_of(reference(model, dtype).results) - e for model, e in zip(models, exact)])
    runs = [{"prompts": PROMPTS, "chunk": chunk, "together": True} for chunk in (0, 5)]
    for form in case.family.mla_forms:
        results_of = [tool(checkpoint(model) / "hadal", runs, mla_form=form) for model in models]
        for i, run in enumerate(runs):
            ours = torch.cat([logprobs_of(results[i]) - e for results, e in zip(results_of, exact)])
            print(f"{case.name} {dtype} mla_form {form} chunk {run['chunk']}: mean error {ours.abs().mean():.5f} "
                  f"(transformers {theirs.abs().mean():.5f}), largest {ours.abs().max():.5f} ({theirs.abs().max():.5f})")
            ratio = (ours.abs().mean() / theirs.abs().mean()).item()
            HALF_ERRORS[case.name] = max(ratio, HALF_ERRORS.get(case.name, 0.0))
            # Not the largest: one near-tie in a router sends a token to another expert, in theirs as in ours.
            assert ours.abs().mean() <= 2 * theirs.abs().mean()
            assert ours.abs().quantile(0.9) <= 2 * theirs.abs().quantile(0.9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_requests_do_not_see_each_other(family, dtype, checkpoint, tool):
    """Eight at once give the tokens and log-probabilities of the same eight alone, up to rounding."""
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "together": together} for together in (True, False)]
    together, alone = tool(checkpoint(family.representative) / "hadal", runs, dtype=dtype)
    difference = (logprobs_of(together) - logprobs_of(alone)).abs()
    if dtype == "float32":
        assert difference.max() <= 1e-4
        assert [r["tokens"] for r in together] == [r["tokens"] for r in alone]
    else:
        assert difference.mean() <= 0.02


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parts_of_a_model_give_exactly_what_the_whole_gives(case, checkpoint, tool):
    """Layers divided among parts that hand each step on: in the checkpoint's own type, equal to the last bit."""
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "chunk": chunk, "together": True} for chunk in (0, 6)]
    folder = checkpoint(case) / "hadal"
    whole = tool(folder, runs)
    for parts in range(2, min(3, case.config["num_hidden_layers"]) + 1):
        assert tool(folder, runs, parts=parts) == whole, f"{parts} parts"


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512", "avx512_bf16", "amx"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_instruction_set_gives_the_same_answer(family, isa, checkpoint, reference, tool):
    case = family.representative
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "chunk": 16}]
    try:
        results = tool(checkpoint(case) / "hadal", runs, dtype="float32", isa=isa)
    except AssertionError as error:
        if "FAILED_PRECONDITION" in str(error):
            pytest.skip(f"this machine lacks {isa}")
        raise
    assert_equal_to(reference(case, torch.float32), results[0], isa)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_reference_backend_equals_transformers(family, checkpoint, reference, tool):
    """The plain loops that kernel tests trust, as a whole model."""
    case = family.representative
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "chunk": 16}]
    results = tool(checkpoint(case) / "hadal", runs, dtype="float32", device="reference")
    assert_equal_to(reference(case, torch.float32), results[0], "reference backend")


@pytest.mark.skipif(not (BUILD / "libhadal_torch.so").exists(), reason="built without HADAL_TORCH")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_torch_backend_equals_transformers(family, checkpoint, reference, tool):
    case = family.representative
    runs = [{"prompts": PROMPTS, "greedy": GREEDY, "chunk": 16}]
    results = tool(checkpoint(case) / "hadal", runs, dtype="float32", device="torch:cpu", threads=1)
    assert_equal_to(reference(case, torch.float32), results[0], "torch backend")


def test_reference_router_masks_with_minus_infinity():
    config = transformers.DeepseekV3Config(**deepseek_v3.BASE)
    router = transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3TopkRouter(config)
    torch.manual_seed(3)
    router.weight.data.normal_()
    router.e_score_correction_bias.fill_(-2.0)  # every biased score is negative
    x = torch.randn(200, config.hidden_size)
    _, _, chosen = router(x)
    biased = torch.sigmoid(x @ router.weight.T) - 2.0
    groups = biased.view(200, config.n_group, -1).topk(2, dim=-1)[0].sum(-1).topk(config.topk_group, dim=-1)[1]
    size = config.n_routed_experts // config.n_group
    assert all(set((row // size).tolist()) <= set(group.tolist()) for row, group in zip(chosen, groups))


@pytest.mark.parametrize("case", deepseek_v32.CASES, ids=lambda case: case.name)
def test_no_choice_of_an_indexer_is_a_near_tie(case, checkpoint, monkeypatch):
    """The float32 comparison means something only when no prompt has two keys of (nearly) one score, of which one is
    chosen: rounding, or the order of equal scores that torch.topk does not promise, would decide then."""
    margins = []
    topk = torch.Tensor.topk

    def measured_topk(scores, k, **options):
        best = topk(scores, min(k + 1, scores.shape[-1]), **options).values
        if best.shape[-1] > k:
            gap = (best[..., k - 1] - best[..., k]) / best[..., 0].abs()
            margins.append(gap[best[..., k] > -1e30])  # keys behind the query are masked with the least number
        return topk(scores, k, **options)

    indexer = transformers.models.deepseek_v32.modeling_deepseek_v32.DeepseekV32Indexer
    forward = indexer.forward

    def measured_forward(self, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "topk", measured_topk)
            return forward(self, *args, **kwargs)

    monkeypatch.setattr(indexer, "forward", measured_forward)
    Reference(case.family, checkpoint(case) / "reference", torch.float32)
    margins = torch.cat([margin.flatten() for margin in margins])
    seen = sum(max(0, n - case.config["index_topk"]) for n in LENGTHS) * case.config["num_hidden_layers"]
    assert margins.numel() == seen  # every query that had to choose
    assert margins.min() > 3e-6, f"choose another seed: a margin of {margins.min()}"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_dummy_weights_run(family, checkpoint, tool):
    """Random weights from config.json alone, for benchmarks: finite log-probabilities, and the same ones every time."""
    folder = checkpoint(family.representative) / "hadal"
    runs = [{"prompts": PROMPTS, "greedy": 4}]
    first, second = (tool(folder, runs, load_format="dummy")[0] for _ in range(2))
    assert first == second
    assert torch.isfinite(logprobs_of(first)).all()


def test_demo_model_equals_transformers(tool):
    """The model that ships with hadal, as it is served."""
    folder = SOURCE / "models" / "demo"
    generator = torch.Generator().manual_seed(9)
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    demo_prompts = [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in (4, 19, 50)]
    results = tool(folder, [{"prompts": demo_prompts, "greedy": GREEDY}], dtype="float32")[0]
    assert_equal_to(Reference(deepseek_v3.FAMILY, folder, torch.float32), results, "demo model", demo_prompts)


def test_write_the_table():
    """The last test: docs/parity.md and the README's marks from what this run measured."""
    if WRITE_TABLE != "1":
        pytest.skip("HADAL_WRITE_PARITY_TABLE=1 writes docs/parity.md; test_parity_table.py checks the committed one")
    parity_table.write(FLOAT32_ERRORS, HALF_ERRORS)
