// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/compressor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

using kernels::DType;
using kernels::TensorView;

absl::StatusOr<V4Compressor> V4Compressor::Load(const LoadContext& context, const std::string& name, const Shape& shape,
                                                std::shared_ptr<const RopeCache> rope) {
  V4Compressor block;
  const int64_t channels = Channels(shape);
  block.shape_ = shape;
  block.dtype_ = context.dtype();
  HADAL_ASSIGN_OR_RETURN(
      block.value_gate_,
      MergedLinear::Load(context, {{absl::StrCat(name, ".wkv"), channels}, {absl::StrCat(name, ".wgate"), channels}},
                         {.in = context.config.hidden_size, .role = checkpoint::TensorRole::kPlainMatrix}));
  HADAL_ASSIGN_OR_RETURN(
      block.position_bias_,
      context.loader.Take({absl::StrCat(name, ".ape"), {shape.ratio, channels}, checkpoint::TensorRole::kFloat32}));
  HADAL_ASSIGN_OR_RETURN(block.norm_, RmsNorm::Load(context, absl::StrCat(name, ".norm"), shape.width,
                                                    context.config.rms_norm_eps, NormProduct::kFloat32));
  block.rope_ = std::move(rope);
  return block;
}

absl::Status V4Compressor::Forward(const ForwardContext& context, const TensorView& x, const Target& target) const {
  const Arena::Scope scope(context.arena);
  const int64_t channels = Channels(shape_);
  HADAL_ASSIGN_OR_RETURN(const TensorView rows, context.arena.Take(DType::kF32, {x.size(0), 2 * channels}));
  HADAL_RETURN_IF_ERROR(value_gate_.Forward(context.backend, x, rows));
  // Before the new rows take the places of old ones that a group may still need.
  if (target.entries.count() > 0) HADAL_RETURN_IF_ERROR(MakeEntries(context, rows.SplitLast(channels), target));
  return context.backend.KvAppend(
      {.k = rows.SplitLast(channels), .k_cache = target.inputs, .slot_mapping = target.input_slots});
}

absl::Status V4Compressor::MakeEntries(const ForwardContext& context, const TensorView& rows,
                                       const Target& target) const {
  kernels::Backend& backend = context.backend;
  const Arena::Scope scope(context.arena);
  const int64_t entries = target.entries.count(), width = shape_.width, rotated = shape_.rotated;
  HADAL_ASSIGN_OR_RETURN(const TensorView pooled, context.arena.Take(DType::kF32, {entries, width}));
  HADAL_RETURN_IF_ERROR(backend.CompressPool({.rows = target.inputs,
                                              .step_rows = rows,
                                              .position_bias = position_bias_.view(),
                                              .sequences = target.entries.sequences,
                                              .entries = target.entries.numbers,
                                              .out = pooled,
                                              .batch = target.window,
                                              .block_tokens = target.entries.block_tokens,
                                              .overlap = shape_.overlapping}));
  HADAL_ASSIGN_OR_RETURN(const TensorView rounded, context.arena.Take(dtype_, {entries, width}));
  HADAL_RETURN_IF_ERROR(norm_.Forward(backend, pooled, rounded));
  const TensorView by_head = rounded.SplitLast(width);  // [entries, 1, width]
  return backend.RopeKvAppend(
      {.q_norm = {},
       .k_norm = {},
       .rope = rope_->Rotation(target.entries.positions, {}, by_head.Slice(2, width - rotated, rotated),
                               kernels::RopeLayout::kInterleaved),
       .append = {
           .k = by_head, .v = {}, .k_cache = target.cache, .v_cache = {}, .slot_mapping = target.entries.slots}});
}

}  // namespace hadal::models
