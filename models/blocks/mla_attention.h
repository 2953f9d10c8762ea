// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/blocks/indexer.h"
#include "models/blocks/kv_cache.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/linear.h"
#include "models/blocks/mla_plan.h"
#include "models/blocks/norm.h"
#include "models/blocks/rope_cache.h"

namespace hadal::models {

// Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1; DeepSeek-V3, arXiv:2412.19437,
// section 2.1.1). The cache holds one row a token for all heads: the normalised latent (kv_lora_rank values) and the
// rotated rope key. Checkpoint names: `name`.{q_proj | q_a_proj, q_a_layernorm, q_b_proj}, kv_a_proj_with_mqa,
// kv_a_layernorm, kv_b_proj, o_proj. kv_b_proj is kept once: W_UK and W_UV of the absorbed form are strided views of
// its rows.
//
// With an indexer (DeepSeek-V3.2, `name`.indexer) queries whose context is longer than its top_k attend to the
// positions that it chooses; shorter sequences need no choice and take the dense forms. Immutable once loaded; borrows
// planner and caches.
class MlaAttention : public AttentionBlock {
 public:
  // Runs as `planner` says; `index_keys` is null exactly when the configuration has no indexer.
  static absl::StatusOr<std::unique_ptr<MlaAttention>> Load(const LoadContext& context, const config::MlaConfig& config,
                                                            const std::string& name, int64_t layer,
                                                            std::shared_ptr<const RopeCache> rope,
                                                            const MlaPlanner* planner, const PagedCache* latents,
                                                            const PagedCache* index_keys);

  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override;

 private:
  explicit MlaAttention(const config::MlaConfig& config) : config_(config) {}

  // x [tokens, hidden] -> q [tokens, heads * qk_head_dim] through q_latent [tokens, q_lora_rank], absent without one
  absl::Status ProjectQuery(const ForwardContext& context, const kernels::TensorView& x,
                            const kernels::TensorView& q_latent, const kernels::TensorView& q) const;
  // q [run tokens, heads, qk_head_dim] -> attn_output [run tokens, heads, v_head_dim], over the cache; `selected` is
  // absent or lists the positions, i32 [run tokens, top_k]
  absl::Status Absorbed(const ForwardContext& context, const MlaRun& run, const kernels::TensorView& q,
                        const kernels::TensorView& selected, const kernels::TensorView& attn_output) const;
  // The same over the indexer's choice; x [run tokens, hidden], q_latent [run tokens, q_lora_rank].
  absl::Status Sparse(const ForwardContext& context, const MlaRun& run, const kernels::TensorView& x,
                      const kernels::TensorView& q_latent, const kernels::TensorView& q,
                      const kernels::TensorView& attn_output) const;
  // The same through expanded keys and values; `latent` [run tokens, latent_dim] are the run's own rows.
  absl::Status Expanded(const ForwardContext& context, const MlaRun& run, const kernels::TensorView& q,
                        const kernels::TensorView& latent, const kernels::TensorView& attn_output) const;

  config::MlaConfig config_;
  int64_t layer_ = 0;
  float scale_ = 1.0f;
  kernels::DType dtype_ = kernels::DType::kBF16;
  kernels::RopeLayout rope_layout_ = kernels::RopeLayout::kInterleaved;
  Linear q_proj_;  // the only query projection without q_lora_rank, else q_b_proj
  Linear q_a_proj_;
  RmsNorm q_a_norm_;
  Linear kv_a_proj_;
  RmsNorm kv_a_norm_;
  Linear kv_b_proj_;
  Linear out_;
  std::shared_ptr<const RopeCache> rope_;
  const MlaPlanner* planner_ = nullptr;
  const PagedCache* latents_ = nullptr;
  std::unique_ptr<Indexer> indexer_;  // null: every query sees everything before it
};

}  // namespace hadal::models
