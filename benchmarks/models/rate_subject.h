// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/model.h"

namespace hadal::models {

using RateClock = std::chrono::steady_clock;
inline double Seconds(RateClock::time_point begin) {
  return std::chrono::duration<double>(RateClock::now() - begin).count();
}

// What decode steps took, seconds: from the results of a step to those of the next, and the call that issues one.
struct StepTimes {
  std::vector<double> gaps_s, launches_s;
};

// A model, and the steps of equal sequences that are measured on it: made-up tokens, greedy. Thread-compatible.
class RateSubject {
 public:
  static constexpr int32_t kBlockTokens = 64;
  static constexpr int kSettlingSteps = 4;  // a step is recorded the second time, and replayed from the third on

  // With caches for `sequences` of `tokens` each, and for one of `longest`.
  static absl::StatusOr<RateSubject> Create(std::unique_ptr<Model> model, int32_t sequences, int32_t tokens,
                                            int32_t longest);

  Model& model() { return *model_; }
  const KvCacheSize& cache() const { return cache_; }
  int32_t ColumnsOf(int32_t tokens) const { return (tokens + cache_.block_tokens - 1) / cache_.block_tokens; }

  // A step of `sequences` from number `first` on that each add `tokens` after `cached` others, with as many `columns`
  // of blocks. `fed`: the tokens are what the step before samples.
  StepInput Build(int32_t first, int32_t sequences, int32_t cached, int32_t tokens, int32_t columns, bool fed) const;
  // Issues it and waits for its tokens. Internal: logits held NaN.
  absl::Status Run(StepInput input);
  // Writes `tokens` of each sequence to the caches, at most `most` in a step.
  absl::Status Fill(int32_t sequences, int32_t tokens, int32_t columns, int32_t most);
  // Steps that are launched behind one another, as the engine does it; seconds of those after the settling ones, which
  // `times` gets one by one.
  absl::StatusOr<double> Decode(int32_t sequences, int32_t cached, int32_t steps, int32_t columns, StepTimes* times);
  // One prompt in one step, until its token is on the host: seconds of each of `rounds`, after one that does not count.
  absl::StatusOr<std::vector<double>> Prefill(int32_t tokens, int rounds);

 private:
  RateSubject(std::unique_ptr<Model> model, KvCacheSize cache) : model_(std::move(model)), cache_(cache) {}
  absl::Status Wait(StepHandle handle);

  std::unique_ptr<Model> model_;
  KvCacheSize cache_;
};

}  // namespace hadal::models
