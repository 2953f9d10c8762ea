// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/model.h"
#include "models/step_check.h"

namespace hadal::models {

// A model without weights and without arithmetic: the next token is a hash of the row's input token and position. It
// obeys the whole Model contract, so the engine, its benchmarks and load tests run on it exactly as on a real model.
// The "distribution" of a row is a ladder of halves: the hashed token has probability 1/2, the following id 1/4, and so
// on, wrapping at the vocabulary. Sampling takes the first rung that is not forbidden; temperature, penalties and bias
// are accepted and change nothing. Thread-compatible: one engine thread, as Model says.
class NullModel : public Model {
 public:
  struct Options {
    std::string name = "null";
    int32_t vocab_size = 32000;      // 2 and more
    int32_t max_model_len = 131072;  // tokens
    int64_t bytes_per_token = 1024;  // what KvLayout claims; nothing is allocated for it
    int32_t window_tokens = 0;       // > 0: it also claims a windowed cache of as many bytes a token
    int64_t workspace_bytes_per_token = 0;
    std::chrono::microseconds step_latency{0};  // a step takes that long from Launch, or from the end of the one before
    std::chrono::nanoseconds latency_per_token{0};  // and that much more for each token row
    int32_t faulty_token = -1;                      // a row whose input token is this id comes back faulty; -1 is never
    int64_t fail_at_step = -1;                      // Wait of this step (from 0) returns Internal once; -1 is never
  };

  // InvalidArgument when an option is out of its range.
  static absl::StatusOr<std::unique_ptr<NullModel>> Create(Options options);

  const ModelInfo& info() const override { return info_; }
  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const override;
  absl::Status AllocateKvCache(const KvCacheSize& size) override;
  int max_steps_in_flight() const override { return kMaxInFlight; }
  absl::StatusOr<StepHandle> Launch(StepInput input) override;
  absl::StatusOr<StepOutput> Wait(StepHandle handle) override;

  // The token that follows `token` at `position` when nothing is forbidden. Tests use it to predict an answer.
  int32_t NextToken(int32_t token, int32_t position) const;

 private:
  static constexpr size_t kMaxInFlight = 2;
  struct InFlight {
    StepInput input;
    std::chrono::steady_clock::time_point done_at;
  };

  explicit NullModel(Options options);
  SampleResult Sample(const StepInput& input, const SampleRow& row) const;

  Options options_;
  ModelInfo info_;
  KvLayout kv_layout_;
  std::optional<StepChecker> checker_;  // set by AllocateKvCache
  uint64_t launched_ = 0;
  std::deque<InFlight> in_flight_;  // the oldest first
  std::vector<int32_t> sampled_;    // by the step that was waited for last
};

}  // namespace hadal::models
