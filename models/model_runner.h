// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

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
// plans while the device computes. A step that was launched behind another one begins as soon as that one's samples are
// there, without the engine between them. Launch, Wait and AllocateKvCache are for one thread, as Model says. The
// destructor waits for the steps in flight. Owns the backend and the network.
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

  int max_steps_in_flight() const override { return kMaxInFlight; }

  // InvalidArgument also for more tokens or sequences than the model was loaded for; FailedPrecondition before the
  // caches are allocated or while too many steps are in flight.
  absl::StatusOr<StepHandle> Launch(StepInput input) override;

  // `check` runs after each step, on the runner's thread; its error is the step's. Before the first Launch.
  void CheckAfterSteps(std::function<absl::Status()> check) { check_ = std::move(check); }

  // FailedPrecondition for another handle than the oldest in flight. A step that was to be fed by one that failed
  // fails, too. After a failure of the device the model may be used again; the contents of the cache slots that the
  // failed step wrote are unknown.
  absl::StatusOr<StepOutput> Wait(StepHandle handle) override;

  kernels::Backend& backend() { return *backend_; }

 private:
  static constexpr int kMaxInFlight = 2;

  void RunSteps();
  // Sets the tokens that the step before has sampled.
  absl::Status Feed(StepInput& input) const;
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
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<StepInput> queued_ ABSL_GUARDED_BY(mutex_);  // the front, which is the worker's, runs
  std::deque<std::unique_ptr<absl::StatusOr<StepOutput>>> done_ ABSL_GUARDED_BY(mutex_);  // not waited for yet
  // The engine thread's.
  uint64_t launched_ = 0, waited_ = 0;
  int32_t last_samples_ = 0;  // of the step launched last
  // The worker's: what the last step sampled; empty when it failed.
  std::vector<int32_t> sampled_;
  std::thread worker_;
};

}  // namespace hadal::models
