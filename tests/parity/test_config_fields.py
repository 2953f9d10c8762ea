# SPDX-License-Identifier: Apache-2.0
"""Every field of config.json, and some that other models have: removed, null, or with another value. hadal refuses the
checkpoint or answers as transformers does; it never reads a field and means something else by it.

HADAL_ALL_CONFIG_FIELDS=1 tries all changes; otherwise each run tries a fixed fifth of them."""

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

SOURCE = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("HADAL_BUILD_DIR", SOURCE / "build" / "release")) / "hadal_parity_tool"
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)  # the matrices are tiny: a second thread only waits

EVERY = 1 if os.environ.pop("HADAL_ALL_CONFIG_FIELDS", None) else 5  # popped: hadal refuses settings that it does not know
TOLERANCE = 1e-3
PROMPT = [0, 5, 9, 200, 33, 17, 250, 8, 99, 41, 7, 66, 150, 301, 12, 3, 77, 88, 45, 60, 2, 149, 148, 147, *range(30, 45)]

# Sizes that the stored tensors have, and names without a meaning for the numbers.
NOT_CHANGED = {"architectures", "model_type", "transformers_version", "vocab_size", "num_hidden_layers", "hidden_size",
               "intermediate_size", "torch_dtype", "dtype", "id2label", "label2id", "_name_or_path", "return_dict"}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
OTHER_VALUES = {
    "attention_multiplier": [2.0], "embedding_multiplier": [2.0], "final_logit_softcapping": [5.0], "logits_scaling": [2.0],
    "hidden_act": ["gelu", "swish", "relu"], "layer_types": [["sliding_attention"] * 3, ["full_attention"] * 3],
    "max_window_layers": [2], "moe_layer_freq": [2], "no_rope_layers": [[1, 0, 1]], "partial_rotary_factor": [0.5], "rope_interleave": [True, False],
    "rope_theta": [50.0],
    "rope_parameters": [{"rope_theta": 500.0}, {"rope_type": "default", "rope_theta": 500.0},
                        {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}, YARN | {"rope_theta": 100.0}],
    "rope_scaling": [{"type": "linear", "factor": 2.0}, {"type": "dynamic", "factor": 2.0}, {"type": "default"},
                     {"rope_type": "longrope", "factor": 2.0}, {"type": "mrope", "mrope_section": [2, 2, 2]}, YARN,
                     YARN | {"factor": 1.0}, YARN | {"truncate": False}, YARN | {"mscale": 0.7},
                     YARN | {"mscale": 0.7, "mscale_all_dim": 0.5}, YARN | {"beta_fast": 16, "beta_slow": 2},
                     {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 32}],
    "scoring_func": ["softmax", "sigmoid"], "sliding_window": [8], "topk_method": ["greedy", "noaux_tc"],
    "use_qk_norm": [True], "use_sliding_window": [True],
}
# The reference for V2 stands for what DeepSeek published only with the fields of its cases (families/deepseek_v2.py). In
# V3's class head_dim overrides qk_rope_head_dim; no published file has it.
REFERENCE_DIFFERS = {"deepseek_v2": {"norm_topk_prob", "moe_layer_freq"}, "deepseek_v3": {"head_dim"}}


def changes(fields):
    """(field, value) pairs; a value of ... removes the field."""
    for name, value in fields.items():
        if name in NOT_CHANGED:
            continue
        yield name, ...
        yield name, None
        if isinstance(value, bool):
            yield name, not value
        elif isinstance(value, int):
            yield from ((name, other) for other in (0, 1, value + 1, value * 2))
        elif isinstance(value, float):
            yield from ((name, other) for other in (1.0, value * 2))
        elif isinstance(value, dict):
            yield name, {}
    for name, values in OTHER_VALUES.items():
        yield from ((name, value) for value in values)


def found(folder):
    """Log-probabilities of the prompt; None when the checkpoint is refused, with a reason."""
    request = {"dir": str(folder), "runs": [{"prompts": [PROMPT], "greedy": 1}], "block_tokens": 5, "blocks": 200,
               "dtype": "float32"}
    done = subprocess.run([str(TOOL)], input=json.dumps(request), capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        assert done.returncode == 1 and done.stderr.startswith(("INVALID_ARGUMENT: ", "UNIMPLEMENTED: ")), done.stderr
        return None
    return json.loads(done.stdout)["runs"][0][0]["prompt_logprobs"]


@torch.no_grad()
def expected(folder):
    """The same by transformers; None when it cannot load or run it, or would fill in weights that are not stored."""
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            return None
        logits = model.eval()(torch.tensor([PROMPT])).logits[0].float()
    except Exception:  # its ways to fail are its own
        return None
    logprobs = torch.log_softmax(logits, dim=-1)
    return [logprobs[i, PROMPT[i + 1]].item() for i in range(len(PROMPT) - 1)]


@pytest.mark.parametrize("name", ["llama_mha", "llama_gqa_llama3", "qwen2_gqa", "qwen3_gqa_bias_tied", "deepseek_v2_lite",
                                  "deepseek_full_query", "deepseek_yarn_lora_mtp", "deepseek_v32_lora"])
def test_a_changed_field_is_refused_or_means_what_it_means_to_transformers(name, tmp_path):
    case = parity_checkpoints.case_named(name)
    parity_checkpoints.write(case, tmp_path)
    fields = json.loads((tmp_path / "hadal" / "config.json").read_text())
    differs = REFERENCE_DIFFERS.get(case.family.name, set())
    tried = [change for change in changes(fields) if change[0] not in differs][::EVERY]
    equal = refused = 0
    for field, value in tried:
        changed = {key: old for key, old in fields.items() if key != field} | ({} if value is ... else {field: value})
        for folder in ("hadal", "reference"):
            (tmp_path / folder / "config.json").write_text(json.dumps(changed))
        ours = found(tmp_path / "hadal")
        if ours is None:
            refused += 1
            continue
        theirs = expected(tmp_path / "reference")
        if theirs is None:
            continue
        worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        assert worst <= TOLERANCE, f"{field} = {value}: log-probabilities differ by {worst:.3g}"
        equal += 1
    assert equal > len(tried) / 4 and refused > 0, f"of {len(tried)} changes {equal} equal, {refused} refused"
