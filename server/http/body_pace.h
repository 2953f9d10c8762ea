// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "absl/time/time.h"

namespace hadal::http {

// How fast a body must arrive. Plain arithmetic over times that it is given; not thread-safe.
class BodyPace {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  struct Limits {
    absl::Duration stall_timeout = absl::Seconds(5);  // without a byte; also the time before the rate counts
    int64_t min_bytes_per_second = 1024;              // since the beginning, on average; 0: any
    absl::Duration total_timeout = absl::Seconds(60);
  };

  BodyPace(const Limits& limits, TimePoint begin) : limits_(limits), begin_(begin) {}

  const Limits& limits() const { return limits_; }
  TimePoint begin() const { return begin_; }

  // When `bytes` have arrived by `now`: the time by which the body must be whole or another byte must have come.
  TimePoint Deadline(int64_t bytes, TimePoint now) const {
    const auto stall = absl::ToChronoMicroseconds(limits_.stall_timeout);
    TimePoint deadline = std::min(now + stall, begin_ + absl::ToChronoMicroseconds(limits_.total_timeout));
    if (limits_.min_bytes_per_second > 0) {
      const double paid_s = static_cast<double>(bytes) / static_cast<double>(limits_.min_bytes_per_second);
      // No further than the other limits, so that no size overflows the clock.
      const auto paid = absl::ToChronoMicroseconds(std::min(absl::Seconds(paid_s), limits_.total_timeout));
      deadline = std::min(deadline, begin_ + stall + paid);
    }
    return deadline;
  }

 private:
  const Limits limits_;
  const TimePoint begin_;
};

}  // namespace hadal::http
