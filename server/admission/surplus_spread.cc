// SPDX-License-Identifier: Apache-2.0
#include "server/admission/surplus_spread.h"

#include <algorithm>

namespace hadal::admission {

void SurplusSpread::Advance(absl::Time now) {
  constexpr double kDecay = 0.8;  // a bucket
  const int64_t bucket = absl::ToUnixMicros(now) / absl::ToInt64Microseconds(kBucket);
  for (int64_t past = now_; past < std::min(bucket, now_ + kRing); ++past) {
    told_[static_cast<size_t>(past % kRing)] = anonymous_[static_cast<size_t>(past % kRing)] = 0;
    refused_per_bucket_ += (1 - kDecay) * (static_cast<double>(refused_) - refused_per_bucket_);
    refused_ = 0;
  }
  now_ = std::max(now_, bucket);
}

double SurplusSpread::ChanceOfReturn(absl::Time now) {
  Advance(now);
  ++refused_;
  // Half of them are told whole seconds, and come one or two buckets later.
  const double due =
      (anonymous_[static_cast<size_t>(now_ % kRing)] + anonymous_[static_cast<size_t>((now_ + 1) % kRing)]) / 2.0;
  return due / std::max({1.0, due, refused_per_bucket_});
}

// In a steady overload every moment has been told to as many, in the end. The nearest has been open for that for ten
// seconds, the farthest only just now. So what counts is how many for the time that it has been open: the fewest alone
// would always be at the farthest, and everybody told to return as late as can be.
absl::Duration SurplusSpread::Next(absl::Time now, double first_random, double second_random, bool anonymous) {
  Advance(now);
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
  if (anonymous) ++anonymous_[static_cast<size_t>((first + chosen) % kRing)];
  // Within that half second, wherever in its own the caller asks.
  const absl::Time then = absl::UnixEpoch() + (first + chosen) * kBucket + second_random * kBucket;
  return std::clamp(then - now, kBeforeFirst * kBucket, (kBeforeFirst + kBuckets) * kBucket);
}

}  // namespace hadal::admission
