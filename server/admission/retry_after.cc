// SPDX-License-Identifier: Apache-2.0
#include "server/admission/retry_after.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

double Decay(absl::Duration elapsed, absl::Duration half_life) {
  return std::exp2(-absl::FDivDuration(std::max(elapsed, absl::ZeroDuration()), half_life));
}

}  // namespace

void RateEstimator::Record(absl::Time now, double amount) {
  if (start_ == absl::InfinitePast()) {
    start_ = updated_ = now;
  }
  weight_ = weight_ * Decay(now - updated_, half_life_) + amount;
  updated_ = std::max(updated_, now);
}

double RateEstimator::PerSecond(absl::Time now) const {
  if (start_ == absl::InfinitePast()) return 0;
  // A constant rate r sums to r * half_life / ln 2 * (1 - decay since the start). At least a second is assumed to have
  // been watched, so that the first event does not read as an enormous rate.
  const double half_life_s = absl::ToDoubleSeconds(half_life_);
  const double watched = 1 - Decay(std::max(now - start_, absl::Seconds(1)), half_life_);
  return weight_ * Decay(now - updated_, half_life_) * std::log(2.0) / (half_life_s * watched);
}

absl::Duration HintFor(absl::Duration wait, double unit_random) {
  if (wait == absl::InfiniteDuration()) return absl::Seconds(20) + absl::Seconds(10) * unit_random;
  const absl::Duration spread = std::max(absl::Milliseconds(100), wait / 10);
  return std::min(std::max(wait, kMinRetryAfter) + spread * unit_random, kMaxRetryAfter);
}

}  // namespace hadal::admission
