// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/backend.h"
#include "kernels/ops/ragged_batch.h"
#include "models/blocks/arena.h"
#include "models/checkpoint/parameter_loader.h"
#include "models/config/config.h"

namespace hadal::models {

// What a block needs to take its parameters, each declared by shape and role. Borrowed for the duration of a Load call,
// except the backend, which outlives every block.
struct LoadContext {
  const config::ModelConfig& config;
  checkpoint::ParameterLoader& loader;
  kernels::Backend& backend;

  kernels::DType dtype() const { return loader.compute_dtype(); }
};

// How the new tokens of some neighbouring sequences attend in a latent-attention layer. Decided once a step, for all
// layers (mla_plan.h).
struct MlaRun {
  int32_t token_begin = 0;  // rows of the step
  int32_t token_count = 0;
  bool expanded = false;         // keys and values expanded for every head; else the absorbed form
  bool sparse = false;           // absorbed, over the positions that the layer's indexer lists
  bool cached_prefix = false;    // expanded: some sequence has older tokens, so latents come from the cache
  int64_t kv_tokens = 0;         // expanded: sum of the contexts
  kernels::RaggedBatch ragged;   // rows from 0
  kernels::TensorView kv_start;  // expanded: i32 [sequences + 1]
};

// The device arrays of a step. Views stay valid until the step is done.
struct StepBatch {
  kernels::TensorView token_ids;     // i32 [tokens]
  kernels::TensorView positions;     // i32 [tokens]
  kernels::TensorView slot_mapping;  // i64 [tokens]
  kernels::RaggedBatch ragged;
  kernels::TensorView window_slot_mapping;  // i64 [tokens]; with windowed caches only, as the next
  kernels::RaggedBatch window_ragged;       // as ragged, with the window block tables
  absl::Span<const MlaRun> mla_runs;        // latent attention only; together they cover all tokens in order

  int64_t tokens() const { return token_ids.size(0); }
};

// What a block needs to run.
struct ForwardContext {
  kernels::Backend& backend;
  Arena& arena;
  const StepBatch& batch;
};

}  // namespace hadal::models
