// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "models/model.h"
#include "models/model_part.h"

namespace hadal::models {

// A loaded model: checks each step, then lets a thread of its own issue it, so that Launch returns at once and the
// engine plans while the device computes. A step that was launched behind another one is issued while that one runs: on
// a device the tokens that it is fed never leave it. Launch, Wait and AllocateKvCache are for one thread, as Model
// says. The destructor waits for the steps in flight. The layers may be here, or the first of them, with a rest
// elsewhere that each step is handed on to: then steps may overlap, one in each part, and none is fed. Without that a
// step begins when the samples of the one before are here.
class ModelRunner : public Model {
 public:
  // `part` has the first layer; `rest` has the layers after it, and is null when there are none. `overlapped_steps`: of
  // a model with a rest; 1: none.
  ModelRunner(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest, int overlapped_steps);
  ~ModelRunner() override;

  const ModelInfo& info() const override { return part_->info(); }
  const KvLayout& kv_layout() const override { return part_->kv_layout(); }
  DeviceCounters device_counters() const override { return part_->device_counters(); }
  int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const override {
    return part_->WorkspaceBytes(max_tokens, max_sequences);
  }
  absl::StatusOr<KvCacheSize> FitKvCache(const KvCacheSize& wanted) override;
  absl::Status AllocateKvCache(const KvCacheSize& size) override;

  void BeginWarmUp() override { part_->BeginWarmUp(); }
  void EndWarmUp() override { part_->EndWarmUp(); }

  int overlapped_steps() const override { return overlapped_steps_; }
  int max_steps_in_flight() const override { return std::max(ModelPart::kMostIssued, overlapped_steps_); }

  // InvalidArgument also for more tokens or sequences than the model was loaded for; FailedPrecondition before the
  // caches are allocated or while too many steps are in flight.
  absl::StatusOr<StepHandle> Launch(StepInput input) override;

  // FailedPrecondition for another handle than the oldest in flight. A step that was to be fed by one that failed
  // fails, too. After a failure of the device the model may be used again; the contents of the cache slots that the
  // failed step wrote are unknown.
  absl::StatusOr<StepOutput> Wait(StepHandle handle) override;

 private:
  // A step from Launch to Wait.
  struct Step {
    StepInput input;
    bool begun = false;                                            // and then one of these:
    absl::StatusOr<std::unique_ptr<IssuedStep>> issued = nullptr;  // null: the others say all
    bool sent = false;                                             // the rest gives the samples
    absl::StatusOr<StepOutput> output = StepOutput();
  };

  Step* FirstToBegin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginSteps();
  // Of the first step to begin: fills its issued or its output.
  void Begin(Step& step);
  // Through the part, and on to the rest.
  absl::Status Send(const StepInput& input);
  // Sets the tokens that the step before has sampled.
  void Feed(StepInput& input) const;

  const std::unique_ptr<ModelPart> part_;
  const std::unique_ptr<ModelRest> rest_;  // null: the part has all layers
  const int overlapped_steps_;
  base::Mutex mutex_;
  base::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Step> steps_ ABSL_GUARDED_BY(mutex_);  // in flight; the first that has not begun is the worker's
  // The engine thread's.
  uint64_t launched_ = 0, waited_ = 0;
  int32_t last_samples_ = 0;  // of the step launched last
  bool last_failed_ = false;  // the step waited for last
  // The worker's: whether the last step failed, and what it sampled where that is known here.
  bool last_begin_failed_ = false;
  std::vector<int32_t> sampled_;
  std::vector<std::byte> state_;  // what the part gave last; reused
  std::thread worker_;
};

}  // namespace hadal::models
