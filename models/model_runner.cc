// SPDX-License-Identifier: Apache-2.0
#include "models/model_runner.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

ModelRunner::ModelRunner(ModelInfo info, std::unique_ptr<kernels::Backend> backend, std::unique_ptr<Network> network,
                         StepBudget budget)
    : info_(std::move(info)),
      backend_(std::move(backend)),
      budget_(budget),
      executor_(backend_.get(), std::move(network), std::move(budget)),
      kv_layout_(executor_.network().kv_layout()),
      hidden_size_(executor_.network().hidden_size()),
      worker_([this] { RunSteps(); }) {}

ModelRunner::~ModelRunner() {
  {
    base::MutexLock lock(&mutex_);
    while (!queued_.empty()) changed_.Wait(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  worker_.join();
}

DeviceCounters ModelRunner::device_counters() const {
  return {.refused_products = backend_->Counters().refused_products};
}

int64_t ModelRunner::WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const {
  kernels::StepBounds bounds = budget_.bounds;
  bounds.tokens = max_tokens;
  bounds.sequences = max_sequences;
  return StepExecutor::WorkspaceBytes(budget_.network_workspace(max_tokens), hidden_size_, info_.vocab_size,
                                      info_.max_model_len, kv_layout_, max_tokens, max_sequences) +
         backend_->ScratchBytes(bounds);
}

absl::Status ModelRunner::AllocateKvCache(const KvCacheSize& size) {
  if (checker_.has_value()) return absl::FailedPreconditionError("the KV cache is already allocated");
  HADAL_RETURN_IF_ERROR(CheckCacheSize(kv_layout_, size));
  HADAL_RETURN_IF_ERROR(executor_.Prepare());
  HADAL_RETURN_IF_ERROR(executor_.network().AllocateKvCache(size));
  checker_.emplace(StepLimits{.vocab_size = info_.vocab_size,
                              .max_model_len = info_.max_model_len,
                              .num_blocks = size.blocks,
                              .block_tokens = size.block_tokens,
                              .window_tokens = kv_layout_.window_tokens,
                              .window_blocks = size.window_blocks,
                              .max_tokens = budget_.max_tokens,
                              .max_sequences = budget_.max_sequences});
  return absl::OkStatus();
}

absl::StatusOr<StepHandle> ModelRunner::Launch(StepInput input) {
  if (!checker_.has_value()) return absl::FailedPreconditionError("Launch before AllocateKvCache");
  const auto in_flight = static_cast<int>(launched_ - waited_);
  if (in_flight == kMaxInFlight) {
    return absl::FailedPreconditionError(
        absl::StrCat(in_flight, " steps are in flight, limit ", kMaxInFlight, ": wait for step ", waited_ + 1));
  }
  HADAL_RETURN_IF_ERROR(checker_->Check(input, in_flight > 0 ? last_samples_ : 0));
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
    absl::StatusOr<StepOutput> output = fed.ok() ? RunStep(*input) : fed;
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

absl::StatusOr<StepOutput> ModelRunner::Compute(const StepInput& input) {
  // A step that ends early leaves work queued and its failure with the backend: neither may reach the next step.
  bool done = false;
  const absl::Cleanup drain = [&] {
    if (!done) backend_->Synchronize().IgnoreError();
  };
  absl::StatusOr<StepOutput> output = executor_.Run(input);
  done = output.ok();
  return output;
}

absl::StatusOr<StepOutput> ModelRunner::RunStep(const StepInput& input) {
  try {
    absl::StatusOr<StepOutput> output = Compute(input);
    if (check_ != nullptr) HADAL_RETURN_IF_ERROR(check_());
    // The input was checked, so what a kernel refuses now is our own mistake, not the caller's.
    if (!output.ok() && absl::IsInvalidArgument(output.status())) {
      return absl::InternalError(absl::StrCat("step failed: ", output.status().message()));
    }
    return output;
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("step failed: ", error.what()));
  }
}

}  // namespace hadal::models
