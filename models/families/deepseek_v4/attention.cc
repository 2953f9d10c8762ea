// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using config::V4AttentionKind;
using kernels::DType;
using kernels::TensorView;

V4Compressor::Shape CompressorShape(const config::V4AttentionConfig& config, bool overlapping) {
  return {.ratio = overlapping ? config.sparse_ratio : config.heavy_ratio,
          .width = config.head_dim,
          .rotated = config.rope_head_dim,
          .overlapping = overlapping};
}

}  // namespace

V4Attention::V4Attention(const config::ModelConfig& config, int64_t layer, const Shared& shared)
    : config_(*config.v4_attention),
      kind_(config_.layers[static_cast<size_t>(layer)]),
      layer_(layer),
      heads_(config.attention.heads),
      eps_(static_cast<float>(config.rms_norm_eps)),
      shared_(shared),
      rope_(kind_ == V4AttentionKind::kSliding ? shared.window_rope : shared.compress_rope) {}

absl::StatusOr<std::unique_ptr<V4Attention>> V4Attention::Load(const LoadContext& context, const std::string& name,
                                                               int64_t layer, const Shared& shared) {
  const double eps = context.config.rms_norm_eps;
  std::unique_ptr<V4Attention> block(new V4Attention(context.config, layer, shared));
  const config::V4AttentionConfig& config = block->config_;
  const int64_t hidden = context.config.hidden_size;
  const int64_t heads = context.config.attention.heads;
  const int64_t width = heads * config.head_dim;
  const int64_t q_rank = config.q_lora_rank;
  const int64_t out_rank = config.o_groups * config.o_lora_rank;
  block->dtype_ = context.dtype();
  HADAL_ASSIGN_OR_RETURN(block->q_a_,
                         Linear::Load(context, absl::StrCat(name, ".wq_a"), {.out = q_rank, .in = hidden}));
  HADAL_ASSIGN_OR_RETURN(block->q_norm_,
                         RmsNorm::Load(context, absl::StrCat(name, ".q_norm"), q_rank, eps, NormProduct::kFloat32));
  HADAL_ASSIGN_OR_RETURN(block->q_b_, Linear::Load(context, absl::StrCat(name, ".wq_b"), {.out = width, .in = q_rank}));
  HADAL_ASSIGN_OR_RETURN(block->kv_,
                         Linear::Load(context, absl::StrCat(name, ".wkv"), {.out = config.head_dim, .in = hidden}));
  HADAL_ASSIGN_OR_RETURN(block->kv_norm_, RmsNorm::Load(context, absl::StrCat(name, ".kv_norm"), config.head_dim, eps,
                                                        NormProduct::kFloat32));
  HADAL_ASSIGN_OR_RETURN(
      block->sink_, context.loader.Take({absl::StrCat(name, ".attn_sink"), {heads}, checkpoint::TensorRole::kFloat32}));
  HADAL_ASSIGN_OR_RETURN(block->out_a_, context.loader.Take({absl::StrCat(name, ".wo_a.weight"),
                                                             {out_rank, width / config.o_groups},
                                                             checkpoint::TensorRole::kMatrix}));
  HADAL_ASSIGN_OR_RETURN(block->out_b_,
                         Linear::Load(context, absl::StrCat(name, ".wo_b"), {.out = hidden, .in = out_rank}));
  if (block->kind_ == V4AttentionKind::kSliding) return block;
  const bool sparse = block->kind_ == V4AttentionKind::kSparse;
  HADAL_ASSIGN_OR_RETURN(block->compressor_,
                         V4Compressor::Load(context, absl::StrCat(name, ".compressor"),
                                            CompressorShape(block->config_, sparse), shared.compress_rope));
  if (!sparse) return block;
  HADAL_ASSIGN_OR_RETURN(block->indexer_,
                         V4Indexer::Load(context, absl::StrCat(name, ".indexer"), shared.compress_rope));
  block->selected_ = V4Indexer::SelectedEntries(context.config);
  return block;
}

TensorView V4Attention::Rotated(const TensorView& by_head) const {
  return by_head.Slice(2, config_.head_dim - config_.rope_head_dim, config_.rope_head_dim);
}

absl::Status V4Attention::ProjectQuery(const ForwardContext& context, const TensorView& x, const TensorView& q_low,
                                       const TensorView& q) const {
  kernels::Backend& backend = context.backend;
  HADAL_RETURN_IF_ERROR(q_a_.Forward(backend, x, q_low));
  HADAL_RETURN_IF_ERROR(q_norm_.Forward(backend, q_low, q_low));
  HADAL_RETURN_IF_ERROR(q_b_.Forward(backend, q_low, q));
  const TensorView by_head = q.SplitLast(config_.head_dim);
  HADAL_RETURN_IF_ERROR(backend.RmsNorm({.x = by_head, .out = by_head, .eps = eps_}));
  return rope_->Apply(backend, context.batch.positions, Rotated(by_head), {}, kernels::RopeLayout::kInterleaved);
}

absl::Status V4Attention::AppendWindow(const ForwardContext& context, const TensorView& x) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView kv, context.arena.Take(dtype_, {x.size(0), config_.head_dim}));
  HADAL_RETURN_IF_ERROR(kv_.Forward(backend, x, kv));
  HADAL_RETURN_IF_ERROR(kv_norm_.Forward(backend, kv, kv));
  const TensorView by_head = kv.SplitLast(config_.head_dim);  // [tokens, 1, head_dim]
  HADAL_RETURN_IF_ERROR(
      rope_->Apply(backend, context.batch.positions, Rotated(by_head), {}, kernels::RopeLayout::kInterleaved));
  return backend.KvAppend({.k = by_head,
                           .k_cache = shared_.caches->Layer(V4Cache::kWindow, layer_),
                           .slot_mapping = context.batch.window_slot_mapping});
}

absl::Status V4Attention::Attend(const ForwardContext& context, const TensorView& x, const TensorView& q_low,
                                 const TensorView& q, const TensorView& mixed) const {
  const Arena::Scope scope(context.arena);
  const V4Caches& caches = *shared_.caches;
  kernels::HybridAttentionParams params = {.q = q,
                                           .window = caches.Rows(V4Cache::kWindow, layer_),
                                           .sink = sink_.view,
                                           .out = mixed,
                                           .window_batch = context.batch.window_ragged,
                                           .batch = context.batch.ragged,
                                           .window_tokens = config_.sliding_window,
                                           .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))};
  if (kind_ == V4AttentionKind::kHeavy) {
    HADAL_RETURN_IF_ERROR(compressor_.Forward(context, x,
                                              {.entries = shared_.heavy_entries->entries(),
                                               .inputs = caches.Layer(V4Cache::kHeavyInputs, layer_),
                                               .input_slots = context.batch.window_slot_mapping,
                                               .cache = caches.Layer(V4Cache::kHeavy, layer_)}));
    params.entries = caches.Rows(V4Cache::kHeavy, layer_);
    params.tokens_per_entry = config_.heavy_ratio;
  }
  if (kind_ == V4AttentionKind::kSparse) {
    const EntryBatch& entries = shared_.sparse_entries->entries();
    const TensorView& slots = shared_.sparse_inputs->slots();
    HADAL_ASSIGN_OR_RETURN(params.selected, context.arena.Take(DType::kI32, {x.size(0), selected_}));
    HADAL_RETURN_IF_ERROR(compressor_.Forward(context, x,
                                              {.entries = entries,
                                               .inputs = caches.Layer(V4Cache::kSparseInputs, layer_),
                                               .input_slots = slots,
                                               .cache = caches.Layer(V4Cache::kSparse, layer_)}));
    HADAL_RETURN_IF_ERROR(indexer_->Forward(context, x, q_low,
                                            {.entries = entries,
                                             .inputs = caches.Layer(V4Cache::kIndexInputs, layer_),
                                             .input_slots = slots,
                                             .cache = caches.Layer(V4Cache::kIndexKeys, layer_)},
                                            params.selected));
    params.entries = caches.Rows(V4Cache::kSparse, layer_);
    params.tokens_per_entry = config_.sparse_ratio;
  }
  return context.backend.HybridAttention(params);
}

absl::Status V4Attention::Forward(const ForwardContext& context, const TensorView& x, const TensorView& out) const {
  kernels::Backend& backend = context.backend;
  Arena& arena = context.arena;
  const Arena::Scope scope(arena);
  const int64_t tokens = x.size(0);
  HADAL_ASSIGN_OR_RETURN(const TensorView q_low, arena.Take(dtype_, {tokens, config_.q_lora_rank}));
  HADAL_ASSIGN_OR_RETURN(const TensorView q, arena.Take(dtype_, {tokens, heads_ * config_.head_dim}));
  HADAL_ASSIGN_OR_RETURN(const TensorView mixed, arena.Take(dtype_, {tokens, heads_ * config_.head_dim}));
  HADAL_RETURN_IF_ERROR(ProjectQuery(context, x, q_low, q));
  HADAL_RETURN_IF_ERROR(AppendWindow(context, x));
  const TensorView mixed_heads = mixed.SplitLast(config_.head_dim);
  HADAL_RETURN_IF_ERROR(Attend(context, x, q_low, q.SplitLast(config_.head_dim), mixed_heads));
  // Values are keys and so were rotated to their positions; turned back by the query's position they are relative to
  // it.
  HADAL_RETURN_IF_ERROR(rope_->Apply(backend, context.batch.positions, Rotated(mixed_heads), {},
                                     kernels::RopeLayout::kInterleaved, /*inverse=*/true));
  HADAL_ASSIGN_OR_RETURN(const TensorView low, arena.Take(dtype_, {tokens, config_.o_groups * config_.o_lora_rank}));
  const int64_t group_width = heads_ / config_.o_groups * config_.head_dim;
  HADAL_RETURN_IF_ERROR(backend.BatchedGemm(
      {.x = mixed.SplitLast(group_width),
       .w = TensorView(out_a_.view.data, out_a_.view.dtype, {config_.o_groups, config_.o_lora_rank, group_width}),
       .out = low.SplitLast(config_.o_lora_rank)}));
  return out_b_.Forward(backend, low, out);
}

}  // namespace hadal::models
