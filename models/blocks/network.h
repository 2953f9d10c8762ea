// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/step_planner.h"
#include "models/model.h"

namespace hadal::models {

// How a network that holds a range of a model's layers is joined to the others.
struct PartEdges {
  bool takes_state = false;  // there are layers before: Forward begins with ForwardContext::state
  bool gives_state = false;  // there are layers after: Forward ends with the state, and there is no Head
  int64_t state_width = 0;   // values of a token's state, all its residual streams
  kernels::DType state_dtype = kernels::DType::kBF16;

  bool whole() const { return !takes_state && !gives_state; }
  // Of the state of one token; 0 where no state passes.
  int64_t state_bytes() const { return whole() ? 0 : state_width * kernels::DTypeBytes(state_dtype); }
};

// A family's forward pass, as the model runner sees it: weights, caches and the order of the blocks. Used by one thread
// at a time; the backend must outlive it.
class Network {
 public:
  virtual ~Network() = default;

  virtual const KvLayout& kv_layout() const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t hidden_size() const = 0;
  virtual PartEdges edges() const { return {}; }

  // Called once, before the first Forward.
  virtual absl::Status AllocateKvCache(const KvCacheSize& size) = 0;

  // What the layers share in a step; null when StepBatch is all they need. Planned and bound before each Forward.
  virtual StepPlanner* step_planner() { return nullptr; }

  // Runs all layers. The result lies in the caller's arena scope or in ForwardContext::state: [tokens, hidden] before
  // the final norm, or the state [tokens, state_width] for the layers that follow.
  virtual absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) = 0;

  // Final norm and output matrix for chosen rows of Forward's result. hidden [rows, hidden] is overwritten; logits f32
  // [rows, vocab].
  virtual absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                            const kernels::TensorView& logits) = 0;
};

}  // namespace hadal::models
