// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "server/admission/lease_period.h"

namespace hadal::admission {

// Controls how many standard deviations leases reserve beyond what answers are expected to need together
// (MemoryPortfolio), so that the share of tokens that are computed again after a preemption is kGoal. Once per period
// the number moves in proportion to how far that share is above the goal, or below it while requests are refused for
// memory of which a fifth is idle. A preemption is rare where answers are long, and costs thousands of tokens: steps of
// a fixed size would fall back between two of them, while these cancel out over time where the goal is met.
class DeviationController {
 public:
  static constexpr double kFirst = 2, kLeast = 0.5, kMost = 4;
  static constexpr double kGoal = 0.01;        // share of the tokens
  static constexpr double kGain = 1;           // deviations for a period in which all tokens are computed again
  static constexpr double kMostCounted = 0.3;  // of one period
  static constexpr double kMaxIdle = 0.2;      // share of blocks
  static constexpr absl::Duration kPeriod = LeasePeriod::kLength;

  explicit DeviationController(int64_t pool_blocks) : period_(pool_blocks) {}

  // After each step; one thread.
  void Record(const LeaseFit& fit, absl::Time now);
  // Somebody was refused for lack of memory. Any thread.
  void CountRefusal() { period_.CountRefusal(); }
  // Any thread.
  double deviations() const { return deviations_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> deviations_{kFirst};
  LeasePeriod period_;
};

}  // namespace hadal::admission
