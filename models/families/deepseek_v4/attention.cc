// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using config::HybridLayer;
using kernels::DType;
using kernels::TensorView;

V4Compressor::Shape CompressorShape(const config::HybridAttentionConfig& config, bool overlapping) {
  return {.ratio = overlapping ? config.csa_ratio : config.hca_ratio,
          .width = config.head_dim,
          .rotated = config.rope_head_dim,
          .overlapping = overlapping};
}

}  // namespace

V4Attention::V4Attention(const config::HybridAttentionConfig& config, int64_t layer, const Shared& shared)
    : config_(config),
      kind_(config_.layers[static_cast<size_t>(layer)]),
      layer_(layer),
      shared_(shared),
      rope_(kind_ == HybridLayer::kSliding ? shared.sliding_rope : shared.compressed_rope) {}

absl::StatusOr<std::unique_ptr<V4Attention>> V4Attention::Load(const LoadContext& context,
                                                               const config::HybridAttentionConfig& config,
                                                               const std::string& name, int64_t layer,
                                                               const Shared& shared) {
  const double eps = context.config.rms_norm_eps;
  std::unique_ptr<V4Attention> block(new V4Attention(config, layer, shared));
  block->eps_ = static_cast<float>(eps);
  const int64_t hidden = context.config.hidden_size;
  const int64_t width = config.heads * config.head_dim;
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
      block->sink_,
      context.loader.Take({absl::StrCat(name, ".attn_sink"), {config.heads}, checkpoint::TensorRole::kFloat32}));
  HADAL_ASSIGN_OR_RETURN(block->out_a_, context.loader.Take({absl::StrCat(name, ".wo_a.weight"),
                                                             {out_rank, width / config.o_groups},
                                                             checkpoint::TensorRole::kMatrix}));
  HADAL_ASSIGN_OR_RETURN(block->out_b_,
                         Linear::Load(context, absl::StrCat(name, ".wo_b"), {.out = hidden, .in = out_rank}));
  if (block->kind_ == HybridLayer::kSliding) return block;
  const bool csa = block->kind_ == HybridLayer::kCsa;
  HADAL_ASSIGN_OR_RETURN(block->compressor_, V4Compressor::Load(context, absl::StrCat(name, ".compressor"),
                                                                CompressorShape(config, csa), shared.compressed_rope));
  if (!csa) return block;
  HADAL_ASSIGN_OR_RETURN(block->indexer_,
                         V4Indexer::Load(context, config, absl::StrCat(name, ".indexer"), shared.compressed_rope));
  block->selected_ = V4Indexer::SelectedEntries(config, context.config.max_position_embeddings);
  return block;
}

TensorView V4Attention::Rotated(const TensorView& by_head) const {
  return by_head.Slice(2, config_.head_dim - config_.rope_head_dim, config_.rope_head_dim);
}

absl::Status V4Attention::Project(const ForwardContext& context, const TensorView& x, const TensorView& q_low,
                                  const TensorView& q) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  HADAL_RETURN_IF_ERROR(q_a_.Forward(backend, x, q_low));
  HADAL_RETURN_IF_ERROR(q_norm_.Forward(backend, q_low, q_low));
  HADAL_RETURN_IF_ERROR(q_b_.Forward(backend, q_low, q));
  HADAL_ASSIGN_OR_RETURN(const TensorView kv, context.arena.Take(dtype_, {x.size(0), config_.head_dim}));
  HADAL_RETURN_IF_ERROR(kv_.Forward(backend, x, kv));
  const TensorView q_heads = q.SplitLast(config_.head_dim);
  const TensorView kv_head = kv.SplitLast(config_.head_dim);  // [tokens, 1, head_dim]
  return backend.RopeKvAppend({.q_norm = {.x = q_heads, .residual = {}, .weight = {}, .out = q_heads, .eps = eps_},
                               .k_norm = kv_norm_.InPlace(kv_head),
                               .rope = rope_->Rotation(context.batch.positions, Rotated(q_heads), Rotated(kv_head),
                                                       kernels::RopeLayout::kInterleaved),
                               .append = {.k = kv_head,
                                          .v = {},
                                          .k_cache = shared_.caches->Layer(V4Cache::kWindow, layer_),
                                          .v_cache = {},
                                          .slot_mapping = shared_.planner->window_slots()}});
}

absl::Status V4Attention::Attend(const ForwardContext& context, const TensorView& x, const TensorView& q_low,
                                 const TensorView& q, const TensorView& attn_output) const {
  const Arena::Scope scope(context.arena);
  const V4Caches& caches = *shared_.caches;
  const V4StepPlanner& planner = *shared_.planner;
  kernels::HybridAttentionParams params = {.q = q,
                                           .window = caches.Rows(V4Cache::kWindow, layer_),
                                           .sink = sink_.view(),
                                           .out = attn_output,
                                           .window_batch = planner.window(),
                                           .batch = context.batch.ragged,
                                           .window_tokens = config_.sliding_window,
                                           .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))};
  if (kind_ == HybridLayer::kHca) {
    HADAL_RETURN_IF_ERROR(compressor_.Forward(context, x,
                                              {.entries = planner.hca_entries(),
                                               .inputs = caches.Layer(V4Cache::kHcaInputs, layer_),
                                               .window = planner.window(),
                                               .input_slots = planner.window_slots(),
                                               .cache = caches.Layer(V4Cache::kHca, layer_)}));
    params.entries = caches.Rows(V4Cache::kHca, layer_);
    params.tokens_per_entry = config_.hca_ratio;
  }
  if (kind_ == HybridLayer::kCsa) {
    const EntryBatch& entries = planner.csa_entries();
    const TensorView& slots = planner.csa_input_slots();
    HADAL_ASSIGN_OR_RETURN(params.selected, context.arena.Take(DType::kI32, {x.size(0), selected_}));
    HADAL_RETURN_IF_ERROR(compressor_.Forward(context, x,
                                              {.entries = entries,
                                               .inputs = caches.Layer(V4Cache::kCsaInputs, layer_),
                                               .window = planner.window(),
                                               .input_slots = slots,
                                               .cache = caches.Layer(V4Cache::kCsa, layer_)}));
    HADAL_RETURN_IF_ERROR(indexer_->Forward(context, x, q_low,
                                            {.entries = entries,
                                             .inputs = caches.Layer(V4Cache::kIndexInputs, layer_),
                                             .window = planner.window(),
                                             .input_slots = slots,
                                             .cache = caches.Layer(V4Cache::kIndexKeys, layer_)},
                                            params.selected));
    params.entries = caches.Rows(V4Cache::kCsa, layer_);
    params.tokens_per_entry = config_.csa_ratio;
  }
  return context.backend.HybridAttention(params);
}

absl::Status V4Attention::Forward(const ForwardContext& context, const TensorView& x, const TensorView& out) const {
  kernels::Backend& backend = context.backend;
  Arena& arena = context.arena;
  const Arena::Scope scope(arena);
  const int64_t tokens = x.size(0);
  HADAL_ASSIGN_OR_RETURN(const TensorView q_low, arena.Take(dtype_, {tokens, config_.q_lora_rank}));
  HADAL_ASSIGN_OR_RETURN(const TensorView q, arena.Take(dtype_, {tokens, config_.heads * config_.head_dim}));
  HADAL_ASSIGN_OR_RETURN(const TensorView attn_output, arena.Take(dtype_, {tokens, config_.heads * config_.head_dim}));
  HADAL_RETURN_IF_ERROR(Project(context, x, q_low, q));
  const TensorView output_by_head = attn_output.SplitLast(config_.head_dim);
  HADAL_RETURN_IF_ERROR(Attend(context, x, q_low, q.SplitLast(config_.head_dim), output_by_head));
  // Values are keys and so were rotated to their positions; turned back by the query's position they are relative to
  // it.
  HADAL_RETURN_IF_ERROR(rope_->Apply(backend, context.batch.positions, Rotated(output_by_head), {},
                                     kernels::RopeLayout::kInterleaved, /*inverse=*/true));
  HADAL_ASSIGN_OR_RETURN(const TensorView low, arena.Take(dtype_, {tokens, config_.o_groups * config_.o_lora_rank}));
  HADAL_RETURN_IF_ERROR(backend.BatchedGemm({.x = attn_output.SplitLast(out_a_.weight.in_features()),
                                             .w = out_a_.weight.SplitRows(config_.o_groups),
                                             .out = low.SplitLast(config_.o_lora_rank)}));
  return out_b_.Forward(backend, low, out);
}

}  // namespace hadal::models
