// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "models/model_part.h"
#include "models/step_check.h"
#include "models/step_executor.h"

namespace hadal::models {

// A part of a model, all of it or a range of its layers, as a loaded network on a backend. Owns both.
class NetworkPart : public ModelPart {
 public:
  NetworkPart(ModelInfo info, LayerRange layers, std::unique_ptr<kernels::Backend> backend,
              std::unique_ptr<Network> network, StepBudget budget);

  const ModelInfo& info() const override { return info_; }
  const LayerRange& layers() const override { return layers_; }
  const KvLayout& kv_layout() const override { return kv_layout_; }
  DeviceCounters device_counters() const override;
  int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const override;
  // Also reserves the workspace of the largest step.
  absl::Status AllocateKvCache(const KvCacheSize& size) override;
  void BeginWarmUp() override { backend_->BeginWarmUp(); }
  void EndWarmUp() override { backend_->EndWarmUp(); }
  int64_t state_bytes() const override { return edges_.state_bytes(); }
  bool takes_state() const override { return edges_.takes_state; }
  bool gives_state() const override { return edges_.gives_state; }
  // InvalidArgument also for more tokens or sequences than the part was loaded for.
  absl::Status Check(const StepInput& input, int32_t fed_samples) override;
  // After a failure of the device the part may be used again; the contents of the cache slots that the failed step
  // wrote are unknown.
  absl::StatusOr<StepOutput> Run(const StepInput& input, absl::Span<const std::byte> state,
                                 std::vector<std::byte>* next_state) override;

  absl::StatusOr<std::unique_ptr<IssuedStep>> Issue(const StepInput& input) override;

  // `check` runs after each step, where it is waited for; its error is the step's. Before the first step.
  void CheckAfterSteps(std::function<absl::Status()> check) { check_ = std::move(check); }

 private:
  class Pending;

  absl::StatusOr<StepOutput> Finish(const StepExecutor::Issued& issued, absl::Span<const SampleRow> samples);

  const ModelInfo info_;
  const LayerRange layers_;
  std::unique_ptr<kernels::Backend> backend_;  // outlives the executor and its buffers
  StepBudget budget_;
  StepExecutor executor_;
  const KvLayout kv_layout_;
  const PartEdges edges_;
  std::optional<StepChecker> checker_;   // set by AllocateKvCache
  std::function<absl::Status()> check_;  // may be empty
};

}  // namespace hadal::models
