// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_context.h"

#include <gtest/gtest.h>

namespace hadal::rpc {
namespace {

gpr_timespec In(gpr_timespec span) { return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), span); }

TEST(CallContextTest, TimeLeftOfOrdinaryDeadlines) {
  EXPECT_GT(TimeLeft(In(gpr_time_from_millis(5000, GPR_TIMESPAN))), absl::ZeroDuration());
  EXPECT_LE(TimeLeft(In(gpr_time_from_millis(5000, GPR_TIMESPAN))), absl::Milliseconds(5000));
  EXPECT_LT(TimeLeft(In(gpr_time_from_millis(-5000, GPR_TIMESPAN))), absl::Milliseconds(-4999));
}

// 2562047 hours are 292 years, more than 64 bits hold of nanoseconds.
TEST(CallContextTest, TimeLeftOfCenturiesIsNotInThePast) {
  EXPECT_GT(TimeLeft(In(gpr_time_from_hours(2562047, GPR_TIMESPAN))), absl::Hours(2562046));
  EXPECT_GT(TimeLeft(In(gpr_time_from_hours(99999999, GPR_TIMESPAN))), absl::Hours(2562046));
}

TEST(CallContextTest, NoDeadlineLeavesInfiniteTime) {
  EXPECT_EQ(TimeLeft(gpr_inf_future(GPR_CLOCK_MONOTONIC)), absl::InfiniteDuration());
  EXPECT_EQ(TimeLeft(gpr_inf_future(GPR_CLOCK_REALTIME)), absl::InfiniteDuration());
}

}  // namespace
}  // namespace hadal::rpc
