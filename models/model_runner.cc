// SPDX-License-Identifier: Apache-2.0
#include "models/model_runner.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"
#include "models/step_check.h"

namespace hadal::models {
namespace {

absl::Status FedByFailure() {
  return absl::InternalError("the step before, which samples a token of this one, has failed");
}

}  // namespace

ModelRunner::ModelRunner(std::unique_ptr<ModelPart> part, std::unique_ptr<ModelRest> rest, int overlapped_steps)
    : part_(std::move(part)),
      rest_(std::move(rest)),
      overlapped_steps_(rest_ == nullptr ? 1 : overlapped_steps),
      worker_([this] { BeginSteps(); }) {}

ModelRunner::~ModelRunner() {
  {
    base::MutexLock lock(&mutex_);
    while (FirstToBegin() != nullptr) changed_.Wait(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  worker_.join();
  base::MutexLock lock(&mutex_);
  for (Step& step : steps_) {
    if (step.issued.ok() && *step.issued != nullptr) (*step.issued)->Wait().IgnoreError();
  }
}

absl::StatusOr<KvCacheSize> ModelRunner::FitKvCache(const KvCacheSize& wanted) {
  if (rest_ == nullptr) return wanted;
  return rest_->FitKvCache(wanted);
}

absl::Status ModelRunner::AllocateKvCache(const KvCacheSize& size) {
  HADAL_RETURN_IF_ERROR(part_->AllocateKvCache(size));
  return rest_ == nullptr ? absl::OkStatus() : rest_->AllocateKvCache(size);
}

absl::StatusOr<StepHandle> ModelRunner::Launch(StepInput input) {
  const auto in_flight = static_cast<int>(launched_ - waited_);
  if (in_flight == max_steps_in_flight()) {
    return absl::FailedPreconditionError(
        absl::StrCat(in_flight, " steps are in flight, limit ", in_flight, ": wait for step ", waited_ + 1));
  }
  const bool may_be_fed = in_flight > 0 && overlapped_steps_ == 1;
  HADAL_RETURN_IF_ERROR(part_->Check(input, may_be_fed ? last_samples_ : 0));
  last_samples_ = static_cast<int32_t>(input.samples.size());
  {
    base::MutexLock lock(&mutex_);
    steps_.push_back({.input = std::move(input)});
  }
  changed_.NotifyAll();
  return StepHandle{++launched_};
}

absl::StatusOr<StepOutput> ModelRunner::Wait(StepHandle handle) {
  if (handle.id != waited_ + 1 || handle.id > launched_) {
    return absl::FailedPreconditionError(absl::StrCat("step ", handle.id, " is not the oldest in flight"));
  }
  Step* step = nullptr;
  {
    base::MutexLock lock(&mutex_);
    while (!steps_.front().begun) changed_.Wait(&mutex_);
    step = &steps_.front();  // it stays where it is while others are put behind it
  }
  absl::StatusOr<StepOutput> output = step->issued.ok() ? std::move(step->output) : step->issued.status();
  if (step->issued.ok() && *step->issued != nullptr) output = (*step->issued)->Wait();
  if (step->sent) output = rest_->Receive();
  if (output.ok() && last_failed_ && IsFed(step->input)) output = FedByFailure();
  ++waited_;
  last_failed_ = !output.ok();
  base::MutexLock lock(&mutex_);
  steps_.pop_front();
  return output;
}

void ModelRunner::Feed(StepInput& input) const {
  for (int32_t& token : input.token_ids) {
    // A faulty row has none; its sequence ends, and nobody looks at what follows.
    if (IsFedToken(token)) token = std::max(0, sampled_[FedSample(token)]);
  }
}

ModelRunner::Step* ModelRunner::FirstToBegin() {
  const auto first = std::find_if(steps_.begin(), steps_.end(), [](const Step& step) { return !step.begun; });
  return first == steps_.end() ? nullptr : &*first;
}

void ModelRunner::Begin(Step& step) {
  if (last_begin_failed_ && IsFed(step.input)) {
    step.output = FedByFailure();
  } else if (rest_ == nullptr) {
    step.issued = part_->Issue(step.input);
  } else {
    if (overlapped_steps_ == 1) Feed(step.input);
    const absl::Status sent = Send(step.input);
    if (!sent.ok()) {
      step.output = sent;
    } else if (overlapped_steps_ > 1) {
      step.sent = true;
    } else {
      step.output = rest_->Receive();
    }
    sampled_.clear();
    if (step.output.ok()) {
      for (const SampleResult& sample : step.output->samples) sampled_.push_back(sample.token_id);
    }
  }
  last_begin_failed_ = !step.issued.ok() || !step.output.ok();
}

absl::Status ModelRunner::Send(const StepInput& input) {
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<StepOutput> output = part_->Run(input, {}, &state_);
  if (!output.ok()) return output.status();
  return rest_->Send(input, state_, std::chrono::steady_clock::now() - begin);
}

void ModelRunner::BeginSteps() {
  while (true) {
    Step* step = nullptr;
    {
      base::MutexLock lock(&mutex_);
      while ((step = FirstToBegin()) == nullptr && !stopping_) changed_.Wait(&mutex_);
      if (step == nullptr) return;
    }
    Begin(*step);
    base::MutexLock lock(&mutex_);
    step->begun = true;
    changed_.NotifyAll();
  }
}

}  // namespace hadal::models
