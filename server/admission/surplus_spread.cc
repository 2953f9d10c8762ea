// SPDX-License-Identifier: Apache-2.0
#include "server/admission/surplus_spread.h"

#include <algorithm>
#include <limits>

namespace hadal::admission {

absl::Duration SurplusSpread::Next(absl::Time now, double first_random, double second_random) {
  const int64_t bucket = absl::ToUnixMicros(now) / absl::ToInt64Microseconds(kBucket);
  for (int64_t past = now_; past < std::min(bucket, now_ + kRing); ++past) told_[static_cast<size_t>(past % kRing)] = 0;
  now_ = std::max(now_, bucket);
  const int64_t first = now_ + kBeforeFirst;
  int32_t fewest = std::numeric_limits<int32_t>::max();
  int64_t chosen = first;
  const auto from = static_cast<int>(first_random * kBuckets);
  for (int i = 0; i < kBuckets; ++i) {
    const int64_t candidate = first + (from + i) % kBuckets;
    const int32_t told = told_[static_cast<size_t>(candidate % kRing)];
    if (told < fewest) {
      fewest = told;
      chosen = candidate;
    }
  }
  ++told_[static_cast<size_t>(chosen % kRing)];
  const auto within = static_cast<double>(chosen - first) + second_random;
  return (kBeforeFirst + within) * kBucket;
}

}  // namespace hadal::admission
