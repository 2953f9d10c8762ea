// SPDX-License-Identifier: Apache-2.0
#include "models/network_part.h"

#include <exception>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

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

absl::StatusOr<StepOutput> NetworkPart::Compute(const StepInput& input, absl::Span<const std::byte> state,
                                                std::vector<std::byte>* next_state) {
  // A step that ends early leaves work queued and its failure with the backend: neither may reach the next step.
  bool done = false;
  const absl::Cleanup drain = [&] {
    if (!done) backend_->Synchronize().IgnoreError();
  };
  absl::StatusOr<StepOutput> output = executor_.Run(input, state, next_state);
  done = output.ok();
  return output;
}

absl::StatusOr<StepOutput> NetworkPart::Run(const StepInput& input, absl::Span<const std::byte> state,
                                            std::vector<std::byte>* next_state) {
  const size_t expected = edges_.takes_state ? static_cast<size_t>(input.tokens() * edges_.state_bytes()) : 0;
  if (state.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("state of ", state.size(), " bytes, expected ", expected, " for ",
                                                   input.tokens(), " tokens before layer ", layers_.begin));
  }
  try {
    absl::StatusOr<StepOutput> output = Compute(input, state, next_state);
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
