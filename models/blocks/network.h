// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/step_planner.h"
#include "models/model.h"

namespace hadal::models {

// A family's forward pass, as the model runner sees it: weights, caches and the order of the blocks. Used by one thread
// at a time; the backend must outlive it.
class Network {
 public:
  virtual ~Network() = default;

  virtual const KvLayout& kv_layout() const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t hidden_size() const = 0;

  // Called once, before the first Forward.
  virtual absl::Status AllocateKvCache(const KvCacheSize& size) = 0;

  // What the layers share in a step; null when StepBatch is all they need. Planned and bound before each Forward.
  virtual StepPlanner* step_planner() { return nullptr; }

  // Runs all layers. The result [tokens, hidden], before the final norm, lies in the caller's arena scope.
  virtual absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) = 0;

  // Final norm and output matrix for chosen rows of Forward's result. hidden [rows, hidden] is overwritten; logits f32
  // [rows, vocab].
  virtual absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                            const kernels::TensorView& logits) = 0;
};

}  // namespace hadal::models
