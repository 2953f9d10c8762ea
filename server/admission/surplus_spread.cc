// SPDX-License-Identifier: Apache-2.0
#include "server/admission/surplus_spread.h"

#include <algorithm>

namespace hadal::admission {

// In a steady overload every moment has been told to as many, in the end. The nearest has been open for that for ten
// seconds, the farthest only just now. So what counts is how many for the time that it has been open: the fewest alone
// would always be at the farthest, and everybody told to return as late as can be.
absl::Duration SurplusSpread::Next(absl::Time now, double first_random, double second_random) {
  const int64_t bucket = absl::ToUnixMicros(now) / absl::ToInt64Microseconds(kBucket);
  for (int64_t past = now_; past < std::min(bucket, now_ + kRing); ++past) told_[static_cast<size_t>(past % kRing)] = 0;
  now_ = std::max(now_, bucket);
  const int64_t first = now_ + kBeforeFirst;
  const auto told = [&](int i) -> int32_t& { return told_[static_cast<size_t>((first + i) % kRing)]; };
  constexpr int kOpenTimes = kBuckets * (kBuckets + 1) / 2;  // of all together; of the i-th, kBuckets - i
  int64_t told_to_all = 0;
  for (int i = 0; i < kBuckets; ++i) told_to_all += told(i);

  std::array<int, kBuckets> candidates;  // at least one, as not all can be above the mean
  int count = 0;
  for (int i = 0; i < kBuckets; ++i) {
    if (int64_t{told(i)} * kOpenTimes <= told_to_all * (kBuckets - i)) candidates[count++] = i;
  }
  const int chosen = candidates[static_cast<int>(first_random * count)];
  ++told(chosen);
  // Within that half second, wherever in its own the caller asks.
  const absl::Time then = absl::UnixEpoch() + (first + chosen) * kBucket + second_random * kBucket;
  return std::clamp(then - now, kBeforeFirst * kBucket, (kBeforeFirst + kBuckets) * kBucket);
}

}  // namespace hadal::admission
