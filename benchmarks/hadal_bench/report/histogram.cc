// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace hadal::bench {

int Histogram::BucketOf(int64_t value_us) {
  const auto value = static_cast<uint64_t>(value_us);
  if (value < (uint64_t{1} << (kSubBits + 1))) return static_cast<int>(value);  // exact
  const int shift = std::bit_width(value) - 1 - kSubBits;
  return (shift << kSubBits) + static_cast<int>(value >> shift);
}

int64_t Histogram::UpperEnd(int bucket) {
  if (bucket < (1 << (kSubBits + 1))) return bucket;
  const int shift = (bucket >> kSubBits) - 1;
  const int64_t base = bucket - (static_cast<int64_t>(shift) << kSubBits);
  return ((base + 1) << shift) - 1;
}

void Histogram::Add(int64_t value_us, int64_t count) {
  const int64_t value = std::clamp<int64_t>(value_us, 0, (int64_t{1} << kMaxBits) - 1);
  const auto bucket = static_cast<size_t>(BucketOf(value));
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  buckets_[bucket] += count;
  count_ += count;
  max_us_ = std::max(max_us_, value);
  sum_us_ += static_cast<double>(value) * static_cast<double>(count);
}

void Histogram::Merge(const Histogram& other) {
  if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size());
  for (size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_us_ = std::max(max_us_, other.max_us_);
  sum_us_ += other.sum_us_;
}

double Histogram::MeanSeconds() const { return count_ == 0 ? 0 : sum_us_ / static_cast<double>(count_) / 1e6; }

double Histogram::QuantileSeconds(double q) const {
  if (count_ == 0) return 0;
  const auto rank = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(q * static_cast<double>(count_))));
  int64_t passed = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    passed += buckets_[i];
    if (passed >= rank) return static_cast<double>(std::min(UpperEnd(static_cast<int>(i)), max_us_)) / 1e6;
  }
  return MaxSeconds();
}

}  // namespace hadal::bench
