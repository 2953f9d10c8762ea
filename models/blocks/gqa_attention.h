// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "models/blocks/kv_cache.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/linear.h"
#include "models/blocks/norm.h"
#include "models/blocks/rope_cache.h"

namespace hadal::models {

// Grouped-query attention with rotary positions (multi-head when kv_heads == heads, multi-query when it is 1), with or
// without biases, with or without a norm over every query and key head before the rotation (Qwen3). Checkpoint names:
// `name`.{q,k,v,o}_proj, `name`.{q,k}_norm. Immutable once loaded; borrows the caches.
class GqaAttention : public AttentionBlock {
 public:
  static absl::StatusOr<std::unique_ptr<GqaAttention>> Load(const LoadContext& context, const config::GqaConfig& config,
                                                            const std::string& name, int64_t layer,
                                                            std::shared_ptr<const RopeCache> rope,
                                                            const PagedCache* keys, const PagedCache* values);

  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override;

 private:
  GqaAttention() = default;

  int64_t heads_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_dim_ = 0;
  int64_t layer_ = 0;
  float scale_ = 1.0f;
  kernels::DType dtype_ = kernels::DType::kBF16;
  MergedLinear qkv_;
  Linear out_;
  std::optional<RmsNorm> q_norm_;  // both or neither
  std::optional<RmsNorm> k_norm_;
  std::shared_ptr<const RopeCache> rope_;
  const PagedCache* keys_ = nullptr;
  const PagedCache* values_ = nullptr;
};

}  // namespace hadal::models
