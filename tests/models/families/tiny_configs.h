// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"

namespace hadal::models::testing {

// config.json of tiny models with awkward sizes, for tests on dummy weights.
inline constexpr char kTinyLlama[] =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 307,
  "hidden_size": 70, "intermediate_size": 139, "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 1,
  "head_dim": 18, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "bfloat16"})";

inline constexpr char kTinyQwen2[] =
    R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 307,
  "hidden_size": 72, "intermediate_size": 131, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
  "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16"})";

inline constexpr char kTinyDeepseekV3[] = R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
  "vocab_size": 307, "hidden_size": 72, "intermediate_size": 131, "moe_intermediate_size": 43, "num_hidden_layers": 3,
  "num_attention_heads": 5, "num_key_value_heads": 5, "q_lora_rank": 37, "kv_lora_rank": 41, "qk_nope_head_dim": 22,
  "qk_rope_head_dim": 12, "v_head_dim": 19, "n_routed_experts": 6, "n_shared_experts": 1, "num_experts_per_tok": 3,
  "n_group": 3, "topk_group": 2, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1,
  "moe_layer_freq": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "max_position_embeddings": 512,
  "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "bfloat16"})";

inline constexpr char kTinyDeepseekV32[] =
    R"({"architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
  "vocab_size": 307, "hidden_size": 72, "intermediate_size": 131, "moe_intermediate_size": 43, "num_hidden_layers": 3,
  "num_attention_heads": 5, "num_key_value_heads": 5, "q_lora_rank": 37, "kv_lora_rank": 41, "qk_nope_head_dim": 22,
  "qk_rope_head_dim": 12, "v_head_dim": 19, "n_routed_experts": 6, "n_shared_experts": 1, "num_experts_per_tok": 3,
  "n_group": 3, "topk_group": 2, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1,
  "moe_layer_freq": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "max_position_embeddings": 512,
  "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "bfloat16", "index_n_heads": 7,
  "index_head_dim": 26, "index_topk": 9})";

inline constexpr char kTinyDeepseekV4[] = R"({"architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
  "vocab_size": 307, "hidden_size": 72, "moe_intermediate_size": 43, "num_hidden_layers": 4, "num_attention_heads": 5,
  "num_key_value_heads": 1, "head_dim": 24, "qk_rope_head_dim": 6, "q_lora_rank": 37, "o_groups": 5, "o_lora_rank": 9,
  "n_routed_experts": 7, "n_shared_experts": 1, "num_experts_per_tok": 3, "num_hash_layers": 1,
  "routed_scaling_factor": 1.5, "swiglu_limit": 10.0, "sliding_window": 7, "compress_ratios": [0, 4, 8, 4],
  "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8}, "index_n_heads": 5,
  "index_head_dim": 14, "index_topk": 3, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rope_theta": 10000.0,
  "compress_rope_theta": 160000.0, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc", "norm_topk_prob": true,
  "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16"})";

inline constexpr char kTinyQwen3[] =
    R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 307,
  "hidden_size": 72, "intermediate_size": 131, "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 5,
  "head_dim": 22, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "bfloat16"})";

inline constexpr char kTinyDeepseekMoe[] = R"({"architectures": ["DeepseekForCausalLM"], "model_type": "deepseek",
  "vocab_size": 307, "hidden_size": 90, "intermediate_size": 131, "moe_intermediate_size": 43, "num_hidden_layers": 3,
  "num_attention_heads": 5, "num_key_value_heads": 5, "n_routed_experts": 7, "n_shared_experts": 2,
  "num_experts_per_tok": 3, "first_k_dense_replace": 1, "moe_layer_freq": 1, "norm_topk_prob": false,
  "scoring_func": "softmax", "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
  "torch_dtype": "bfloat16"})";

inline constexpr char kTinyDeepseekV2[] = R"({"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2",
  "vocab_size": 307, "hidden_size": 72, "intermediate_size": 131, "moe_intermediate_size": 43, "num_hidden_layers": 3,
  "num_attention_heads": 5, "num_key_value_heads": 5, "q_lora_rank": null, "kv_lora_rank": 41, "qk_nope_head_dim": 22,
  "qk_rope_head_dim": 12, "v_head_dim": 19, "n_routed_experts": 15, "n_shared_experts": 2, "num_experts_per_tok": 4,
  "n_group": 5, "topk_group": 2, "norm_topk_prob": false, "routed_scaling_factor": 1.7, "first_k_dense_replace": 1,
  "moe_layer_freq": 1, "topk_method": "group_limited_greedy", "scoring_func": "softmax", "max_position_embeddings": 512,
  "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "torch_dtype": "bfloat16"})";

struct TinyFamily {
  const char* name;
  const char* config;
};

// Every family, for tests that all of them must pass.
inline std::vector<TinyFamily> TinyFamilies() {
  return {{"llama", kTinyLlama},
          {"qwen2", kTinyQwen2},
          {"qwen3", kTinyQwen3},
          {"deepseek_moe", kTinyDeepseekMoe},
          {"deepseek_v2", kTinyDeepseekV2},
          {"deepseek_v3", kTinyDeepseekV3},
          {"deepseek_v32", kTinyDeepseekV32},
          {"deepseek_v4", kTinyDeepseekV4}};
}

// Sizes that the CUDA backend hands to cuBLASLt, CUTLASS and FlashInfer.
inline std::string Wide(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\"hidden_size\": 70", "\"hidden_size\": 256"},
                                    {"\"hidden_size\": 72", "\"hidden_size\": 256"},
                                    {"\"hidden_size\": 90", "\"hidden_size\": 256"},
                                    {"\"vocab_size\": 307", "\"vocab_size\": 320"},
                                    {"\"intermediate_size\": 139", "\"intermediate_size\": 512"},
                                    {"\"intermediate_size\": 131", "\"intermediate_size\": 512"},
                                    {"\"moe_intermediate_size\": 43", "\"moe_intermediate_size\": 64"},
                                    {"\"num_attention_heads\": 5, \"num_key_value_heads\": 1",
                                     "\"num_attention_heads\": 4, \"num_key_value_heads\": 1"},
                                    {"\"num_attention_heads\": 5, \"num_key_value_heads\": 5",
                                     "\"num_attention_heads\": 4, \"num_key_value_heads\": 4"},
                                    {"\"num_attention_heads\": 6, \"num_key_value_heads\": 2",
                                     "\"num_attention_heads\": 4, \"num_key_value_heads\": 2"},
                                    {"\"head_dim\": 18", "\"head_dim\": 128"},
                                    {"\"head_dim\": 22", "\"head_dim\": 64"},
                                    {"\"q_lora_rank\": 37", "\"q_lora_rank\": 64"},
                                    {"\"kv_lora_rank\": 41", "\"kv_lora_rank\": 512"},
                                    {"\"qk_nope_head_dim\": 22", "\"qk_nope_head_dim\": 128"},
                                    {"\"qk_rope_head_dim\": 12", "\"qk_rope_head_dim\": 64"},
                                    {"\"v_head_dim\": 19", "\"v_head_dim\": 128"},
                                    {"\"index_head_dim\": 26", "\"index_head_dim\": 64"},
                                    {"\"index_topk\": 9", "\"index_topk\": 128"}});
}

}  // namespace hadal::models::testing
