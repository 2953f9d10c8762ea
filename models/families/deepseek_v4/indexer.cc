// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/indexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

V4Compressor::Shape CompressorShape(const config::HybridAttentionConfig& config) {
  return {.ratio = config.csa_ratio,
          .width = config.indexer->head_dim,
          .rotated = config.rope_head_dim,
          .overlapping = true};
}

}  // namespace

absl::StatusOr<V4Indexer> V4Indexer::Load(const LoadContext& context, const config::HybridAttentionConfig& config,
                                          const std::string& name, std::shared_ptr<const RopeCache> rope) {
  V4Indexer block;
  block.config_ = *config.indexer;
  block.ratio_ = config.csa_ratio;
  block.rotated_ = config.rope_head_dim;
  block.dtype_ = context.dtype();
  HADAL_ASSIGN_OR_RETURN(block.query_,
                         Linear::Load(context, absl::StrCat(name, ".wq_b"),
                                      {.out = block.config_.heads * block.config_.head_dim, .in = config.q_lora_rank}));
  HADAL_ASSIGN_OR_RETURN(block.head_weights_, Linear::Load(context, absl::StrCat(name, ".weights_proj"),
                                                           {.out = block.config_.heads,
                                                            .in = context.config.hidden_size,
                                                            .role = checkpoint::TensorRole::kPlainMatrix}));
  HADAL_ASSIGN_OR_RETURN(block.compressor_,
                         V4Compressor::Load(context, absl::StrCat(name, ".compressor"), CompressorShape(config), rope));
  block.rope_ = std::move(rope);
  return block;
}

int64_t V4Indexer::SelectedEntries(const config::HybridAttentionConfig& config, int64_t max_positions) {
  const int64_t longest = max_positions / config.csa_ratio;
  return std::max<int64_t>(1, std::min(config.indexer->top_k, longest));
}

absl::Status V4Indexer::Forward(const ForwardContext& context, const TensorView& x, const TensorView& q_low,
                                const V4Compressor::Target& target, const TensorView& selected) const {
  kernels::Backend& backend = context.backend;
  HADAL_RETURN_IF_ERROR(compressor_.Forward(context, x, target));
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView q_rows,
                         context.arena.Take(dtype_, {x.size(0), config_.heads * config_.head_dim}));
  HADAL_RETURN_IF_ERROR(query_.Forward(backend, q_low, q_rows));
  const TensorView q = q_rows.SplitLast(config_.head_dim);  // [tokens, heads, head_dim]
  HADAL_RETURN_IF_ERROR(rope_->Apply(backend, context.batch.positions,
                                     q.Slice(2, config_.head_dim - rotated_, rotated_), {},
                                     kernels::RopeLayout::kInterleaved));
  // The published factors on scores and weights are positive and the same for all entries: the choice is without them.
  HADAL_ASSIGN_OR_RETURN(const TensorView weights, context.arena.Take(DType::kF32, {x.size(0), config_.heads}));
  HADAL_RETURN_IF_ERROR(head_weights_.Forward(backend, x, weights));
  const TensorView& keys = target.cache;
  return backend.IndexTopK({.q = q,
                            .weights = weights,
                            .keys = TensorView(keys.data, keys.dtype, {keys.size(0), keys.size(1), keys.size(3)}),
                            .selected = selected,
                            .batch = context.batch.ragged,
                            .tokens_per_entry = ratio_});
}

}  // namespace hadal::models
