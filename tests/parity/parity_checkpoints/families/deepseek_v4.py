# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V4 under its published names and fields. transformers reads the same names and converts them itself, so a wrong
name or order on our side does not cancel out."""

import json

import torch
import transformers

from ..case import VOCAB, YARN, Case
from ..family import Family
from ..fp4 import quantise_fp4

SLIDING, CSA, HCA = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"

# The window is shorter than the prompts, and the longest of them have more entries than the indexer keeps. Entries that no
# index head likes score exactly 0 and tie, and torch.topk takes any of them: with many heads that is rare.
BASE = dict(vocab_size=VOCAB, hidden_size=72, moe_intermediate_size=43, num_hidden_layers=4, num_attention_heads=5,
            num_key_value_heads=1, head_dim=24, qk_rope_head_dim=6, q_lora_rank=37, o_groups=5, o_lora_rank=9,
            n_routed_experts=7, n_shared_experts=1, num_experts_per_tok=3, num_hash_layers=1, routed_scaling_factor=1.5,
            swiglu_limit=1.0, sliding_window=7, layer_types=[SLIDING, CSA, HCA, CSA],
            compress_rates={CSA: 4, HCA: 8}, index_n_heads=11, index_head_dim=14, index_topk=3, hc_mult=4,
            hc_sinkhorn_iters=20, hc_eps=1e-6, rope_theta=10000.0, compress_rope_theta=160000.0,
            max_position_embeddings=128, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False,
            num_nextn_predict_layers=0)
# Every width is beyond one FP8 block of 128 or not a multiple of it, and whole blocks of 32 for FP4.
WIDE = BASE | dict(hidden_size=160, moe_intermediate_size=96, num_attention_heads=6, o_groups=2, head_dim=48,
                   qk_rope_head_dim=12, q_lora_rank=130, o_lora_rank=70, n_routed_experts=12, index_head_dim=40)

CASES = [
    Case("v4_mixed", 61, BASE),
    Case("v4_yarn_three_streams_f16_new_config", 65,
         BASE | dict(hc_mult=3, hc_sinkhorn_iters=3, layer_types=[HCA, CSA, SLIDING], num_hidden_layers=3,
                     num_hash_layers=0, num_attention_heads=6, o_groups=2,
                     rope_parameters=YARN), stored=torch.float16, new_style_config=True),
    Case("v4_yarn_two_hash_layers", 63,
         BASE | dict(num_hash_layers=2, sliding_window=16, compress_rates={CSA: 2, HCA: 16}, index_topk=5,
                     layer_types=[HCA, HCA, CSA, SLIDING], rope_parameters=YARN | {"factor": 16.0}), mtp_layers=1),
    Case("v4_fp8", 69, WIDE, fp8_block=(128, 128), fp8_scale_fmt="ue8m0", fp8_scale_dtype=torch.float8_e8m0fnu),
    Case("v4_fp8_fp4_experts", 66, WIDE | dict(layer_types=[CSA, HCA, SLIDING, CSA]), fp8_block=(128, 128),
         fp8_scale_fmt="ue8m0", fp8_scale_dtype=torch.float8_e8m0fnu, extra={"expert_dtype": "fp4"}),
    Case("v4_sliding_only_f32", 64, BASE | dict(num_hidden_layers=2, layer_types=[SLIDING, SLIDING]), stored=torch.float32),
]

# transformers to published, in order; the first that fits a part of the name is taken.
RENAMES = [
    ("model.", ""), ("embed_tokens.", "embed."), ("lm_head.", "head."), ("hc_head.hc_", "hc_head_"),
    ("input_layernorm.", "attn_norm."), ("post_attention_layernorm.", "ffn_norm."), ("attn_hc.", "hc_attn_"),
    ("ffn_hc.", "hc_ffn_"), ("self_attn.compressor.indexer.scorer.", "attn.indexer."),
    ("self_attn.compressor.indexer.q_b_proj.", "attn.indexer.wq_b."),
    ("self_attn.compressor.indexer.", "attn.indexer.compressor."), ("self_attn.", "attn."), ("mlp.", "ffn."),
    ("sinks", "attn_sink"), ("compressor.kv_norm.", "compressor.norm."), ("position_bias", "ape"), ("q_a_proj.", "wq_a."),
    ("q_b_proj.", "wq_b."), ("shared_experts.gate_proj.", "shared_experts.w1."),
    ("shared_experts.down_proj.", "shared_experts.w2."), ("shared_experts.up_proj.", "shared_experts.w3."),
    ("kv_proj.", "wkv."), ("gate_proj.", "wgate."), ("o_a_proj.", "wo_a."), ("o_b_proj.", "wo_b."), ("q_a_norm.", "q_norm."),
    ("gate.e_score_correction_bias", "gate.bias"),
]


def published_name(name):
    for old, new in RENAMES:
        name = name.replace(old, new)
    return name


class DeepseekV4(Family):
    def fill(self, name, tensor, generator):
        def normal(scale):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)

        if name.endswith("tid2eid"):
            experts = int(self.experts)
            rows = [torch.randperm(experts, generator=generator)[: tensor.shape[1]] for _ in range(tensor.shape[0])]
            tensor.copy_(torch.stack(rows))
        elif name.endswith("e_score_correction_bias"):
            normal(0.2)
        elif name.endswith(("sinks", "position_bias")):
            normal(1.0)
        elif name.endswith(("base", "hc_base")):
            normal(0.5)
        elif name.endswith(("scale", "hc_scale")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        else:
            super().fill(name, tensor, generator)

    def build(self, case):
        self.experts = case.config["n_routed_experts"]
        return super().build(case)

    def tensors(self, model, case):
        tensors = {}
        for name, tensor in model.state_dict().items():
            if name.endswith("inv_freq"):
                continue
            name = published_name(name)
            if name.endswith("experts.gate_up_proj"):
                prefix = name.removesuffix("gate_up_proj")
                for e in range(tensor.shape[0]):
                    gate, up = tensor[e].chunk(2, dim=0)
                    tensors[f"{prefix}{e}.w1.weight"] = gate.clone()
                    tensors[f"{prefix}{e}.w3.weight"] = up.clone()
            elif name.endswith("experts.down_proj"):
                prefix = name.removesuffix("down_proj")
                for e in range(tensor.shape[0]):
                    tensors[f"{prefix}{e}.w2.weight"] = tensor[e].clone()
            else:
                tensors[name] = tensor.clone()
        for i in range(case.mtp_layers):
            self.add_mtp_block(tensors, case.config, i)
        return tensors

    def add_mtp_block(self, tensors, config, stage):
        """What the preview checkpoints hold for multi-token prediction. Values are noise: they must have no influence."""
        source = f"layers.{config['num_hidden_layers'] - 1}."
        target = f"mtp.{stage}."
        for name in [n for n in tensors if n.startswith(source)]:
            tensors[target + name.removeprefix(source)] = torch.randn_like(tensors[name])
        for name in ("hc_head_fn", "hc_head_base", "hc_head_scale", "norm.weight"):
            tensors[target + name] = torch.randn_like(tensors[name])
        hidden = config["hidden_size"]
        for name in ("enorm", "hnorm"):
            tensors[f"{target}{name}.weight"] = torch.randn(hidden)
        for name in ("e_proj", "h_proj"):
            tensors[f"{target}{name}.weight"] = torch.randn(hidden, hidden)

    def config_json(self, model, case):
        fields = super().config_json(model, case)
        if case.new_style_config:
            return fields
        # As published: ratios by layer, one rope_scaling for the compressed layers, widths instead of fractions.
        for name in ("layer_types", "mlp_layer_types", "partial_rotary_factor", "rope_parameters"):
            fields.pop(name, None)
        config = case.config
        ratios = [config["compress_rates"].get(kind, 0) for kind in config["layer_types"]]
        return fields | dict(
            compress_ratios=ratios + [0] * case.mtp_layers, compress_rates=config["compress_rates"],
            qk_rope_head_dim=config["qk_rope_head_dim"], num_hash_layers=config["num_hash_layers"],
            rope_theta=config["rope_theta"], rope_scaling=config.get("rope_parameters"),
            topk_method="noaux_tc", scoring_func="sqrtsoftplus", num_nextn_predict_layers=case.mtp_layers)

    def is_quantised(self, name):
        linear = ("wq_a.weight", "wq_b.weight", "attn.wkv.weight", "wo_a.weight", "wo_b.weight", "w1.weight", "w2.weight",
                  "w3.weight")
        return name.endswith(linear)

    def keeps_float32(self, name):
        return name.endswith(("gate.bias", "tid2eid", "ape", "attn_sink")) or ".hc_" in f".{name}"

    def scale_name(self, name):
        return name.removesuffix("weight") + "scale"

    def store(self, name, tensor, case):
        if name.endswith("tid2eid"):
            return {name: tensor}, tensor
        if case.extra.get("expert_dtype") == "fp4" and ".experts." in name:
            packed, scale, values = quantise_fp4(tensor)
            return {name: packed, self.scale_name(name): scale}, values
        return super().store(name, tensor, case)

    def write_reference(self, folder, case, tensors, fields):
        # Ratios other than 4 and 128 exist in transformers' own fields only.
        config = json.loads(self.new_model(case).config.to_json_string(use_diff=False))
        config["architectures"] = [self.architecture]
        super().write_reference(folder, case, tensors, config)

    def load_reference(self, folder, dtype):
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True)
        assert not report["missing_keys"] and not report["mismatched_keys"], report
        model.eval()
        if dtype == torch.float16:
            # transformers keeps these in float32 and then multiplies float16 rows with them, which torch refuses.
            for name, module in model.named_modules():
                if ".compressor." in name and isinstance(module, torch.nn.Linear):
                    module.half()
        # Without a cache: the whole sequence at once is the plain form of every compressor.
        return lambda ids: model(torch.tensor([ids]), use_cache=False).logits[0]


FAMILY = DeepseekV4("deepseek_v4", "DeepseekV4ForCausalLM", ["V4-Flash", "V4-Pro"], CASES, half_precision_models=3)
