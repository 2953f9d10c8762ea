// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "models/blocks/context.h"
#include "models/blocks/step_upload.h"
#include "models/model.h"

namespace hadal::models {

// What a network works out once a step for all its layers, for example which sequences attend in which form. The
// network owns its planner and the blocks read from it what they need, so nothing of it is in StepBatch. One step at a
// time, on the thread of the network; arrays are reused from step to step.
class StepPlanner {
 public:
  virtual ~StepPlanner() = default;

  // Adds to the upload what the layers want on the device, before it is committed. `input` has passed StepChecker.
  virtual void Plan(const StepInput& input, StepUpload& upload) = 0;

  // Once the upload is placed: takes the views of what Plan has added. They stay valid until the next Plan. `batch`
  // holds the arrays of the same step.
  virtual void Bind(const StepUpload& upload, const StepBatch& batch) = 0;

  // After Bind: appends the batches that the attention ops PagedAttention and MlaAttention will be given, so that a
  // backend can prepare for them (Backend::BeginStep).
  virtual void AddBatches(std::vector<kernels::RaggedBatch>&) const {}
  // Likewise those that MlaPrefill will be given.
  virtual void AddExpandedBatches(std::vector<kernels::RaggedBatch>&) const {}

  // Whether the ops of a step in which every sequence has one new token depend on their number alone, not on lengths,
  // so that a backend may replay those of another such step (Backend::Replay).
  virtual bool Replayable() const { return false; }

  // Instead of Plan and Bind, to bound the workspace on a backend without memory: takes on, one after another, the
  // plans of the steps that need the most of the arena among all of batch.tokens() tokens, and calls `run` under each.
  // Every other step of as many or fewer tokens needs no more than one of them. `batch` is one sequence whose arrays
  // have no memory.
  virtual absl::Status VisitWorstSteps(const StepBatch& batch, absl::FunctionRef<absl::Status()> run) = 0;
};

}  // namespace hadal::models
