// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "server/admission/lease_period.h"

namespace hadal::admission {

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
  static constexpr absl::Duration kPeriod = LeasePeriod::kLength;

  QuantileController(double initial, int64_t pool_blocks) : quantile_(initial), period_(pool_blocks) {}

  // After each step; one thread.
  void Record(const LeaseFit& fit, absl::Time now);
  // Somebody was refused for lack of memory. Any thread.
  void CountRefusal() { period_.CountRefusal(); }
  // Any thread.
  double quantile() const { return quantile_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> quantile_;
  LeasePeriod period_;
};

}  // namespace hadal::admission
