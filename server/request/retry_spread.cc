// SPDX-License-Identifier: Apache-2.0
#include "server/request/retry_spread.h"

#include <atomic>
#include <cmath>
#include <random>

namespace hadal::request {

double EvenlySpread(uint64_t i) {
  constexpr double kGoldenRatio = 0.6180339887498949;
  const double value = 0.5 + kGoldenRatio * static_cast<double>(i);
  return value - std::floor(value);
}

absl::Duration SpreadOut(absl::Duration least) {
  static std::atomic<uint64_t> next = std::random_device{}();
  return least * (1 + EvenlySpread(next.fetch_add(1, std::memory_order_relaxed)));
}

}  // namespace hadal::request
