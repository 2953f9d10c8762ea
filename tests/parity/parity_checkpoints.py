# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints of the three families, written to disk as published ones are: old-style config.json, one tensor
an expert, FP8 with ragged blocks, a layer for multi-token prediction that must be left aside."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

VOCAB = 307  # a prime: no kernel tile divides it


@dataclass
class Case:
    """One checkpoint: a transformers configuration and how to store it."""

    name: str
    config: dict
    architecture: str
    seed: int
    stored: torch.dtype = torch.bfloat16
    fp8_block: tuple | None = None
    mtp_layers: int = 0
    new_style_config: bool = False  # keep transformers 5's rope_parameters and dtype
    extra: dict = field(default_factory=dict)  # fields of config.json that transformers does not write

    @property
    def mla(self):
        return self.architecture == "DeepseekV3ForCausalLM"


LLAMA = dict(vocab_size=VOCAB, hidden_size=75, intermediate_size=139, num_hidden_layers=3, num_attention_heads=5,
             num_key_value_heads=5, head_dim=18, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0,
             bos_token_id=0, eos_token_id=1, tie_word_embeddings=False)
QWEN2 = dict(vocab_size=VOCAB, hidden_size=72, intermediate_size=131, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=1000000.0, bos_token_id=0,
             eos_token_id=1, tie_word_embeddings=False)
DEEPSEEK = dict(vocab_size=VOCAB, hidden_size=72, intermediate_size=131, moe_intermediate_size=43, num_hidden_layers=3,
                num_attention_heads=5, num_key_value_heads=5, q_lora_rank=None, kv_lora_rank=41, qk_nope_head_dim=22,
                qk_rope_head_dim=12, v_head_dim=19, n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=3,
                n_group=3, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5, first_k_dense_replace=1,
                max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=10000.0, bos_token_id=0, eos_token_id=1,
                tie_word_embeddings=False, num_mtp_layers=0)
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 32}
DEEPSEEK_EXTRA = dict(topk_method="noaux_tc", scoring_func="sigmoid", moe_layer_freq=1)
# Every width is beyond one FP8 block of 128 or not a multiple of it.
DEEPSEEK_WIDE = DEEPSEEK | dict(hidden_size=136, intermediate_size=200, moe_intermediate_size=70, q_lora_rank=130,
                                n_routed_experts=12, n_group=4, topk_group=2, num_experts_per_tok=4, n_shared_experts=2)


def _llama(name, seed, **changes):
    stored = changes.pop("stored", torch.bfloat16)
    new_style = changes.pop("new_style_config", False)
    return Case(name, LLAMA | changes, "LlamaForCausalLM", seed, stored=stored, new_style_config=new_style)


def _qwen2(name, seed, **changes):
    stored = changes.pop("stored", torch.bfloat16)
    return Case(name, QWEN2 | changes, "Qwen2ForCausalLM", seed, stored=stored)


def _deepseek(name, seed, base=DEEPSEEK, **changes):
    options = {key: changes.pop(key) for key in ("stored", "fp8_block", "mtp_layers", "new_style_config") if key in changes}
    return Case(name, base | changes, "DeepseekV3ForCausalLM", seed, extra=DEEPSEEK_EXTRA, **options)


CASES = [
    _llama("llama_mha", 11),
    _llama("llama_mqa_linear_bias_tied", 12, num_key_value_heads=1, attention_bias=True, mlp_bias=True,
           tie_word_embeddings=True, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    _llama("llama_gqa_llama3", 13, hidden_size=76, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
           rope_theta=500.0, rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                           "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
    _llama("llama_yarn_f16", 14, stored=torch.float16, rope_scaling=YARN),
    _llama("llama_dynamic_f32", 15, stored=torch.float32, new_style_config=True,
           rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
    _qwen2("qwen2_gqa", 21),
    _qwen2("qwen2_mqa_tied_f16", 22, hidden_size=80, num_attention_heads=5, num_key_value_heads=1, tie_word_embeddings=True,
           stored=torch.float16),
    _deepseek("deepseek_full_query", 31),
    _deepseek("deepseek_unnormalised_new_config", 32, norm_topk_prob=False, new_style_config=True, n_group=1, topk_group=1,
              rope_interleave=False),
    _deepseek("deepseek_yarn_lora_mtp", 33, base=DEEPSEEK_WIDE, attention_bias=True, mtp_layers=1,
              rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}),
    _deepseek("deepseek_yarn_two_mscales_f16", 34, stored=torch.float16, q_lora_rank=37,
              rope_scaling=YARN | {"mscale": 0.707, "mscale_all_dim": 1.0}),
    _deepseek("deepseek_fp8", 35, base=DEEPSEEK_WIDE, fp8_block=(128, 128)),
    _deepseek("deepseek_fp8_small_blocks", 36, base=DEEPSEEK_WIDE, fp8_block=(32, 48), q_lora_rank=None),
]


def case_named(name):
    return next(case for case in CASES if case.name == name)


def _build(case):
    """The model in float32 with values that make every parameter matter."""
    config = getattr(transformers, case.architecture.replace("ForCausalLM", "Config"))(**copy.deepcopy(case.config))
    model = getattr(transformers, case.architecture)(config).float().eval()
    generator = torch.Generator().manual_seed(case.seed)

    def normal(tensor, scale):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)

    with torch.no_grad():
        for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if name.endswith("inv_freq"):
                continue
            if "norm" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith("e_score_correction_bias"):
                normal(tensor, 0.5)  # often negative: a masked group must not win with 0
            elif name.endswith(".bias"):
                normal(tensor, 0.3)
            elif "embed_tokens" in name:
                normal(tensor, 1.0)
            else:
                gain = 3.0 if "lm_head" in name else 1.3
                normal(tensor, gain * tensor.shape[-1] ** -0.5)
        if case.config["tie_word_embeddings"]:
            model.get_input_embeddings().weight.mul_(0.4)
    return config, model


def _published_tensors(model, config, case):
    """name -> float32 tensor, experts apart as in real checkpoints."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        if name.endswith("experts.gate_up_proj"):
            prefix = name.removesuffix("gate_up_proj")
            for e in range(tensor.shape[0]):
                gate, up = tensor[e].chunk(2, dim=0)
                tensors[f"{prefix}{e}.gate_proj.weight"] = gate.clone()
                tensors[f"{prefix}{e}.up_proj.weight"] = up.clone()
        elif name.endswith("experts.down_proj"):
            prefix = name.removesuffix("down_proj")
            for e in range(tensor.shape[0]):
                tensors[f"{prefix}{e}.down_proj.weight"] = tensor[e].clone()
        else:
            tensors[name] = tensor.clone()
    for i in range(case.mtp_layers):
        _add_mtp_layer(tensors, config, config.num_hidden_layers + i)
    return tensors


def _add_mtp_layer(tensors, config, layer):
    """What V3 checkpoints hold beyond the last layer. Values are noise: they must have no influence."""
    source = f"model.layers.{config.num_hidden_layers - 1}."
    target = f"model.layers.{layer}."
    for name in [n for n in tensors if n.startswith(source)]:
        tensors[target + name.removeprefix(source)] = torch.randn_like(tensors[name])
    hidden = config.hidden_size
    tensors[target + "embed_tokens.weight"] = torch.randn(config.vocab_size, hidden)
    tensors[target + "shared_head.head.weight"] = torch.randn(config.vocab_size, hidden)
    tensors[target + "shared_head.norm.weight"] = torch.randn(hidden)
    tensors[target + "enorm.weight"] = torch.randn(hidden)
    tensors[target + "hnorm.weight"] = torch.randn(hidden)
    tensors[target + "eh_proj.weight"] = torch.randn(hidden, 2 * hidden)


def quantise_fp8(weight, block):
    """E4M3 values and one factor a block, ragged at the edges; and the float32 matrix they stand for."""
    rows, columns = weight.shape
    grid = (-(-rows // block[0]), -(-columns // block[1]))
    q = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    scale = torch.empty(grid, dtype=torch.float32)
    dequantised = torch.empty(rows, columns)
    for i in range(grid[0]):
        for j in range(grid[1]):
            part = (slice(i * block[0], min((i + 1) * block[0], rows)), slice(j * block[1], min((j + 1) * block[1], columns)))
            scale[i, j] = weight[part].abs().max().clamp(min=1e-12) / 448.0
            q[part] = (weight[part] / scale[i, j]).to(torch.float8_e4m3fn)
            dequantised[part] = q[part].float() * scale[i, j]
    return q, scale, dequantised


def _is_quantised(name):
    return name.endswith("_proj.weight") or name.endswith("_proj_with_mqa.weight")


def _config_json(config, case):
    fields = json.loads(config.to_json_string(use_diff=False))
    fields["architectures"] = [case.architecture]
    dtype = str(case.stored).removeprefix("torch.")
    fields.update(case.extra)
    fields["num_nextn_predict_layers"] = case.mtp_layers
    fields.pop("num_mtp_layers", None)
    if case.new_style_config:
        fields["dtype"] = dtype
        return fields
    fields.pop("dtype", None)
    fields["torch_dtype"] = dtype
    rope = fields.pop("rope_parameters", None) or {}
    fields["rope_theta"] = rope.pop("rope_theta", case.config["rope_theta"])
    fields["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    return fields


def write(case, folder):
    """Writes the checkpoint to folder/hadal and what transformers shall load to folder/reference (the same folder unless
    FP8: there the reference holds the dequantised float32 values)."""
    folder = Path(folder)
    config, model = _build(case)
    fields = _config_json(config, case)
    tensors = _published_tensors(model, config, case)
    stored, reference = {}, {}
    for name, tensor in tensors.items():
        if case.fp8_block and _is_quantised(name):
            q, scale, dequantised = quantise_fp8(tensor, case.fp8_block)
            stored[name] = q
            stored[name + "_scale_inv"] = scale
            reference[name] = dequantised
        else:
            keep = name.endswith("e_score_correction_bias")
            stored[name] = tensor if keep else tensor.to(case.stored)
            reference[name] = stored[name].float()

    def save(target, values, config_fields):
        target.mkdir(parents=True, exist_ok=True)
        save_file({n: t.contiguous() for n, t in values.items()}, target / "model.safetensors", metadata={"format": "pt"})
        (target / "config.json").write_text(json.dumps(config_fields, indent=1))

    if case.fp8_block:
        quantised = fields | {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                                      "weight_block_size": list(case.fp8_block)}}
        save(folder / "hadal", stored, quantised)
        save(folder / "reference", reference, fields)
    else:
        save(folder / "hadal", stored, fields)
        (folder / "reference").symlink_to("hadal", target_is_directory=True)
