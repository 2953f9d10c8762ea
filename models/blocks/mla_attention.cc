// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mla_attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

using kernels::TensorView;

absl::StatusOr<std::unique_ptr<MlaAttention>> MlaAttention::Load(const LoadContext& context,
                                                                 const config::MlaConfig& config,
                                                                 const std::string& name, int64_t layer,
                                                                 std::shared_ptr<const RopeCache> rope,
                                                                 const MlaPlanner* planner, const PagedCache* latents,
                                                                 const PagedCache* index_keys) {
  std::unique_ptr<MlaAttention> block(new MlaAttention(config));
  block->layer_ = layer;
  // YaRN's magnitude correction acts on the softmax scale, squared; the tables carry none (arXiv:2309.00071,
  // section 3.4).
  block->scale_ = static_cast<float>(kernels::MlaSoftmaxScaleFactor(config.rope) /
                                     std::sqrt(static_cast<double>(config.qk_head_dim())));
  block->dtype_ = context.dtype();
  block->rope_layout_ = config.rope_interleaved ? kernels::RopeLayout::kInterleaved : kernels::RopeLayout::kHalfSplit;
  const int64_t hidden = context.config.hidden_size;
  const int64_t q_width = config.heads * config.qk_head_dim();
  if (config.q_lora_rank > 0) {
    HADAL_ASSIGN_OR_RETURN(block->q_a_proj_,
                           Linear::Load(context, absl::StrCat(name, ".q_a_proj"),
                                        {.out = config.q_lora_rank, .in = hidden, .bias = config.bias}));
    HADAL_ASSIGN_OR_RETURN(block->q_a_norm_, RmsNorm::Load(context, absl::StrCat(name, ".q_a_layernorm"),
                                                           config.q_lora_rank, config.latent_norm_eps));
    HADAL_ASSIGN_OR_RETURN(block->q_proj_, Linear::Load(context, absl::StrCat(name, ".q_b_proj"),
                                                        {.out = q_width, .in = config.q_lora_rank}));
  } else {
    HADAL_ASSIGN_OR_RETURN(block->q_proj_,
                           Linear::Load(context, absl::StrCat(name, ".q_proj"), {.out = q_width, .in = hidden}));
  }
  HADAL_ASSIGN_OR_RETURN(block->kv_a_proj_,
                         Linear::Load(context, absl::StrCat(name, ".kv_a_proj_with_mqa"),
                                      {.out = config.latent_dim(), .in = hidden, .bias = config.bias}));
  HADAL_ASSIGN_OR_RETURN(block->kv_a_norm_, RmsNorm::Load(context, absl::StrCat(name, ".kv_a_layernorm"),
                                                          config.kv_lora_rank, config.latent_norm_eps));
  HADAL_ASSIGN_OR_RETURN(
      block->kv_b_proj_,
      Linear::Load(context, absl::StrCat(name, ".kv_b_proj"),
                   {.out = config.heads * (config.qk_nope_head_dim + config.v_head_dim), .in = config.kv_lora_rank}));
  HADAL_ASSIGN_OR_RETURN(block->out_,
                         Linear::Load(context, absl::StrCat(name, ".o_proj"),
                                      {.out = hidden, .in = config.heads * config.v_head_dim, .bias = config.bias}));
  if (config.indexer.has_value()) {
    HADAL_ASSIGN_OR_RETURN(block->indexer_,
                           Indexer::Load(context, config, absl::StrCat(name, ".indexer"), layer, rope, index_keys));
  }
  block->rope_ = std::move(rope);
  block->planner_ = planner;
  block->latents_ = latents;
  return block;
}

absl::Status MlaAttention::ProjectQuery(const ForwardContext& context, const TensorView& x, const TensorView& q_latent,
                                        const TensorView& q) const {
  if (config_.q_lora_rank == 0) return q_proj_.Forward(context.backend, x, q);
  HADAL_RETURN_IF_ERROR(q_a_proj_.Forward(context.backend, x, q_latent));
  HADAL_RETURN_IF_ERROR(q_a_norm_.Forward(context.backend, q_latent, q_latent));
  return q_proj_.Forward(context.backend, q_latent, q);
}

absl::Status MlaAttention::Forward(const ForwardContext& context, const TensorView& x, const TensorView& out) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const int64_t tokens = x.size(0);
  const int64_t rank = config_.kv_lora_rank;
  const int64_t rope_dim = config_.qk_rope_head_dim;

  HADAL_ASSIGN_OR_RETURN(const TensorView q_rows,
                         context.arena.Take(dtype_, {tokens, config_.heads * config_.qk_head_dim()}));
  TensorView q_latent;
  if (config_.q_lora_rank > 0) {
    HADAL_ASSIGN_OR_RETURN(q_latent, context.arena.Take(dtype_, {tokens, config_.q_lora_rank}));
  }
  HADAL_RETURN_IF_ERROR(ProjectQuery(context, x, q_latent, q_rows));
  const TensorView q = q_rows.SplitLast(config_.qk_head_dim());  // [tokens, heads, nope + rope]

  HADAL_ASSIGN_OR_RETURN(const TensorView latent, context.arena.Take(dtype_, {tokens, config_.latent_dim()}));
  HADAL_RETURN_IF_ERROR(kv_a_proj_.Forward(backend, x, latent));
  const TensorView compressed = latent.Slice(1, 0, rank);  // the norm leaves the rope key alone
  HADAL_RETURN_IF_ERROR(backend.RopeKvAppend(
      {.q_norm = {},
       .k_norm = kv_a_norm_.InPlace(compressed.SplitLast(rank)),
       .rope = rope_->Rotation(context.batch.positions, q.Slice(2, config_.qk_nope_head_dim, rope_dim),
                               latent.Slice(1, rank, rope_dim).SplitLast(rope_dim), rope_layout_),
       .append = {.k = latent.SplitLast(config_.latent_dim()),
                  .v = {},
                  .k_cache = latents_->Layer(layer_),
                  .v_cache = {},
                  .slot_mapping = context.batch.slot_mapping}}));
  if (indexer_ != nullptr) HADAL_RETURN_IF_ERROR(indexer_->AppendKeys(context, x));

  HADAL_ASSIGN_OR_RETURN(const TensorView attn_output,
                         context.arena.Take(dtype_, {tokens, config_.heads * config_.v_head_dim}));
  const TensorView output_by_head = attn_output.SplitLast(config_.v_head_dim);
  for (const MlaRun& run : planner_->runs()) {
    const TensorView run_q = q.Slice(0, run.token_begin, run.token_count);
    const TensorView run_output = output_by_head.Slice(0, run.token_begin, run.token_count);
    if (run.expanded) {
      HADAL_RETURN_IF_ERROR(
          Expanded(context, run, run_q, latent.Slice(0, run.token_begin, run.token_count), run_output));
    } else if (run.sparse) {
      HADAL_RETURN_IF_ERROR(Sparse(context, run, x.Slice(0, run.token_begin, run.token_count),
                                   q_latent.Slice(0, run.token_begin, run.token_count), run_q, run_output));
    } else {
      HADAL_RETURN_IF_ERROR(Absorbed(context, run, run_q, TensorView(), run_output));
    }
  }
  return out_.Forward(backend, attn_output, out);
}

absl::Status MlaAttention::Sparse(const ForwardContext& context, const MlaRun& run, const TensorView& x,
                                  const TensorView& q_latent, const TensorView& q,
                                  const TensorView& attn_output) const {
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView selected,
                         context.arena.Take(kernels::DType::kI32, {run.token_count, indexer_->top_k()}));
  HADAL_RETURN_IF_ERROR(indexer_->Select(context, run, x, q_latent, selected));
  return Absorbed(context, run, q, selected, attn_output);
}

absl::Status MlaAttention::Absorbed(const ForwardContext& context, const MlaRun& run, const TensorView& q,
                                    const TensorView& selected, const TensorView& attn_output) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const kernels::WeightView up = kv_b_proj_.weight().SplitRows(config_.heads);  // [heads, nope + v, kv_lora_rank]
  const int64_t nope = config_.qk_nope_head_dim;

  HADAL_ASSIGN_OR_RETURN(const TensorView q_lat,
                         context.arena.Take(dtype_, {run.token_count, config_.heads, config_.kv_lora_rank}));
  HADAL_RETURN_IF_ERROR(
      backend.BatchedGemm({.x = q.Slice(2, 0, nope), .w = up.Rows(0, nope), .out = q_lat, .transpose_w = true}));
  HADAL_ASSIGN_OR_RETURN(const TensorView o_lat,
                         context.arena.Take(dtype_, {run.token_count, config_.heads, config_.kv_lora_rank}));
  HADAL_RETURN_IF_ERROR(backend.MlaAttention({.q_lat = q_lat,
                                              .q_pe = q.Slice(2, nope, config_.qk_rope_head_dim),
                                              .cache = WithoutHeads(latents_->Layer(layer_)),
                                              .o_lat = o_lat,
                                              .batch = run.ragged,
                                              .scale = scale_,
                                              .selected = selected,
                                              .may_select = indexer_ != nullptr}));
  return backend.BatchedGemm({.x = o_lat, .w = up.Rows(nope, config_.v_head_dim), .out = attn_output});
}

absl::Status MlaAttention::Expanded(const ForwardContext& context, const MlaRun& run, const TensorView& q,
                                    const TensorView& latent, const TensorView& attn_output) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const int64_t nope = config_.qk_nope_head_dim;

  TensorView source = latent;
  if (run.cached_prefix) {
    HADAL_ASSIGN_OR_RETURN(source, context.arena.Take(dtype_, {run.kv_tokens, config_.latent_dim()}));
    HADAL_RETURN_IF_ERROR(backend.MlaGather({.cache = WithoutHeads(latents_->Layer(layer_)),
                                             .kv_start = run.kv_start,
                                             .latent = source,
                                             .batch = run.ragged}));
  }
  const int64_t expanded_width = nope + config_.v_head_dim;
  HADAL_ASSIGN_OR_RETURN(const TensorView kv_rows,
                         context.arena.Take(dtype_, {run.kv_tokens, config_.heads * expanded_width}));
  HADAL_RETURN_IF_ERROR(kv_b_proj_.Forward(backend, source.Slice(1, 0, config_.kv_lora_rank), kv_rows));
  const TensorView kv = kv_rows.SplitLast(expanded_width);  // [kv_tokens, heads, nope + v]
  return backend.MlaPrefill({.q_nope = q.Slice(2, 0, nope),
                             .q_pe = q.Slice(2, nope, config_.qk_rope_head_dim),
                             .k_nope = kv.Slice(2, 0, nope),
                             .k_pe = source.Slice(1, config_.kv_lora_rank, config_.qk_rope_head_dim),
                             .v = kv.Slice(2, nope, config_.v_head_dim),
                             .kv_start = run.kv_start,
                             .out = attn_output,
                             .batch = run.ragged,
                             .scale = scale_});
}

}  // namespace hadal::models
