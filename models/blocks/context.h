// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/backend.h"
#include "kernels/ops/ragged_batch.h"
#include "models/blocks/arena.h"
#include "models/checkpoint/parameter_loader.h"
#include "models/config/config.h"
#include "models/layer_range.h"

namespace hadal::models {

// What a block needs to take its parameters, each declared by shape and role. Borrowed for the duration of a Load call,
// except the backend, which outlives every block.
struct LoadContext {
  const config::ModelConfig& config;
  checkpoint::ParameterLoader& loader;
  kernels::Backend& backend;
  std::optional<LayerRange> part = std::nullopt;  // the layers that are taken; absent: all

  kernels::DType dtype() const { return loader.compute_dtype(); }
  LayerRange layers() const { return part.value_or(LayerRange{0, config.layers}); }
  bool first() const { return layers().begin == 0; }
  bool last() const { return layers().end == config.layers; }
};

// The device arrays of a step that every network reads. What a network needs besides is its StepPlanner's. Views stay
// valid until the step is done.
struct StepBatch {
  kernels::TensorView token_ids;     // i32 [tokens]
  kernels::TensorView positions;     // i32 [tokens]
  kernels::TensorView slot_mapping;  // i64 [tokens]
  kernels::RaggedBatch ragged;

  int64_t tokens() const { return token_ids.size(0); }
};

// What a block needs to run.
struct ForwardContext {
  kernels::Backend& backend;
  Arena& arena;
  const StepBatch& batch;
  // What the layers before have made of the step's tokens, PartEdges::state_width values each, contiguous; overwritten.
  // Absent where there are none.
  kernels::TensorView state = {};
};

}  // namespace hadal::models
