// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"

namespace hadal::admission {

inline constexpr absl::Duration kMinRetryAfter = absl::Seconds(1);
inline constexpr absl::Duration kMaxRetryAfter = absl::Seconds(30);
// The hint while nothing has been measured yet, as right after the start.
inline constexpr absl::Duration kUnknownWait = absl::Seconds(2);

// Events a second, as a decayed average: an event's weight halves every `half_life`. Not thread-safe.
class RateEstimator {
 public:
  explicit RateEstimator(absl::Duration half_life) : half_life_(half_life) {}
  void Record(absl::Time now, double amount);
  // 0 before the first event. Falls while nothing happens.
  double PerSecond(absl::Time now) const;

 private:
  absl::Duration half_life_;
  absl::Time start_ = absl::InfinitePast();  // of the measurement
  absl::Time updated_ = absl::InfinitePast();
  double weight_ = 0;
};

// The hint sent to a client for a computed wait. `unit_random` is uniform in [0, 1). Jitter is only added:
//   finite wait    clamp(wait + unit_random * max(0.1 s, wait / 10), 1 s, 30 s), spread kept at the lower clamp
//   infinite wait  20 s + unit_random * 10 s: capacity beyond the horizon; spread so that clients do not return at once
absl::Duration HintFor(absl::Duration wait, double unit_random);

}  // namespace hadal::admission
