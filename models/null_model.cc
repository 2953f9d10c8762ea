// SPDX-License-Identifier: Apache-2.0
#include "models/null_model.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hadal::models {
namespace {

constexpr float kLogHalf = -0.69314718f;

// Finaliser of SplitMix64: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NullModel>> NullModel::Create(Options options) {
  if (options.vocab_size < 2) {
    return absl::InvalidArgumentError(absl::StrCat("null model: vocab_size is ", options.vocab_size, ", minimum 2"));
  }
  if (options.max_model_len < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("null model: max_model_len is ", options.max_model_len, ", minimum 1"));
  }
  if (options.bytes_per_token < 1 || options.workspace_bytes_per_token < 0 || options.window_tokens < 0) {
    return absl::InvalidArgumentError(
        "null model: bytes_per_token must be positive, workspace bytes and window_tokens not negative");
  }
  return std::unique_ptr<NullModel>(new NullModel(std::move(options)));
}

NullModel::NullModel(Options options) : options_(std::move(options)) {
  info_.name = options_.name;
  info_.family = "null";
  info_.dtype = "none";
  info_.device = info_.device_text = "none";
  info_.fingerprint = "null";
  info_.vocab_size = options_.vocab_size;
  info_.max_model_len = options_.max_model_len;
  kv_layout_.caches.push_back({.name = "null", .layers = 1, .bytes_per_entry_layer = options_.bytes_per_token});
  if (options_.window_tokens == 0) return;
  kv_layout_.window_tokens = options_.window_tokens;
  kv_layout_.caches.push_back(
      {.name = "window", .layers = 1, .bytes_per_entry_layer = options_.bytes_per_token, .windowed = true});
}

int64_t NullModel::WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const {
  return options_.workspace_bytes_per_token * max_tokens;
}

absl::Status NullModel::AllocateKvCache(const KvCacheSize& size) {
  if (checker_.has_value()) return absl::FailedPreconditionError("null model: the KV cache is already allocated");
  if (absl::Status status = CheckCacheSize(kv_layout_, size); !status.ok()) return status;
  checker_.emplace(StepLimits{.vocab_size = options_.vocab_size,
                              .max_model_len = options_.max_model_len,
                              .num_blocks = size.blocks,
                              .block_tokens = size.block_tokens,
                              .window_tokens = options_.window_tokens,
                              .window_blocks = size.window_blocks});
  return absl::OkStatus();
}

absl::StatusOr<StepHandle> NullModel::Launch(StepInput input) {
  if (!checker_.has_value()) return absl::FailedPreconditionError("null model: Launch before AllocateKvCache");
  if (in_flight_.size() == kMaxInFlight) {
    return absl::FailedPreconditionError(absl::StrCat("null model: step ", launched_, " is in flight"));
  }
  const size_t fed_samples = in_flight_.empty() ? 0 : in_flight_.back().input.samples.size();
  if (absl::Status status = checker_->Check(input, static_cast<int32_t>(fed_samples)); !status.ok()) return status;
  InFlight step;
  const std::chrono::nanoseconds latency = options_.step_latency + options_.latency_per_token * input.tokens();
  if (latency.count() > 0) {
    step.done_at = std::chrono::steady_clock::now();
    if (!in_flight_.empty()) step.done_at = std::max(step.done_at, in_flight_.back().done_at);
    step.done_at += latency;
  }
  step.input = std::move(input);
  in_flight_.push_back(std::move(step));
  return StepHandle{++launched_};
}

absl::StatusOr<StepOutput> NullModel::Wait(StepHandle handle) {
  if (in_flight_.empty() || handle.id != launched_ + 1 - in_flight_.size()) {
    return absl::FailedPreconditionError(absl::StrCat("null model: step ", handle.id, " is not the oldest in flight"));
  }
  InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (options_.step_latency.count() > 0 || options_.latency_per_token.count() > 0)
    std::this_thread::sleep_until(step.done_at);
  if (options_.fail_at_step >= 0 && handle.id == static_cast<uint64_t>(options_.fail_at_step) + 1) {
    sampled_.clear();
    return absl::InternalError(absl::StrCat("null model: step ", options_.fail_at_step, " was told to fail"));
  }
  for (int32_t& token : step.input.token_ids) {
    if (!IsFedToken(token)) continue;
    if (sampled_.empty()) return absl::InternalError("null model: the step before has failed");
    token = std::max(0, sampled_[FedSample(token)]);
  }
  StepOutput output;
  output.samples.reserve(step.input.samples.size());
  sampled_.clear();
  for (const SampleRow& row : step.input.samples) {
    output.samples.push_back(Sample(step.input, row));
    sampled_.push_back(output.samples.back().token_id);
  }
  return output;
}

int32_t NullModel::NextToken(int32_t token, int32_t position) const {
  const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(token)) << 32) | static_cast<uint32_t>(position);
  return static_cast<int32_t>(Mix(key) % static_cast<uint64_t>(options_.vocab_size));
}

SampleResult NullModel::Sample(const StepInput& input, const SampleRow& row) const {
  SampleResult result;
  const int32_t token = input.token_ids[row.token_index];
  if (token == options_.faulty_token) {
    result.faulty = true;
    return result;
  }
  const int32_t vocab = options_.vocab_size;
  const int32_t best = NextToken(token, input.positions[row.token_index]);
  const auto at_rung = [&](int32_t rung) { return static_cast<int32_t>((int64_t{best} + rung) % vocab); };
  int32_t rung = 0;
  if (row.target_token >= 0) {
    rung = (row.target_token - best + vocab) % vocab;
  } else {
    const auto forbidden = [&](int32_t id) {
      if (row.allowed_tokens != nullptr && ((*row.allowed_tokens)[id / 32] >> (id % 32) & 1u) == 0) return true;
      return std::find(row.forbidden_tokens.begin(), row.forbidden_tokens.end(), id) != row.forbidden_tokens.end();
    };
    while (rung < vocab && forbidden(at_rung(rung))) ++rung;
    if (rung == vocab) {
      result.faulty = true;  // nothing is left to sample
      return result;
    }
  }
  result.token_id = at_rung(rung);
  if (row.top_logprobs < 0) return result;
  result.logprob = kLogHalf * static_cast<float>(rung + 1);
  const int32_t count = std::min(row.top_logprobs, vocab);
  result.top.reserve(count);
  for (int32_t i = 0; i < count; ++i) result.top.push_back({at_rung(i), kLogHalf * static_cast<float>(i + 1)});
  return result;
}

}  // namespace hadal::models
