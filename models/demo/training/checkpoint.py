# SPDX-License-Identifier: Apache-2.0
"""The checkpoint folder: config.json, generation_config.json and model.safetensors with the published names."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 384,
    "kv_lora_rank": 64,
    "max_position_embeddings": 2048,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 96,
    "moe_layer_freq": 1,
    "n_group": 2,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "num_nextn_predict_layers": 0,
    "pad_token_id": 2,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 32,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000,
    "routed_scaling_factor": 1.0,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "v_head_dim": 32,
    "vocab_size": 1024,
}
GENERATION = {
    "bos_token_id": 0,
    "do_sample": False,
    "eos_token_id": 1,
    "max_new_tokens": 256,
    "pad_token_id": 2,
}


def published_tensors(network):
    """Name to tensor as stored: bf16, the router's correction bias in f32, experts one by one."""
    tensors = {}
    for name, value in network.state_dict().items():
        if ".mlp.experts." in name:
            prefix, projection = name.rsplit(".", 1)
            for i, expert in enumerate(value):
                tensors[f"{prefix}.{i}.{projection}.weight"] = expert.bfloat16().contiguous()
        elif name.endswith("e_score_correction_bias"):
            tensors[name] = value.float()
        else:
            tensors[name] = value.bfloat16().contiguous()
    return {name: value.clone() for name, value in sorted(tensors.items())}


def write(folder, network):
    folder = Path(folder)
    for name, content in [("config.json", network.config), ("generation_config.json", GENERATION)]:
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial = folder / "model.safetensors.partial"
    save_file(published_tensors(network), partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.rename(folder / "model.safetensors")


@torch.no_grad()
def transformers_difference(folder, network, ids):
    """Largest difference of float32 logits between this network, with rounded weights, and transformers."""
    from transformers import AutoModelForCausalLM

    other, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {k: v for k, v in report.items() if v}
    if problems:
        raise ValueError(f"transformers loads {folder} with {problems}")
    rounded = type(network)(network.config)
    rounded.load_state_dict(network.state_dict())
    for p in rounded.parameters():
        p.copy_(p.bfloat16().float())
    return (rounded(ids) - other(ids).logits).abs().max().item()
