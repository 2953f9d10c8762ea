// SPDX-License-Identifier: Apache-2.0
#include "models/network_part.h"

#include <exception>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

// A step that ends early leaves work queued and its failure with the backend: neither may reach the next step.
absl::StatusOr<StepExecutor::Issued> Guarded(kernels::Backend& backend,
                                             absl::FunctionRef<absl::StatusOr<StepExecutor::Issued>()> issue) {
  bool done = false;
  const absl::Cleanup drain = [&] {
    if (!done) backend.Synchronize().IgnoreError();
  };
  try {
    absl::StatusOr<StepExecutor::Issued> issued = issue();
    done = issued.ok();
    // The input was checked, so what a kernel refuses now is our own mistake, not the caller's.
    if (absl::IsInvalidArgument(issued.status())) {
      return absl::InternalError(absl::StrCat("step failed: ", issued.status().message()));
    }
    return issued;
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("step failed: ", error.what()));
  }
}

}  // namespace

NetworkPart::NetworkPart(ModelInfo info, LayerRange layers, std::unique_ptr<kernels::Backend> backend,
                         std::unique_ptr<Network> network, StepBudget budget)
    : info_(std::move(info)),
      layers_(layers),
      backend_(std::move(backend)),
      budget_(budget),
      executor_(backend_.get(), std::move(network), std::move(budget)),
      kv_layout_(executor_.network().kv_layout()),
      edges_(executor_.network().edges()) {}

DeviceCounters NetworkPart::device_counters() const {
  return {.refused_products = backend_->Counters().refused_products};
}

int64_t NetworkPart::WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const {
  kernels::StepBounds bounds = budget_.bounds;
  bounds.tokens = max_tokens;
  bounds.sequences = max_sequences;
  const Network& network = executor_.network();
  return StepExecutor::WorkspaceBytes(budget_.network_workspace(max_tokens), network.hidden_size(),
                                      StepExecutor::LogitWidth(network), info_.max_model_len, kv_layout_, max_tokens,
                                      max_sequences) +
         backend_->ScratchBytes(bounds);
}

absl::Status NetworkPart::AllocateKvCache(const KvCacheSize& size) {
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

absl::Status NetworkPart::Check(const StepInput& input, int32_t fed_samples) {
  if (!checker_.has_value()) return absl::FailedPreconditionError("a step before AllocateKvCache");
  return checker_->Check(input, fed_samples);
}

absl::StatusOr<StepOutput> NetworkPart::Run(const StepInput& input, absl::Span<const std::byte> state,
                                            std::vector<std::byte>* next_state) {
  const size_t expected = edges_.takes_state ? static_cast<size_t>(input.tokens() * edges_.state_bytes()) : 0;
  if (state.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("state of ", state.size(), " bytes, expected ", expected, " for ",
                                                   input.tokens(), " tokens before layer ", layers_.begin));
  }
  HADAL_ASSIGN_OR_RETURN(const StepExecutor::Issued issued,
                         Guarded(*backend_, [&] { return executor_.Issue(input, state, next_state); }));
  return Finish(issued, input.samples);
}

// A step of this part between Issue and Wait.
class NetworkPart::Pending final : public IssuedStep {
 public:
  Pending(NetworkPart* part, StepExecutor::Issued issued, absl::Span<const SampleRow> samples)
      : part_(part), issued_(issued), samples_(samples) {}

  absl::StatusOr<StepOutput> Wait() override { return part_->Finish(issued_, samples_); }

 private:
  NetworkPart* part_;
  StepExecutor::Issued issued_;
  absl::Span<const SampleRow> samples_;
};

absl::StatusOr<std::unique_ptr<IssuedStep>> NetworkPart::Issue(const StepInput& input) {
  HADAL_ASSIGN_OR_RETURN(const StepExecutor::Issued issued, Guarded(*backend_, [&] { return executor_.Issue(input); }));
  return std::make_unique<Pending>(this, issued, input.samples);
}

absl::StatusOr<StepOutput> NetworkPart::Finish(const StepExecutor::Issued& issued,
                                               absl::Span<const SampleRow> samples) {
  absl::StatusOr<StepOutput> output = executor_.Finish(issued, samples);
  if (check_ != nullptr) HADAL_RETURN_IF_ERROR(check_());
  return output;
}

}  // namespace hadal::models
