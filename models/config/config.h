// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/ops/rope_table.h"
#include "kernels/tensor_view.h"

namespace hadal::config {

// Grouped-query attention: multi-head when kv_heads equals heads, multi-query when it is 1.
struct GqaConfig {
  int64_t heads = 0;
  int64_t kv_heads = 0;   // divides heads
  int64_t head_dim = 0;   // even
  bool qkv_bias = false;  // q_proj, k_proj and v_proj have a bias
  bool out_bias = false;  // o_proj has a bias
  bool qk_norm = false;   // q_norm and k_norm over head_dim (Qwen3)
  kernels::RopeConfig rope;
};

// Lightning indexer of sparse attention (DeepSeek-V3.2 and V4): what a query attends to.
struct IndexerConfig {
  int64_t heads = 0;     // index_n_heads
  int64_t head_dim = 0;  // index_head_dim, at least the rotated width
  int64_t top_k = 0;     // index_topk: keys (V3.2) or compressed entries (V4) that a query keeps
};

// Multi-head latent attention (DeepSeek-V2, section 2.1). Widths count values.
struct MlaConfig {
  int64_t heads = 0;
  int64_t q_lora_rank = 0;  // 0: one full q_proj instead of q_a_proj, q_a_layernorm, q_b_proj
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  bool bias = false;              // q_a_proj, kv_a_proj_with_mqa and o_proj have a bias
  bool rope_interleaved = true;   // stored order of the rope rows: pairs (2i, 2i+1), else (i, i + d/2)
  double latent_norm_eps = 1e-6;  // of q_a_layernorm and kv_a_layernorm; transformers does not take rms_norm_eps here
  kernels::RopeConfig rope;
  std::optional<IndexerConfig> indexer;  // DeepSeek-V3.2

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int64_t latent_dim() const { return kv_lora_rank + qk_rope_head_dim; }  // cached values per token and layer
};

// What a layer of hybrid attention reads besides its window (arXiv:2606.19348, section 2.3).
enum class HybridLayer {
  kSliding,  // nothing
  kCsa,      // compressed sparse attention: the entries that an indexer chooses
  kHca,      // heavily compressed attention: every entry
};

// DeepSeek-V4's hybrid attention. One key-value head of head_dim, whose last rope_head_dim values are rotated, is key
// and value of all heads; each layer reads a sliding window and perhaps compressed entries of older tokens. The output
// projection has o_groups groups of heads and o_lora_rank values a group.
struct HybridAttentionConfig {
  int64_t heads = 0;
  int64_t q_lora_rank = 0;
  int64_t head_dim = 0;
  int64_t rope_head_dim = 0;  // even, at most head_dim
  int64_t o_groups = 0;       // divides heads
  int64_t o_lora_rank = 0;
  int64_t sliding_window = 0;            // tokens, the query's own included
  std::vector<HybridLayer> layers;       // [ModelConfig::layers]
  int64_t csa_ratio = 4;                 // tokens per compressed entry in CSA layers
  int64_t hca_ratio = 128;               // the same in HCA layers; not csa_ratio
  std::optional<IndexerConfig> indexer;  // of CSA layers; there whenever a layer is one
  kernels::RopeConfig sliding_rope;      // of sliding layers
  kernels::RopeConfig compressed_rope;   // of CSA and HCA layers
};

// The attention of all layers: exactly one kind, with everything that it needs.
using AttentionConfig = std::variant<GqaConfig, MlaConfig, HybridAttentionConfig>;

// Hyper-connections (DeepSeek-V4): `streams` residual streams, mixed by a matrix that `sinkhorn_iterations` rounds make
// doubly stochastic.
struct HyperConnectionConfig {
  int64_t streams = 0;              // hc_mult
  int64_t sinkhorn_iterations = 0;  // hc_sinkhorn_iters
  double eps = 0.0;                 // hc_eps
};

enum class RouterScoring { kSoftmax, kSigmoid, kSqrtSoftplus };
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
  int64_t hash_layers = 0;       // layers [0, n) choose experts by gate.tid2eid[token id] and have no correction bias
  double swiglu_limit = 0.0;     // 0: none; gate is clamped at +limit, up to +-limit

  int64_t shared_intermediate_size() const { return shared_experts * intermediate_size; }
};

// Block-quantised FP8 weights: X.weight is E4M3; X.weight_scale_inv or, in V4, X.scale holds one scale a block.
struct Fp8Config {
  int64_t block_rows = 128;
  int64_t block_columns = 128;
  bool fp4_experts = false;  // routed experts are packed E2M1 with one scale per row and 32 columns (V4)
};

// A checkpoint's config.json (with the end tokens of generation_config.json), checked: every number is in range and
// consistent with the others, so that products of sizes cannot overflow int64_t. Plain data.
struct ModelConfig {
  std::string family;        // model_type: "llama", "deepseek" (DeepSeek-MoE), "deepseek_v3", ...
  std::string architecture;  // "LlamaForCausalLM", ...

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of the dense MLP; 0 in families without
  int64_t layers = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;  // lm_head.weight is model.embed_tokens.weight
  bool mlp_bias = false;             // gate_proj, up_proj and down_proj have a bias

  AttentionConfig attention;
  std::optional<HyperConnectionConfig> hyper_connections;
  std::optional<MoeConfig> moe;
  std::optional<Fp8Config> fp8;

  int64_t mtp_layers = 0;  // layers [layers, layers + mtp_layers) may be in the files; they are ignored

  std::optional<kernels::DType> checkpoint_dtype;  // dtype or torch_dtype: f32, bf16 or f16
  std::vector<int32_t> bos_token_ids;
  std::vector<int32_t> eos_token_ids;  // config.json's and generation_config.json's, without repeats

  std::vector<std::string> warnings;  // fields that were seen and have no effect here, one line each
  std::string source_text;            // config.json as read, for the fingerprint

  // True when the layer's feed-forward part is a mixture of experts.
  bool IsMoeLayer(int64_t layer) const {
    return moe.has_value() && layer >= moe->first_dense_layers && layer % moe->layer_freq == 0;
  }
  // True when the layer's experts are looked up by token id.
  bool IsHashLayer(int64_t layer) const { return moe.has_value() && layer < moe->hash_layers; }
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

}  // namespace hadal::config
