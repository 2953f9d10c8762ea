// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace hadal::admission {

// What a step of the engine shows about how well leases fit.
struct LeaseFit {
  int64_t tokens = 0;             // rows of the step
  int64_t recomputed_tokens = 0;  // of them, recomputed after a preemption
  int64_t used_blocks = 0;        // held by sequences
};

// How well the leases of a pool fitted over one period after the other, for those that control them.
class LeasePeriod {
 public:
  static constexpr absl::Duration kLength = absl::Seconds(5);

  struct Outcome {
    double recomputed = 0;  // share of the tokens
    double idle = 0;        // share of the blocks
    bool refused = false;   // somebody, for lack of memory
  };

  explicit LeasePeriod(int64_t pool_blocks) : pool_blocks_(pool_blocks) {}

  // After each step; one thread. The outcome of the period that ends with it, if one does.
  std::optional<Outcome> Record(const LeaseFit& fit, absl::Time now);
  // Somebody was refused for lack of memory. Any thread.
  void CountRefusal() { refusals_.fetch_add(1, std::memory_order_relaxed); }

 private:
  void Begin(absl::Time now);

  std::atomic<int64_t> refusals_{0};
  const int64_t pool_blocks_;
  absl::Time ends_at_ = absl::InfinitePast();
  int64_t steps_ = 0, tokens_ = 0, recomputed_ = 0, used_blocks_ = 0;
};

}  // namespace hadal::admission
