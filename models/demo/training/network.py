# SPDX-License-Identifier: Apache-2.0
"""The DeepSeek-V3 architecture for training: latent attention and routed experts.

Same mathematics as transformers' DeepseekV3ForCausalLM for one full-length
forward pass; modules and parameters carry the names of the published
checkpoints. Only the routed experts differ: they are stacked in one tensor
per projection here and stored one by one (see checkpoint.py).
"""

import torch
import torch.nn.functional as F
from torch import nn


def _linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=0.6 * inputs**-0.5)
    return layer


def rope_tables(length, config):
    dim = config["qk_rope_head_dim"]
    frequency = config["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float) / dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float), frequency)
    return angle.cos(), angle.sin()


def rotate_pairs(x, cos, sin):
    """Rotates interleaved pairs; the result is half-split, which leaves dot products as they are."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.cat([even * cos - odd * sin, odd * cos + even * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.nope, self.rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        self.value, self.latent = c["v_head_dim"], c["kv_lora_rank"]
        self.q_a_proj = _linear(c["hidden_size"], c["q_lora_rank"])
        self.q_a_layernorm = nn.RMSNorm(c["q_lora_rank"], eps=c["rms_norm_eps"])
        self.q_b_proj = _linear(c["q_lora_rank"], self.heads * (self.nope + self.rope))
        self.kv_a_proj_with_mqa = _linear(c["hidden_size"], self.latent + self.rope)
        self.kv_a_layernorm = nn.RMSNorm(self.latent, eps=c["rms_norm_eps"])
        self.kv_b_proj = _linear(self.latent, self.heads * (self.nope + self.value))
        self.o_proj = _linear(self.heads * self.value, c["hidden_size"])

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.view(batch, length, self.heads, -1).transpose(1, 2)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([self.latent, self.rope], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.view(batch, length, self.heads, -1).transpose(1, 2)
        k_nope, v = kv.split([self.nope, self.value], dim=-1)
        k_rope = rotate_pairs(k_rope[:, None], cos, sin).expand(-1, self.heads, -1, -1)
        q_nope, q_rope = q.split([self.nope, self.rope], dim=-1)
        q = torch.cat([q_nope, rotate_pairs(q_rope, cos, sin)], dim=-1)
        k = torch.cat([k_nope, k_rope], dim=-1)
        v = F.pad(v, (0, q.shape[-1] - self.value))  # equal widths reach the fused kernel
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)[..., : self.value]
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, hidden, inner):
        super().__init__()
        self.gate_proj, self.up_proj = _linear(hidden, inner), _linear(hidden, inner)
        self.down_proj = _linear(inner, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Sigmoid scores; the correction bias steers the choice, never the weight."""

    def __init__(self, c):
        super().__init__()
        self.top_k, self.groups, self.top_groups = c["num_experts_per_tok"], c["n_group"], c["topk_group"]
        self.scale = c["routed_scaling_factor"]
        self.weight = nn.Parameter(torch.randn(c["n_routed_experts"], c["hidden_size"]) * c["hidden_size"] ** -0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(c["n_routed_experts"]))

    def forward(self, x):
        scores = F.linear(x.float(), self.weight.float()).sigmoid()
        with torch.no_grad():
            choice = scores + self.e_score_correction_bias
            grouped = choice.view(len(x), self.groups, -1)
            best = grouped.topk(2, dim=-1).values.sum(-1).topk(self.top_groups, dim=-1).indices
            keep = torch.zeros(len(x), self.groups, dtype=torch.bool).scatter_(1, best, True)
            index = grouped.masked_fill(~keep[..., None], float("-inf")).flatten(1).topk(self.top_k, dim=-1).indices
        weight = scores.gather(1, index)
        return index, weight / weight.sum(-1, keepdim=True) * self.scale


class Experts(nn.Module):
    def __init__(self, experts, hidden, inner):
        super().__init__()
        self.gate_proj = nn.Parameter(torch.randn(experts, inner, hidden) * 0.6 * hidden**-0.5)
        self.up_proj = nn.Parameter(torch.randn(experts, inner, hidden) * 0.6 * hidden**-0.5)
        self.down_proj = nn.Parameter(torch.randn(experts, hidden, inner) * 0.6 * inner**-0.5)

    def forward(self, x, index, weight):
        """x [tokens, hidden]; the tokens are sorted by expert, one matrix product per expert."""
        order = index.flatten().argsort()
        counts = torch.bincount(index.flatten(), minlength=len(self.gate_proj)).tolist()
        parts = x[order // index.shape[1]].split(counts)
        outputs = []
        for part, gate, up, down in zip(parts, self.gate_proj, self.up_proj, self.down_proj):
            outputs.append(F.linear(F.silu(F.linear(part, gate)) * F.linear(part, up), down))
        unsorted = torch.cat(outputs)[order.argsort()].view(*index.shape, -1)
        return (unsorted * weight[..., None].to(unsorted.dtype)).sum(1), counts


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = Router(c)
        self.experts = Experts(c["n_routed_experts"], c["hidden_size"], c["moe_intermediate_size"])
        self.shared_experts = Mlp(c["hidden_size"], c["moe_intermediate_size"] * c["n_shared_experts"])

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        routed, self.counts = self.experts(flat, *self.gate(flat))
        return routed.view(x.shape) + self.shared_experts(x)

    def balance(self, rate):
        """Moves the bias of each expert against its load (no auxiliary loss)."""
        load = torch.tensor(self.counts, dtype=torch.float)
        self.gate.e_score_correction_bias += rate * (load.mean() - load).sign()


class Layer(nn.Module):
    def __init__(self, c, index):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])
        dense = index < c["first_k_dense_replace"]
        self.mlp = Mlp(c["hidden_size"], c["intermediate_size"]) if dense else Moe(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], eps=c["rms_norm_eps"])


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = _linear(config["hidden_size"], config["vocab_size"])
        cos, sin = rope_tables(config["max_position_embeddings"], config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, ids):
        """ids [batch, length] -> normalised states [batch, length, hidden]."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.model.norm(x)

    def forward(self, ids):
        return self.lm_head(self.hidden(ids))

    def balance(self, rate):
        for layer in self.model.layers:
            if isinstance(layer.mlp, Moe):
                layer.mlp.balance(rate)
