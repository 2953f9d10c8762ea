// SPDX-License-Identifier: Apache-2.0
#include "models/model_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

ModelRunner::ModelRunner(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest)
    : parts_(std::move(part), std::move(rest)), worker_([this] { RunSteps(); }) {}

ModelRunner::~ModelRunner() {
  {
    base::MutexLock lock(&mutex_);
    while (!queued_.empty()) changed_.Wait(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  worker_.join();
}

absl::StatusOr<StepHandle> ModelRunner::Launch(StepInput input) {
  const auto in_flight = static_cast<int>(launched_ - waited_);
  if (in_flight == kMaxInFlight) {
    return absl::FailedPreconditionError(
        absl::StrCat(in_flight, " steps are in flight, limit ", kMaxInFlight, ": wait for step ", waited_ + 1));
  }
  HADAL_RETURN_IF_ERROR(parts_.part().Check(input, in_flight > 0 ? last_samples_ : 0));
  last_samples_ = static_cast<int32_t>(input.samples.size());
  {
    base::MutexLock lock(&mutex_);
    queued_.push_back(std::move(input));
  }
  changed_.NotifyAll();
  return StepHandle{++launched_};
}

absl::StatusOr<StepOutput> ModelRunner::Wait(StepHandle handle) {
  if (handle.id != waited_ + 1 || handle.id > launched_) {
    return absl::FailedPreconditionError(absl::StrCat("step ", handle.id, " is not the oldest in flight"));
  }
  base::MutexLock lock(&mutex_);
  while (done_.empty()) changed_.Wait(&mutex_);
  ++waited_;
  const std::unique_ptr<absl::StatusOr<StepOutput>> output = std::move(done_.front());
  done_.pop_front();
  return std::move(*output);
}

absl::Status ModelRunner::Feed(StepInput& input) const {
  for (int32_t& token : input.token_ids) {
    if (!IsFedToken(token)) continue;
    if (sampled_.empty()) return absl::InternalError("the step before, which samples a token of this one, has failed");
    // A faulty row has none; its sequence ends, and nobody looks at what follows.
    token = std::max(0, sampled_[FedSample(token)]);
  }
  return absl::OkStatus();
}

void ModelRunner::RunSteps() {
  while (true) {
    StepInput* input = nullptr;
    {
      base::MutexLock lock(&mutex_);
      while (queued_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (queued_.empty()) return;
      input = &queued_.front();  // it stays where it is while others are put behind it
    }
    const absl::Status fed = Feed(*input);
    absl::StatusOr<StepOutput> output = fed.ok() ? parts_.Run(*input, {}) : fed;
    sampled_.clear();
    if (output.ok()) {
      for (const SampleResult& sample : output->samples) sampled_.push_back(sample.token_id);
    }
    base::MutexLock lock(&mutex_);
    queued_.pop_front();
    done_.push_back(std::make_unique<absl::StatusOr<StepOutput>>(std::move(output)));
    changed_.NotifyAll();
  }
}

}  // namespace hadal::models
