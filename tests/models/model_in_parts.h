// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/sync.h"
#include "models/model_part.h"
#include "models/registry.h"

namespace hadal::models::testing {

// The parts of a model after the first one, in this process: a step is computed as it is handed on.
class LocalRest : public ModelRest {
 public:
  // `rest` is null exactly when `part` is the last one.
  LocalRest(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest)
      : part_(std::move(part)), rest_(std::move(rest)) {}

  absl::StatusOr<KvCacheSize> FitKvCache(const KvCacheSize& wanted) override {
    if (rest_ == nullptr) return wanted;
    return rest_->FitKvCache(wanted);
  }
  absl::Status AllocateKvCache(const KvCacheSize& size) override {
    if (absl::Status status = part_->AllocateKvCache(size); !status.ok() || rest_ == nullptr) return status;
    return rest_->AllocateKvCache(size);
  }
  absl::Status Send(const StepInput& input, absl::Span<const std::byte> state,
                    std::chrono::nanoseconds /*computed*/) override {
    absl::StatusOr<StepOutput> output = part_->Run(input, state, &state_);
    if (!output.ok()) return output.status();
    if (rest_ != nullptr) return rest_->Send(input, state_, {});
    base::MutexLock lock(&mutex_);
    outputs_.push_back(*std::move(output));
    return absl::OkStatus();
  }
  absl::StatusOr<StepOutput> Receive() override {
    if (rest_ != nullptr) return rest_->Receive();
    base::MutexLock lock(&mutex_);
    if (outputs_.empty()) return absl::FailedPreconditionError("no step was sent");
    StepOutput output = std::move(outputs_.front());
    outputs_.pop_front();
    return output;
  }

 private:
  const std::unique_ptr<ModelPart> part_;
  const std::unique_ptr<ModelRest> rest_;
  std::vector<std::byte> state_;  // what the part gave last; reused
  base::Mutex mutex_;
  std::deque<StepOutput> outputs_ ABSL_GUARDED_BY(mutex_);
};

// A model whose layers are divided among `parts` parts of this process, one handing each step on to the next.
inline absl::StatusOr<std::unique_ptr<Model>> LoadInParts(LoadOptions options, int parts, int overlapped_steps = 1) {
  const absl::StatusOr<std::vector<LayerRange>> ranges = DivideLayers(options, parts, {});
  if (!ranges.ok()) return ranges.status();
  std::unique_ptr<ModelRest> rest;
  for (int i = parts - 1; i > 0; --i) {
    options.layers = (*ranges)[i];
    absl::StatusOr<std::unique_ptr<ModelPart>> part = LoadPart(options);
    if (!part.ok()) return part.status();
    rest = std::make_unique<LocalRest>(*std::move(part), std::move(rest));
  }
  options.layers = ranges->front();
  absl::StatusOr<std::unique_ptr<ModelPart>> first = LoadPart(options);
  if (!first.ok()) return first.status();
  return MakeModel(*std::move(first), std::move(rest), overlapped_steps);
}

}  // namespace hadal::models::testing
