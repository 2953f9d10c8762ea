// SPDX-License-Identifier: Apache-2.0
#include "server/admission/caller_limits.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Reason;

const absl::Time kNow = absl::FromUnixSeconds(1000);
constexpr absl::Duration kIdle = absl::Milliseconds(100);

// Starts after `start`, its first token comes 0.1 s later.
WaitPrediction After(absl::Duration start) {
  return {.known = true, .start = start, .first_token = start + kIdle, .unloaded = kIdle};
}
CallerLimits FirstWithin(absl::Duration time) { return {.arrival = kNow, .first_token_by = kNow + time}; }
Reason ReasonOf(const CallerLimits& limits, absl::Duration start) {
  return Judge(limits, After(start), kIdle, kNow).reason;
}

TEST(CallerLimitsTest, WithoutLimitsNothingIsTooLate) {
  EXPECT_FALSE(CallerLimits().any());
  EXPECT_EQ(ReasonOf({}, absl::InfiniteDuration()), Reason::kNone);
}

TEST(CallerLimitsTest, AFirstTokenAfterTheLimitIsInfeasible) {
  EXPECT_EQ(ReasonOf(FirstWithin(absl::Milliseconds(900)), absl::Milliseconds(800)), Reason::kNone);
  const LimitVerdict late = Judge(FirstWithin(absl::Milliseconds(850)), After(absl::Milliseconds(800)), kIdle, kNow);
  EXPECT_EQ(late.reason, Reason::kDeadlineInfeasible);
  EXPECT_EQ(late.left, absl::Milliseconds(850));
  EXPECT_EQ(late.excess, absl::Milliseconds(50));
  CallerLimits whole = FirstWithin(absl::Seconds(5));
  whole.deadline = kNow + absl::Milliseconds(850);
  EXPECT_EQ(ReasonOf(whole, absl::Milliseconds(800)), Reason::kDeadlineInfeasible) << "the tighter one counts";
}

TEST(CallerLimitsTest, WhatAnIdleServerCannotDoIsTheCallersMistake) {
  EXPECT_EQ(ReasonOf(FirstWithin(absl::Milliseconds(49)), absl::ZeroDuration()), Reason::kRequestNeverFits);
  EXPECT_EQ(ReasonOf(FirstWithin(absl::Milliseconds(51)), absl::ZeroDuration()), Reason::kDeadlineInfeasible)
      << "the time that is needed is known for a size, not for a prompt";
  CallerLimits slow_body = FirstWithin(absl::Milliseconds(10));
  slow_body.arrival = kNow - absl::Seconds(2);
  EXPECT_EQ(ReasonOf(slow_body, absl::ZeroDuration()), Reason::kDeadlineInfeasible) << "it was enough at first";
}

TEST(CallerLimitsTest, LimitsBeyondTheHorizonRefuseNobody) {
  EXPECT_EQ(ReasonOf(FirstWithin(absl::Minutes(10)), absl::InfiniteDuration()), Reason::kNone);
  EXPECT_EQ(ReasonOf(FirstWithin(absl::Seconds(20)), absl::InfiniteDuration()), Reason::kDeadlineInfeasible);
}

TEST(CallerLimitsTest, WhoDoesNotWaitStartsNow) {
  const CallerLimits now_or_not = {.may_wait = false};
  EXPECT_TRUE(now_or_not.any());
  EXPECT_EQ(ReasonOf(now_or_not, absl::ZeroDuration()), Reason::kNone);
  EXPECT_EQ(ReasonOf(now_or_not, absl::Milliseconds(1)), Reason::kWaitLimit);
}

TEST(CallerLimitsTest, NobodyIsRefusedByWhatIsNotKnown) {
  EXPECT_EQ(Judge(FirstWithin(absl::Milliseconds(1)), {}, kIdle, kNow).reason, Reason::kNone);
}

}  // namespace
}  // namespace hadal::admission
