// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace hadal::admission {

// What a step of the engine shows about how well leases fit.
struct LeaseFit {
  int64_t tokens = 0;             // rows of the step
  int64_t recomputed_tokens = 0;  // of them, recomputed after a preemption
  int64_t used_blocks = 0;        // held by sequences
};

// Controls which quantile of the output lengths leases reserve: high enough that few sequences are preempted for
// memory, low enough that memory is not idle while requests are refused for lack of it. It decides once per period, so
// that it follows the traffic and not single requests. It rises while more than 1 % of the computed tokens are
// recomputed, and falls while more than 20 % of the blocks are idle and requests are refused for memory (queued
// requests already have their leases, so only refusals show demand for smaller ones). Rises are larger than falls,
// because recomputation costs everyone while an idle block costs only the refused request.
class QuantileController {
 public:
  static constexpr double kLowest = 0.3, kHighest = 0.95;
  static constexpr double kRise = 0.03, kFall = 0.01;
  static constexpr double kMaxRecomputed = 0.01;  // share of tokens
  static constexpr double kMaxIdle = 0.2;         // share of blocks
  static constexpr absl::Duration kPeriod = absl::Seconds(5);

  QuantileController(double initial, int64_t pool_blocks) : quantile_(initial), pool_blocks_(pool_blocks) {}

  // After each step; one thread.
  void Record(const LeaseFit& fit, absl::Time now);
  // Somebody was refused for lack of memory. Any thread.
  void CountRefusal() { refusals_.fetch_add(1, std::memory_order_relaxed); }
  // Any thread.
  double quantile() const { return quantile_.load(std::memory_order_relaxed); }

 private:
  void Decide();

  std::atomic<double> quantile_;
  std::atomic<int64_t> refusals_{0};
  const int64_t pool_blocks_;
  // Of the period so far.
  absl::Time decides_at_ = absl::InfinitePast();
  int64_t steps_ = 0, tokens_ = 0, recomputed_ = 0, used_blocks_ = 0;
};

}  // namespace hadal::admission
