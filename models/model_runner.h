// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "kernels/backend.h"
#include "models/model.h"
#include "models/step_check.h"
#include "models/step_executor.h"

namespace hadal::models {

// A loaded model: checks each step, then lets a thread of its own run it, so that Launch returns at once and the engine
// plans while the device computes. Launch, Wait and AllocateKvCache are for one thread, as Model says. The destructor
// waits for a step in flight. Owns the backend and the network.
class ModelRunner : public Model {
 public:
  ModelRunner(ModelInfo info, std::unique_ptr<kernels::Backend> backend, std::unique_ptr<Network> network,
              StepBudget budget);
  ~ModelRunner() override;

  const ModelInfo& info() const override { return info_; }
  const KvLayout& kv_layout() const override { return kv_layout_; }
  DeviceCounters device_counters() const override;
  int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const override;

  // Also reserves the workspace of the largest step.
  absl::Status AllocateKvCache(const KvCacheSize& size) override;

  // InvalidArgument also for more tokens or sequences than the model was loaded for; FailedPrecondition before the
  // caches are allocated or while a step is in flight.
  absl::StatusOr<StepHandle> Launch(StepInput input) override;

  // `check` runs after each step, on the runner's thread; its error is the step's. Before the first Launch.
  void CheckAfterSteps(std::function<absl::Status()> check) { check_ = std::move(check); }

  // FailedPrecondition for a handle that is not in flight. After a failure of the device the model may be used again;
  // the contents of the cache slots that the failed step wrote are unknown.
  absl::StatusOr<StepOutput> Wait(StepHandle handle) override;

  kernels::Backend& backend() { return *backend_; }

 private:
  enum class State { kIdle, kQueued, kDone, kStopping };

  void RunSteps();
  absl::StatusOr<StepOutput> RunStep(const StepInput& input);
  absl::StatusOr<StepOutput> Compute(const StepInput& input);

  const ModelInfo info_;
  std::unique_ptr<kernels::Backend> backend_;  // outlives the executor and its buffers
  StepBudget budget_;
  StepExecutor executor_;
  const KvLayout kv_layout_;
  const int64_t hidden_size_;
  std::optional<StepChecker> checker_;   // set by AllocateKvCache
  std::function<absl::Status()> check_;  // may be empty

  base::Mutex mutex_;
  base::CondVar changed_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kIdle;
  std::optional<absl::StatusOr<StepOutput>> output_ ABSL_GUARDED_BY(mutex_);
  StepInput input_;        // the worker's while kQueued
  uint64_t launched_ = 0;  // the engine thread's
  std::thread worker_;
};

}  // namespace hadal::models
