// SPDX-License-Identifier: Apache-2.0
#include "server/admission/retry_planner.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

const absl::Time kStart = absl::FromUnixSeconds(1000);

// `rate` places a second come free, and 10 blocks with each; `arrivals` fresh requests a second.
void Publish(WaitForecast& forecast, double rate, double arrivals = 1000, double free_blocks = 1e6) {
  ForecastTable table;
  table.made = kStart;
  table.known = true;
  for (int i = 0; i <= kForecastBuckets; ++i) {
    const double seconds = absl::ToDoubleSeconds(i * kForecastBucket);
    table.starts[i] = static_cast<float>(rate * seconds);
    table.blocks[i] = static_cast<float>(free_blocks + 10 * rate * seconds);
  }
  table.arrivals_per_second[1] = static_cast<float>(arrivals);
  table.blocks_per_request = 10;
  forecast.Publish(table);
}

RetryPlan Refuse(RetryPlanner& planner, const RetryCaller& caller, const WaitForecast& forecast,
                 const Demand& demand = {}, Priority priority = Priority::kNormal,
                 absl::Duration after = absl::ZeroDuration()) {
  CapacityCurve curve;
  forecast.ReadCapacity(priority, kStart + after, absl::InfiniteDuration(), &curve);
  return planner.Refuse(caller, priority, demand, &curve, kStart + after);
}

RetryCaller Caller(uint64_t key) { return {.key = key, .quality = KeyQuality::kOwn}; }

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

TEST(RetryPlannerTest, PromisesItsShareOneAfterTheOther) {
  WaitForecast forecast;
  Publish(forecast, 10);
  RetryPlanner planner({});
  const int fit = static_cast<int>(25 * 10 * RetryPlanner::kReturnShare);  // and some more until the last moment
  for (int i = 1; i <= fit; ++i) {
    const RetryPlan plan = Refuse(planner, Caller(i), forecast);
    ASSERT_TRUE(plan.promised);
    ASSERT_TRUE(plan.should_retry);
    const double told = i / (10 * RetryPlanner::kReturnShare);
    // Jitter has moved some of the earlier ones back, which leaves room before them.
    ASSERT_NEAR(Seconds(plan.estimate), told, 0.3 + 0.1 * told) << "promise " << i;
    ASSERT_GE(plan.hint, std::max(kMinRetryAfter, plan.estimate)) << "jitter is only added";
    ASSERT_EQ(plan.hint, absl::Trunc(plan.hint, absl::Milliseconds(1)))
        << "told whole milliseconds, it comes too early";
    ASSERT_LE(Seconds(plan.hint), std::max(1.0, Seconds(plan.estimate)) * 1.1 + 0.1);
  }
}

TEST(RetryPlannerTest, WhatIsBeyondTheHorizonIsSurplus) {
  WaitForecast forecast;
  Publish(forecast, 10);
  for (const SurplusRetry surplus : {SurplusRetry::kOnce, SurplusRetry::kAllow, SurplusRetry::kDeny}) {
    RetryPlanner planner({.surplus = surplus});
    int promised = 0;
    RetryPlan plan;
    uint64_t key = 1;
    for (; key < 1000; ++key) {
      plan = Refuse(planner, Caller(key), forecast);
      if (!plan.promised) break;
      ++promised;
    }
    EXPECT_NEAR(promised, 27 * 10 * RetryPlanner::kReturnShare, 2);
    EXPECT_EQ(plan.should_retry, surplus != SurplusRetry::kDeny);
    EXPECT_GE(Seconds(plan.hint), 20);
    EXPECT_LE(Seconds(plan.hint), 30);
    EXPECT_EQ(plan.estimate, absl::InfiniteDuration());
    // The second time.
    plan = Refuse(planner, Caller(key), forecast, {}, Priority::kNormal, absl::Milliseconds(1));
    EXPECT_EQ(plan.should_retry, surplus == SurplusRetry::kAllow);
    plan = Refuse(planner, {.key = 77, .quality = KeyQuality::kRetry, .attempt = 1}, forecast);
    EXPECT_EQ(plan.should_retry, surplus == SurplusRetry::kAllow);
  }
}

TEST(RetryPlannerTest, WhoReturnsAsSurplusIsKnownAndTakesNobodysPromise) {
  for (const SurplusRetry surplus : {SurplusRetry::kOnce, SurplusRetry::kDeny}) {
    WaitForecast forecast;
    Publish(forecast, 10);
    RetryPlanner planner({.surplus = surplus});
    uint64_t key = 1;
    while (Refuse(planner, Caller(key), forecast).promised) ++key;
    EXPECT_TRUE(planner.Arrive(Caller(key), Priority::kNormal, kStart + absl::Seconds(1)).surplus);
    EXPECT_FALSE(planner.Arrive(Caller(key + 1), Priority::kNormal, kStart + absl::Seconds(1)).surplus);
    RetryCaller shared = Caller(key);
    shared.quality = KeyQuality::kRetry;
    EXPECT_FALSE(planner.Arrive(shared, Priority::kNormal, kStart + absl::Seconds(1)).surplus);
    // Two minutes later nothing is promised any more: others are promised a place, this one has had its return.
    const absl::Duration later = absl::Minutes(2);
    EXPECT_TRUE(Refuse(planner, Caller(100000), forecast, {}, Priority::kNormal, later).promised);
    const RetryPlan last = Refuse(planner, Caller(key), forecast, {}, Priority::kNormal, later);
    EXPECT_FALSE(last.promised);
    EXPECT_FALSE(last.should_retry);
    EXPECT_EQ(last.estimate, absl::InfiniteDuration()) << "nothing is held for it, so it has no wait";
  }
}

// Only what is told is judged, and only by that may the forecasts of promises be corrected.
TEST(RetryPlannerTest, WhoIsRefusedForGoodTeachesNothing) {
  WaitForecast forecast;
  Publish(forecast, 10);
  RetryPlanner planner({.surplus = SurplusRetry::kOnce, .ghost_share = 1});
  uint64_t key = 1;
  while (Refuse(planner, Caller(key), forecast).promised) ++key;
  planner.CountFree(/*places=*/100000, /*blocks=*/1000000);
  planner.Judge(kStart + absl::Seconds(60), SeenRoom());
  const absl::Duration later = absl::Minutes(2);
  const absl::Duration before = Refuse(planner, Caller(100000), forecast, {}, Priority::kNormal, later).estimate;
  const absl::Time then = kStart + later;
  for (int i = 0; i < 100; ++i) Refuse(planner, Caller(key), forecast, {}, Priority::kNormal, later);
  planner.CountFree(/*places=*/100000, /*blocks=*/1000000);
  for (const Ghosts::Verdict& verdict : planner.Judge(then + absl::Minutes(3), SeenRoom())) {
    EXPECT_TRUE(verdict.ratio == 0 || std::isfinite(verdict.error));
  }
  const absl::Duration much_later = absl::Minutes(20);
  const absl::Duration after = Refuse(planner, Caller(100001), forecast, {}, Priority::kNormal, much_later).estimate;
  EXPECT_GT(after, 0.8 * before);
  EXPECT_LT(after, 1.25 * before);
}

TEST(RetryPlannerTest, CapacityThatNobodyElseWantsIsPromisedWhole) {
  WaitForecast forecast;
  Publish(forecast, 10, /*arrivals=*/0);
  RetryPlanner planner({});
  RetryPlan plan;
  for (int i = 1; i <= 40; ++i) plan = Refuse(planner, Caller(i), forecast);
  EXPECT_NEAR(Seconds(plan.estimate), 4, 0.3);
}

TEST(RetryPlannerTest, MemoryDelaysAPromiseToo) {
  WaitForecast forecast;
  Publish(forecast, 10, 1000, /*free_blocks=*/0);
  RetryPlanner planner({});
  const RetryPlan small = Refuse(planner, Caller(1), forecast, {.blocks = 10}, Priority::kNormal);
  const RetryPlan large = Refuse(planner, Caller(2), forecast, {.blocks = 90}, Priority::kNormal);
  EXPECT_NEAR(Seconds(small.estimate), 1 / (10 * RetryPlanner::kReturnShare), 0.3);
  EXPECT_NEAR(Seconds(large.estimate), 10 / (10 * RetryPlanner::kReturnShare), 0.3);
}

TEST(RetryPlannerTest, HoldsThePlaceForWhoReturns) {
  WaitForecast forecast;
  Publish(forecast, 10);
  RetryPlanner planner({});
  const RetryPlan plan = Refuse(planner, Caller(1), forecast, {.blocks = 4}, Priority::kNormal);
  const auto held = [&](absl::Duration after) {
    return planner.Arrive(Caller(99), Priority::kNormal, kStart + after).kept_free;
  };
  const auto timing = [&](uint64_t key, absl::Duration after) {
    return planner.Arrive(Caller(key), Priority::kNormal, kStart + after).timing;
  };
  EXPECT_EQ(held(plan.hint - absl::Seconds(1.1)).places, 0);
  EXPECT_EQ(timing(1, absl::Seconds(0.1)), ReturnTiming::kEarly);
  EXPECT_EQ(held(plan.hint).places, 1);
  EXPECT_EQ(held(plan.hint).blocks, 4);
  EXPECT_EQ(timing(2, plan.hint), ReturnTiming::kNone);
  EXPECT_EQ(timing(1, plan.hint), ReturnTiming::kInWindow);
  const absl::Duration whole_seconds = absl::Ceil(plan.hint, absl::Seconds(1));
  EXPECT_EQ(timing(1, whole_seconds), ReturnTiming::kInWindow);
  planner.Admit(Caller(1), kStart + whole_seconds);
  EXPECT_EQ(held(whole_seconds).places, 0);
  EXPECT_EQ(timing(1, whole_seconds), ReturnTiming::kNone);
}

TEST(RetryPlannerTest, WhoComesTooEarlyKeepsItsTurn) {
  WaitForecast forecast;
  Publish(forecast, 1);
  RetryPlanner planner({});
  const RetryPlan first = Refuse(planner, Caller(1), forecast);
  const RetryPlan second = Refuse(planner, Caller(1), forecast, {}, Priority::kNormal, first.hint - absl::Seconds(2));
  EXPECT_TRUE(second.promised);
  EXPECT_NEAR(Seconds(second.hint), 2, 1e-6);
}

TEST(RetryPlannerTest, WhoComesTooEarlyIsExpectedWhenItIsToldNow) {
  for (const double early_s : {0.2, 1.4}) {
    for (const bool whole_seconds : {false, true}) {
      WaitForecast forecast;
      Publish(forecast, 1);
      RetryPlanner planner({});
      const RetryPlan first = Refuse(planner, Caller(1), forecast);
      const absl::Duration came = first.hint - absl::Seconds(early_s);
      const RetryPlan second = Refuse(planner, Caller(1), forecast, {}, Priority::kNormal, came);
      ASSERT_TRUE(second.promised);
      const absl::Duration told = whole_seconds ? absl::Ceil(second.hint, absl::Seconds(1)) : second.hint;
      EXPECT_EQ(planner.Arrive(Caller(1), Priority::kNormal, kStart + came + told).timing, ReturnTiming::kInWindow)
          << early_s << " s too early, told " << told;
    }
  }
}

TEST(RetryPlannerTest, PlacesAreExpectedToBeTakenBeforeTheyAreHeld) {
  WaitForecast forecast;
  Publish(forecast, 10);
  RetryPlanner planner({});
  const RetryPlan plan = Refuse(planner, Caller(1), forecast);
  const auto expected = [&](absl::Duration before) {
    return planner.Arrive(Caller(2), Priority::kNormal, kStart + plan.hint - before).expected_soon;
  };
  EXPECT_EQ(expected(absl::Seconds(0.6)), 0);
  EXPECT_EQ(expected(absl::Seconds(0.2)), 1);
  EXPECT_EQ(planner.Arrive(Caller(1), Priority::kNormal, kStart + plan.hint).expected_soon, 0) << "its own";
}

TEST(RetryPlannerTest, EarlierAttemptsWaitLonger) {
  WaitForecast forecast;
  Publish(forecast, 1);
  for (const auto& [attempt, factor] : {std::pair{0, 1.0}, {1, 1.5}, {2, 2.25}}) {
    RetryPlanner planner({});
    const RetryPlan plan = Refuse(planner, {.key = 1, .quality = KeyQuality::kRetry, .attempt = attempt}, forecast);
    const double told = factor / RetryPlanner::kReturnShare;
    EXPECT_GE(Seconds(plan.hint), told - 0.1);
    EXPECT_LE(Seconds(plan.hint), told * 1.1 + 0.1);
  }
}

TEST(RetryPlannerTest, AGatewayIsToldTheNextFreeMoment) {
  WaitForecast forecast;
  Publish(forecast, 2);
  RetryPlanner planner({});
  RetryCaller gateway = Caller(1);
  gateway.gateway = true;
  for (int i = 0; i < 100; ++i) {
    const RetryPlan plan = Refuse(planner, gateway, forecast);
    EXPECT_FALSE(plan.promised) << "who comes next through it is somebody else";
    EXPECT_TRUE(plan.should_retry);
    EXPECT_GE(Seconds(plan.hint), 0.5);
    EXPECT_LE(Seconds(plan.hint), 0.6);
  }
  Publish(forecast, 0);
  EXPECT_EQ(Refuse(planner, gateway, forecast).hint, RetryPlanner::kMaxGatewayHint);
}

TEST(RetryPlannerTest, ALessUrgentPromiseDelaysNobodyMoreUrgent) {
  WaitForecast forecast;
  Publish(forecast, 10);
  RetryPlanner planner({});
  for (int i = 1; i <= 40; ++i) Refuse(planner, Caller(i), forecast, {}, Priority::kBatch);
  EXPECT_LE(Refuse(planner, Caller(99), forecast, {}, Priority::kHigh).estimate, absl::Seconds(1));
  EXPECT_GE(Refuse(planner, Caller(98), forecast, {}, Priority::kBatch).estimate, absl::Seconds(20));
}

TEST(RetryPlannerTest, KnowsNoWaitBeforeTheFirstStep) {
  RetryPlanner planner({});
  const RetryPlan plan = planner.Refuse(Caller(1), Priority::kNormal, {}, nullptr, kStart);
  EXPECT_FALSE(plan.promised);
  EXPECT_TRUE(plan.should_retry);
  EXPECT_GE(plan.hint, kUnknownWait);
  EXPECT_LE(plan.hint, kUnknownWait * 1.1);
}

}  // namespace
}  // namespace hadal::admission
