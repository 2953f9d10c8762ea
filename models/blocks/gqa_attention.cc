// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/gqa_attention.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<std::unique_ptr<GqaAttention>> GqaAttention::Load(const LoadContext& context,
                                                                 const config::GqaConfig& config,
                                                                 const std::string& name, int64_t layer,
                                                                 std::shared_ptr<const RopeCache> rope,
                                                                 const PagedCache* keys, const PagedCache* values) {
  std::unique_ptr<GqaAttention> block(new GqaAttention());
  block->heads_ = config.heads;
  block->kv_heads_ = config.kv_heads;
  block->head_dim_ = config.head_dim;
  block->layer_ = layer;
  block->scale_ = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  block->dtype_ = context.dtype();
  const int64_t hidden = context.config.hidden_size;
  const int64_t q_width = config.heads * config.head_dim;
  const int64_t kv_width = config.kv_heads * config.head_dim;
  HADAL_ASSIGN_OR_RETURN(block->qkv_, MergedLinear::Load(context,
                                                         {{absl::StrCat(name, ".q_proj"), q_width},
                                                          {absl::StrCat(name, ".k_proj"), kv_width},
                                                          {absl::StrCat(name, ".v_proj"), kv_width}},
                                                         {.in = hidden, .bias = config.qkv_bias}));
  HADAL_ASSIGN_OR_RETURN(block->out_, Linear::Load(context, absl::StrCat(name, ".o_proj"),
                                                   {.out = hidden, .in = q_width, .bias = config.out_bias}));
  if (config.qk_norm) {
    const double eps = context.config.rms_norm_eps;
    HADAL_ASSIGN_OR_RETURN(block->q_norm_, RmsNorm::Load(context, absl::StrCat(name, ".q_norm"), config.head_dim, eps));
    HADAL_ASSIGN_OR_RETURN(block->k_norm_, RmsNorm::Load(context, absl::StrCat(name, ".k_norm"), config.head_dim, eps));
  }
  block->rope_ = std::move(rope);
  block->keys_ = keys;
  block->values_ = values;
  return block;
}

absl::Status GqaAttention::Forward(const ForwardContext& context, const kernels::TensorView& x,
                                   const kernels::TensorView& out) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const int64_t tokens = x.size(0);
  const int64_t q_width = heads_ * head_dim_;
  const int64_t kv_width = kv_heads_ * head_dim_;

  HADAL_ASSIGN_OR_RETURN(const kernels::TensorView qkv, context.arena.Take(dtype_, {tokens, q_width + 2 * kv_width}));
  HADAL_RETURN_IF_ERROR(qkv_.Forward(backend, x, qkv));
  const kernels::TensorView q = qkv.Slice(1, 0, q_width).SplitLast(head_dim_);         // [tokens, heads, dim]
  const kernels::TensorView k = qkv.Slice(1, q_width, kv_width).SplitLast(head_dim_);  // [tokens, kv, dim]
  const kernels::TensorView v = qkv.Slice(1, q_width + kv_width, kv_width).SplitLast(head_dim_);  // [tokens, kv, dim]

  HADAL_RETURN_IF_ERROR(
      backend.RopeKvAppend({.q_norm = q_norm_.has_value() ? q_norm_->InPlace(q) : kernels::RmsNormParams(),
                            .k_norm = k_norm_.has_value() ? k_norm_->InPlace(k) : kernels::RmsNormParams(),
                            .rope = rope_->Rotation(context.batch.positions, q, k, kernels::RopeLayout::kHalfSplit),
                            .append = {.k = k,
                                       .v = v,
                                       .k_cache = keys_->Layer(layer_),
                                       .v_cache = values_->Layer(layer_),
                                       .slot_mapping = context.batch.slot_mapping}}));

  HADAL_ASSIGN_OR_RETURN(const kernels::TensorView attn_output, context.arena.Take(dtype_, {tokens, q_width}));
  HADAL_RETURN_IF_ERROR(backend.PagedAttention({.q = q,
                                                .k_cache = keys_->Layer(layer_),
                                                .v_cache = values_->Layer(layer_),
                                                .out = attn_output.SplitLast(head_dim_),
                                                .batch = context.batch.ragged,
                                                .scale = scale_}));
  return out_.Forward(backend, attn_output, out);
}

}  // namespace hadal::models
