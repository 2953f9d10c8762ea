// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace hadal::bench {

// Counts of durations with a bounded relative error, in the manner of HdrHistogram: buckets are linear within each
// power of two. Values are microseconds; from 0 to 2^40 - 1 (12 days), larger ones count as the largest. A quantile is
// at most 1/256 (0.4 %) above the exact one, and never below it. Recording takes constant time; memory is at most 70
// KiB.
class Histogram {
 public:
  void Add(int64_t value_us, int64_t count = 1);
  void AddSeconds(double seconds) { Add(static_cast<int64_t>(seconds * 1e6 + 0.5)); }
  void Merge(const Histogram& other);

  int64_t count() const { return count_; }
  double MeanSeconds() const;
  double MaxSeconds() const { return static_cast<double>(max_us_) / 1e6; }
  // The smallest bucket's upper end that at least q of all values do not exceed, q in [0, 1]; 0 without values. The
  // largest value is exact.
  double QuantileSeconds(double q) const;

 private:
  static constexpr int kSubBits = 8;  // 256 buckets for each power of two
  static constexpr int kMaxBits = 40;
  static int BucketOf(int64_t value_us);
  static int64_t UpperEnd(int bucket);

  std::vector<int64_t> buckets_;
  int64_t count_ = 0, max_us_ = 0;
  double sum_us_ = 0;
};

}  // namespace hadal::bench
