// SPDX-License-Identifier: Apache-2.0
#include "server/admission/retry_after.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

constexpr absl::Duration kHalfLife = absl::Seconds(10);
const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(RateEstimatorTest, MeasuresAConstantRate) {
  RateEstimator rate(kHalfLife);
  EXPECT_EQ(rate.PerSecond(kStart), 0);
  absl::Time now = kStart;
  for (int i = 0; i < 400; ++i) {
    now += absl::Milliseconds(50);
    rate.Record(now, 1);
  }
  EXPECT_NEAR(rate.PerSecond(now), 20, 0.5);
}

TEST(RateEstimatorTest, MeasuresEarlyWithoutOvershoot) {
  RateEstimator rate(kHalfLife);
  rate.Record(kStart, 1);
  EXPECT_LE(rate.PerSecond(kStart), 1.1);
  EXPECT_GT(rate.PerSecond(kStart), 0.9);
}

TEST(RateEstimatorTest, FallsWhenNothingLeaves) {
  RateEstimator rate(kHalfLife);
  absl::Time now = kStart;
  for (int i = 0; i < 600; ++i) rate.Record(now += absl::Milliseconds(100), 1);
  const double before = rate.PerSecond(now);
  EXPECT_NEAR(rate.PerSecond(now + kHalfLife), before / 2, before * 0.05);
}

TEST(HintForTest, OnlyAddsAndStaysInRange) {
  for (double random : {0.0, 0.3, 0.999}) {
    for (double wait_s : {0.0, 0.2, 1.0, 2.4, 10.0, 29.9, 30.0}) {
      const absl::Duration hint = HintFor(absl::Seconds(wait_s), random);
      EXPECT_GE(hint, absl::Seconds(1));
      EXPECT_LE(hint, absl::Seconds(30));
      EXPECT_GE(hint, std::min(absl::Seconds(wait_s), kMaxRetryAfter));
    }
  }
  EXPECT_EQ(HintFor(absl::Seconds(10), 0.5), absl::Seconds(10.5));
  EXPECT_EQ(HintFor(absl::Seconds(0.1), 0.5), absl::Seconds(1.05)) << "the lower clamp keeps the spread";
}

TEST(HintForTest, SpreadsTheSurplus) {
  EXPECT_EQ(HintFor(absl::InfiniteDuration(), 0), absl::Seconds(20));
  EXPECT_EQ(HintFor(absl::InfiniteDuration(), 0.5), absl::Seconds(25));
}

}  // namespace
}  // namespace hadal::admission
