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

TEST(DrainRateTest, PrefersWhatWasMeasured) {
  EXPECT_EQ(DrainRate({.departures_per_second = 3, .running = 100, .mean_remaining_seconds = 1}), 3);
  EXPECT_EQ(DrainRate({.departures_per_second = 0, .running = 10, .mean_remaining_seconds = 2}), 5);
  EXPECT_EQ(DrainRate({}), 0);
}

TEST(TimeToFreeTest, DividesAndKnowsTheUnknown) {
  EXPECT_EQ(TimeToFree(10, 4), absl::Seconds(2.5));
  EXPECT_EQ(TimeToFree(0, 0), absl::ZeroDuration());
  EXPECT_EQ(TimeToFree(1, 0), absl::InfiniteDuration());
}

TEST(RetryReservationsTest, GivesEachCallerATimeOfItsOwn) {
  RetryReservations reservations;
  EXPECT_EQ(reservations.Reserve(kStart, 1, 2), absl::Seconds(0.5));
  EXPECT_EQ(reservations.Reserve(kStart, 1, 2), absl::Seconds(1));
  EXPECT_EQ(reservations.Reserve(kStart, 1, 2), absl::Seconds(1.5));
  EXPECT_EQ(reservations.Peek(kStart, 1, 2), absl::Seconds(2));
  EXPECT_EQ(reservations.Reserve(kStart + absl::Seconds(100), 1, 2), absl::Seconds(0.5)) << "old reservations are over";
}

TEST(RetryReservationsTest, ReservesNothingBeyondTheHorizon) {
  RetryReservations reservations;
  for (int i = 0; i < 30; ++i) EXPECT_NE(reservations.Reserve(kStart, 1, 1), absl::InfiniteDuration());
  EXPECT_EQ(reservations.Reserve(kStart, 1, 1), absl::InfiniteDuration());
  EXPECT_EQ(reservations.Reserve(kStart, 1, 0), kUnknownWait) << "nothing has been measured";
  // The surplus took nothing: a second later there is room for one again.
  EXPECT_EQ(reservations.Reserve(kStart + absl::Seconds(1), 1, 1), absl::Seconds(30));
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
