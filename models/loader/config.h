// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/ops/rope_table.h"
#include "kernels/tensor_view.h"

namespace hadal::loader {

// Multi-head attention with shared key-value heads. With latent attention (ModelConfig::mla) `heads` counts its heads,
// kv_heads equals it and head_dim is 0.
struct AttentionConfig {
  int64_t heads = 0;
  int64_t kv_heads = 0;   // divides heads
  int64_t head_dim = 0;   // even
  bool qkv_bias = false;  // q_proj, k_proj and v_proj have a bias
  bool out_bias = false;  // o_proj has a bias
};

// Multi-head latent attention (DeepSeek-V2, section 2.1). Widths count values.
struct MlaConfig {
  int64_t q_lora_rank = 0;  // 0: one full q_proj instead of q_a_proj, q_a_layernorm, q_b_proj
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  bool bias = false;              // q_a_proj, kv_a_proj_with_mqa and o_proj have a bias
  bool rope_interleaved = true;   // stored order of the rope rows: pairs (2i, 2i+1), else (i, i + d/2)
  double latent_norm_eps = 1e-6;  // of q_a_layernorm and kv_a_layernorm; transformers does not take rms_norm_eps here

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int64_t latent_dim() const { return kv_lora_rank + qk_rope_head_dim; }  // cached values per token and layer
};

enum class RouterScoring { kSoftmax, kSigmoid };
enum class RouterSelection {
  kGreedy,              // the k best scores
  kGroupLimitedGreedy,  // groups ranked by their best score
  kNoAuxTc,  // groups ranked by the sum of their two best corrected scores; correction bias for the choice only
};

// Mixture of experts.
struct MoeConfig {
  int64_t routed_experts = 0;
  int64_t shared_experts = 0;  // fused into one MLP of shared_intermediate_size()
  int64_t experts_per_token = 0;
  int64_t intermediate_size = 0;   // of one expert
  int64_t first_dense_layers = 0;  // layers [0, n) have the dense MLP
  int64_t layer_freq = 1;          // later layers are MoE when layer % layer_freq == 0
  int64_t groups = 1;              // divides routed_experts
  int64_t groups_per_token = 1;
  bool norm_topk_prob = false;
  double routed_scaling_factor = 1.0;
  RouterScoring scoring = RouterScoring::kSoftmax;
  RouterSelection selection = RouterSelection::kGreedy;
  bool correction_bias = false;  // mlp.gate.e_score_correction_bias exists

  int64_t shared_intermediate_size() const { return shared_experts * intermediate_size; }
};

// Block-quantised FP8 weights: X.weight is E4M3, X.weight_scale_inv holds one factor a block.
struct Fp8Config {
  int64_t block_rows = 128;
  int64_t block_columns = 128;
};

// A checkpoint's config.json (with the end tokens of generation_config.json), checked: every number is in range and
// consistent with the others, so that products of sizes cannot overflow int64_t. Plain data.
struct ModelConfig {
  std::string family;        // "llama", "qwen2", "deepseek_v3"
  std::string architecture;  // "LlamaForCausalLM", ...

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the dense MLP
  int64_t layers = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;  // lm_head.weight is model.embed_tokens.weight
  bool mlp_bias = false;             // gate_proj, up_proj and down_proj have a bias

  AttentionConfig attention;
  std::optional<MlaConfig> mla;
  std::optional<MoeConfig> moe;
  std::optional<Fp8Config> fp8;
  kernels::RopeConfig rope;

  int64_t mtp_layers = 0;  // layers [layers, layers + mtp_layers) may be in the files; they are left aside

  std::optional<kernels::DType> checkpoint_dtype;  // dtype or torch_dtype: f32, bf16 or f16
  std::vector<int32_t> bos_token_ids;
  std::vector<int32_t> eos_token_ids;  // config.json's and generation_config.json's, without repeats

  std::vector<std::string> warnings;  // fields that were seen and have no effect here, one line each
  std::string source_text;            // config.json as read, for the fingerprint

  // True when the layer's feed-forward part is a mixture of experts.
  bool IsMoeLayer(int64_t layer) const {
    return moe.has_value() && layer >= moe->first_dense_layers && layer % moe->layer_freq == 0;
  }
  // --dtype auto: the checkpoint's half type; bf16 for f32, FP8 and unnamed ones.
  kernels::DType DefaultComputeDType() const;
};

// Architectures that ParseModelConfig knows, sorted.
std::vector<std::string> KnownArchitectures();

// Parses config.json's text and, unless empty, generation_config.json's. `file` names it in errors. InvalidArgument
// says file, field, expected and found; Unimplemented names what hadal does not offer (an architecture, sliding
// windows, ...).
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view file = "config.json",
                                             absl::string_view generation_text = {});

// Reads `directory`/config.json and, if there is one, generation_config.json. NotFound without config.json.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

}  // namespace hadal::loader
