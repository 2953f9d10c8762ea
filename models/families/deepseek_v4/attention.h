// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/linear.h"
#include "models/blocks/norm.h"
#include "models/blocks/rope_cache.h"
#include "models/families/deepseek_v4/caches.h"
#include "models/families/deepseek_v4/compressor.h"
#include "models/families/deepseek_v4/indexer.h"
#include "models/families/deepseek_v4/step_planner.h"

namespace hadal::models {

// DeepSeek-V4's attention (arXiv:2606.19348, section 2.3): low-rank queries, one vector a
// token that is key and value of all heads, a sliding window, compressed entries of older tokens, a sink per head, and
// a grouped low-rank output projection. As in transformers, without the FP8 rounding of keys that the published code
// simulates. Checkpoint names: `name`.{wq_a, q_norm, wq_b, wkv, kv_norm, attn_sink, wo_a, wo_b}, compressor, indexer.
// Immutable once loaded; borrows caches and planner.
class V4Attention : public AttentionBlock {
 public:
  // What all layers share.
  struct Shared {
    std::shared_ptr<const RopeCache> sliding_rope;     // of sliding layers
    std::shared_ptr<const RopeCache> compressed_rope;  // of CSA and HCA layers
    const V4Caches* caches = nullptr;
    const V4StepPlanner* planner = nullptr;
  };

  static absl::StatusOr<std::unique_ptr<V4Attention>> Load(const LoadContext& context,
                                                           const config::HybridAttentionConfig& config,
                                                           const std::string& name, int64_t layer,
                                                           const Shared& shared);

  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override;

 private:
  V4Attention(const config::HybridAttentionConfig& config, int64_t layer, const Shared& shared);

  // x [tokens, hidden] -> q [tokens, heads * head_dim], normalised and rotated, q_low [tokens, q_lora_rank] on the way;
  // puts the step's keys into the window.
  absl::Status Project(const ForwardContext& context, const kernels::TensorView& x, const kernels::TensorView& q_low,
                       const kernels::TensorView& q) const;
  // Completes entries and attends: q -> attn_output [tokens, heads, head_dim].
  absl::Status Attend(const ForwardContext& context, const kernels::TensorView& x, const kernels::TensorView& q_low,
                      const kernels::TensorView& q, const kernels::TensorView& attn_output) const;
  // The rotated part of [tokens, heads, head_dim].
  kernels::TensorView Rotated(const kernels::TensorView& by_head) const;

  config::HybridAttentionConfig config_;
  config::HybridLayer kind_;
  int64_t layer_;
  int64_t selected_ = 0;  // entries of a query in CSA layers
  float eps_ = 0;
  kernels::DType dtype_ = kernels::DType::kBF16;
  Shared shared_;
  std::shared_ptr<const RopeCache> rope_;
  Linear q_a_;
  RmsNorm q_norm_;
  Linear q_b_;
  Linear kv_;
  RmsNorm kv_norm_;
  checkpoint::LoadedTensor sink_;   // f32 [heads]
  checkpoint::LoadedTensor out_a_;  // [o_groups * o_lora_rank, heads / o_groups * head_dim]
  Linear out_b_;
  V4Compressor compressor_;           // CSA and HCA layers
  std::optional<V4Indexer> indexer_;  // CSA layers
};

}  // namespace hadal::models
