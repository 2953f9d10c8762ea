// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"
#include "models/blocks/step_upload.h"
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

  // Adds what the family wants on the device for this step, before the upload is committed.
  virtual void PlanStep(const StepInput& input, StepUpload& upload) = 0;
  // Puts the views of what PlanStep added into the batch.
  virtual void BindStep(const StepUpload& upload, StepBatch& batch) = 0;

  // Calls `visit` with the steps that take the most of the arena, among all steps of batch.tokens() tokens: completes
  // `batch`, one sequence whose arrays have no memory, as BindStep does. Every other step of as many or fewer tokens
  // takes no more than one of them. Instead of PlanStep and BindStep, on a backend without memory.
  virtual absl::Status VisitWorstSteps(const StepBatch& batch,
                                       absl::FunctionRef<absl::Status(const StepBatch&)> visit) {
    return visit(batch);
  }

  // Runs all layers. The result [tokens, hidden], before the final norm, lies in the caller's arena scope. Takes at
  // most the bytes that one of the worst steps takes.
  virtual absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) = 0;

  // Final norm and output matrix for chosen rows of Forward's result. hidden [rows, hidden] is overwritten; logits f32
  // [rows, vocab].
  virtual absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                            const kernels::TensorView& logits) = 0;
};

}  // namespace hadal::models
