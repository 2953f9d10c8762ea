// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace hadal::bench {
namespace {

TEST(HistogramTest, QuantilesStayWithinTheErrorBound) {
  std::mt19937_64 random(5);
  std::lognormal_distribution<double> lognormal(9, 3);  // from below a microsecond to hours
  Histogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 200'000; ++i) {
    values.push_back(static_cast<int64_t>(lognormal(random)));
    histogram.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto rank = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(q * 200'000)));
    const double exact = static_cast<double>(values[rank - 1]), found = histogram.QuantileSeconds(q) * 1e6;
    EXPECT_GE(found, exact - 1e-6) << q;
    EXPECT_LE(found, exact * (1 + 1.0 / 256) + 1e-6) << q;
  }
}

TEST(HistogramTest, EveryPowerOfTwoBorderIsWithinTheBound) {
  for (int bits = 0; bits < 40; ++bits) {
    for (const int64_t value : {(int64_t{1} << bits) - 1, int64_t{1} << bits, (int64_t{1} << bits) + 1}) {
      Histogram histogram;
      histogram.Add(value);
      histogram.Add((int64_t{1} << 40) - 1);  // so that the first value is not the maximum, which is exact
      const double found = histogram.QuantileSeconds(0.5) * 1e6;
      EXPECT_GE(found, static_cast<double>(value) - 1e-3);
      EXPECT_LE(found, static_cast<double>(value) * (1 + 1.0 / 256) + 1e-3);
    }
  }
}

TEST(HistogramTest, KeepsCountMeanAndMaximum) {
  Histogram histogram;
  EXPECT_EQ(histogram.QuantileSeconds(0.5), 0);
  histogram.AddSeconds(0.001);
  histogram.AddSeconds(0.003);
  histogram.Add(-5);                // clocks may step
  histogram.Add(int64_t{1} << 50);  // beyond the range
  EXPECT_EQ(histogram.count(), 4);
  EXPECT_DOUBLE_EQ(histogram.MaxSeconds(), static_cast<double>((int64_t{1} << 40) - 1) / 1e6);
  Histogram other;
  other.Add(7, 3);
  other.Merge(histogram);
  EXPECT_EQ(other.count(), 7);
  EXPECT_DOUBLE_EQ(other.MaxSeconds(), histogram.MaxSeconds());
  EXPECT_DOUBLE_EQ(other.QuantileSeconds(0.5), 7e-6);
}

}  // namespace
}  // namespace hadal::bench
