// SPDX-License-Identifier: Apache-2.0
#include "server/admission/lease_period.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

constexpr absl::Duration kStep = absl::Seconds(1);

TEST(LeasePeriodTest, TellsWhatTheStepsOfAPeriodCameTo) {
  LeasePeriod period(/*pool_blocks=*/100);
  absl::Time now = absl::UnixEpoch();
  EXPECT_FALSE(period.Record({.tokens = 90, .recomputed_tokens = 10, .used_blocks = 50}, now).has_value());
  period.CountRefusal();
  for (int i = 0; i < 4; ++i) {
    now += kStep;
    EXPECT_FALSE(period.Record({.tokens = 10, .used_blocks = 50}, now).has_value());
  }
  const auto outcome = period.Record({.tokens = 70, .used_blocks = 80}, now + kStep);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_DOUBLE_EQ(outcome->recomputed, 0.05);
  EXPECT_DOUBLE_EQ(outcome->idle, 0.45);
  EXPECT_TRUE(outcome->refused);
}

TEST(LeasePeriodTest, ForgetsWhatWasBeforeARest) {
  LeasePeriod period(/*pool_blocks=*/100);
  const absl::Time begin = absl::UnixEpoch(), later = begin + absl::Minutes(1);
  EXPECT_FALSE(period.Record({.tokens = 1, .recomputed_tokens = 1, .used_blocks = 100}, begin).has_value());
  period.CountRefusal();
  EXPECT_FALSE(period.Record({.tokens = 1}, later).has_value());
  const auto outcome = period.Record({.tokens = 1}, later + LeasePeriod::kLength);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->recomputed, 0);
  EXPECT_EQ(outcome->idle, 1);
  EXPECT_FALSE(outcome->refused);
}

}  // namespace
}  // namespace hadal::admission
