// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/indexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

constexpr double kKeyNormEps = 1e-6;  // not in config.json

}  // namespace

absl::StatusOr<std::unique_ptr<Indexer>> Indexer::Load(const LoadContext& context, const config::MlaConfig& mla,
                                                       const std::string& name, int64_t layer,
                                                       std::shared_ptr<const RopeCache> rope, const PagedCache* keys) {
  const config::IndexerConfig& config = *mla.indexer;
  const int64_t hidden = context.config.hidden_size;
  std::unique_ptr<Indexer> indexer(new Indexer(config));
  indexer->layer_ = layer;
  indexer->dtype_ = context.dtype();
  HADAL_ASSIGN_OR_RETURN(indexer->query_, Linear::Load(context, absl::StrCat(name, ".wq_b"),
                                                       {.out = config.heads * config.head_dim, .in = mla.q_lora_rank}));
  HADAL_ASSIGN_OR_RETURN(indexer->key_,
                         Linear::Load(context, absl::StrCat(name, ".wk"), {.out = config.head_dim, .in = hidden}));
  HADAL_ASSIGN_OR_RETURN(indexer->key_norm_,
                         LayerNorm::Load(context, absl::StrCat(name, ".k_norm"), config.head_dim, kKeyNormEps));
  HADAL_ASSIGN_OR_RETURN(indexer->weights_, Linear::Load(context, absl::StrCat(name, ".weights_proj"),
                                                         {.out = config.heads, .in = hidden}));
  indexer->rope_ = std::move(rope);
  indexer->keys_ = keys;
  return indexer;
}

absl::Status Indexer::AppendKeys(const ForwardContext& context, const TensorView& x) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView rows, context.arena.Take(dtype_, {x.size(0), config_.head_dim}));
  HADAL_RETURN_IF_ERROR(key_.Forward(backend, x, rows));
  HADAL_RETURN_IF_ERROR(key_norm_.Forward(backend, rows, rows));
  const TensorView keys = rows.SplitLast(config_.head_dim);  // [tokens, 1, head_dim]; rope turns the first values
  return backend.RopeKvAppend(
      {.q_norm = {},
       .k_norm = {},
       .rope = rope_->Rotation(context.batch.positions, TensorView(), keys, kernels::RopeLayout::kHalfSplit),
       .append = {.k = keys,
                  .v = {},
                  .k_cache = keys_->Layer(layer_),
                  .v_cache = {},
                  .slot_mapping = context.batch.slot_mapping}});
}

absl::Status Indexer::Select(const ForwardContext& context, const MlaRun& run, const TensorView& x,
                             const TensorView& q_latent, const TensorView& selected) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const int64_t tokens = run.token_count;
  HADAL_ASSIGN_OR_RETURN(const TensorView q_rows,
                         context.arena.Take(dtype_, {tokens, config_.heads * config_.head_dim}));
  HADAL_RETURN_IF_ERROR(query_.Forward(backend, q_latent, q_rows));
  const TensorView q = q_rows.SplitLast(config_.head_dim);  // [tokens, heads, head_dim]
  HADAL_RETURN_IF_ERROR(rope_->Apply(backend, context.batch.positions.Slice(0, run.token_begin, tokens), q,
                                     TensorView(), kernels::RopeLayout::kHalfSplit));
  // In float32: a weight that is rounded moves the scores of all keys of a head at once.
  HADAL_ASSIGN_OR_RETURN(const TensorView weights, context.arena.Take(DType::kF32, {tokens, config_.heads}));
  HADAL_RETURN_IF_ERROR(weights_.Forward(backend, x, weights));
  return backend.IndexTopK({.q = q,
                            .weights = weights,
                            .keys = WithoutHeads(keys_->Layer(layer_)),
                            .selected = selected,
                            .batch = run.ragged});
}

}  // namespace hadal::models
