// SPDX-License-Identifier: Apache-2.0
#include "server/admission/ghosts.h"

#include <random>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;

const absl::Time kStart = absl::FromUnixSeconds(1000);
absl::Time At(double seconds) { return kStart + absl::Seconds(seconds); }

// Ten places and forty blocks a second come free; twice as many fresh requests want them.
CapacityTotals Totals(double seconds, double load = 2) {
  CapacityTotals totals;
  totals.places = 10 * seconds;
  totals.blocks = 40 * seconds;
  totals.arrivals[1] = 10 * load * seconds;
  return totals;
}

Ghost Waiting(double need_places, double forecast_s) {
  Ghost ghost;
  ghost.told = kStart;
  ghost.forecast = absl::Seconds(forecast_s);
  ghost.useful = absl::Seconds(forecast_s);
  ghost.estimate = absl::Seconds(forecast_s);
  ghost.need_places = need_places;
  ghost.blocks_per_request = 4;
  return ghost;
}

TEST(RunningQuantileTest, FindsTheQuantileAndStaysInItsRange) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> values(0.2, 0.3);
  RunningQuantile high(0.8, 0.5, 3), median(0.5, 0.25, 4), clamped(0.8, 0.5, 1.1);
  for (int i = 0; i < 3000; ++i) {
    const double value = values(random);
    high.Record(value);
    median.Record(value);
    clamped.Record(value);
  }
  EXPECT_NEAR(high.Get(), std::exp(0.2 + 0.8416 * 0.3), 0.15);
  EXPECT_NEAR(median.Get(), std::exp(0.2), 0.1);
  EXPECT_EQ(clamped.Get(), 1.1);
}

TEST(RunningQuantileTest, MendsAWrongForecastSoon) {
  RunningQuantile median(0.5, 0.25, 4);
  for (int i = 0; i < 30; ++i) median.Record(2.5);
  EXPECT_NEAR(median.Get(), 2.5, 0.3);
}

TEST(GhostsTest, ATurnComesWhenTheSharePaysForAllBefore) {
  Ghosts ghosts(0.2);
  ghosts.Add(Waiting(/*need_places=*/4, /*forecast_s=*/1.6));
  EXPECT_TRUE(ghosts.Update(At(1.9), Totals(1.9), absl::InfinitePast()).empty());
  const auto verdicts = ghosts.Update(At(2), Totals(2), absl::InfinitePast());
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_NEAR(verdicts[0].ratio, 1.25, 1e-9);
  EXPECT_NEAR(verdicts[0].error, -0.2, 1e-9);
  EXPECT_FALSE(verdicts[0].served_in_time);
  EXPECT_GT(ghosts.kappa(Priority::kNormal), 1);
  EXPECT_GT(ghosts.median(Priority::kNormal), 1);
  EXPECT_EQ(ghosts.kappa(Priority::kHigh), 1) << "each class learns for itself";
  EXPECT_EQ(ghosts.size(), 0u);
}

TEST(GhostsTest, WhatFewWantComesSooner) {
  Ghosts ghosts(0.2);
  Ghost ghost = Waiting(4, 2);
  ghost.useful = absl::Seconds(0.5);
  ghosts.Add(ghost);
  EXPECT_EQ(ghosts.Update(At(0.8), Totals(0.8, /*load=*/0.5), absl::InfinitePast()).size(), 1u);
}

TEST(GhostsTest, MemoryHasToComeFreeToo) {
  Ghosts ghosts(0.2);
  Ghost ghost = Waiting(1, 2);
  ghost.need_blocks = 24;
  ghosts.Add(ghost);
  EXPECT_TRUE(ghosts.Update(At(2.9), Totals(2.9), absl::InfinitePast()).empty());
  EXPECT_EQ(ghosts.Update(At(3), Totals(3), absl::InfinitePast()).size(), 1u);
}

TEST(GhostsTest, AServerThatStandsStillIsNotWaitedForForever) {
  Ghosts ghosts(0.2);
  ghosts.Add(Waiting(4, 2));
  EXPECT_TRUE(ghosts.Update(At(7.9), Totals(0), absl::InfinitePast()).empty());
  const auto verdicts = ghosts.Update(At(8), Totals(0), absl::InfinitePast());
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_EQ(verdicts[0].ratio, Ghosts::kWorstRatio);
}

TEST(GhostsTest, ARefusalWasInVainWhenTheServerComesToRestWithinItsUsefulWait) {
  for (const double idle_s : {-1.0, 10.0, 30.0}) {
    for (const double useful_s : {5.0, 25.0}) {
      Ghosts ghosts(0.2);
      Ghost surplus = Waiting(1000, 0);
      surplus.forecast = absl::InfiniteDuration();
      surplus.useful = absl::Seconds(useful_s);
      ghosts.Add(surplus);
      std::vector<Ghosts::Verdict> verdicts;
      for (int s = 0; s < 40 && verdicts.empty(); ++s) {
        verdicts = ghosts.Update(At(s), Totals(s), s > idle_s ? At(idle_s) : absl::InfinitePast());
      }
      ASSERT_EQ(verdicts.size(), 1u);
      EXPECT_EQ(verdicts[0].ratio, 0);
      EXPECT_EQ(verdicts[0].served_in_time, idle_s == 10.0 && useful_s == 25.0) << idle_s << " " << useful_s;
    }
  }
}

// Who returns has its turn early, as a share is kept for it; who would have waited has not been served yet.
TEST(GhostsTest, AVerdictOnTheRefusalWaitsLongerThanTheOneOnTheHint) {
  for (const double idle_s : {3.0, 30.0}) {
    Ghosts ghosts(0.2);
    Ghost ghost = Waiting(/*need_places=*/2, /*forecast_s=*/1);
    ghost.useful = absl::Seconds(5);
    ghosts.Add(ghost);
    std::vector<Ghosts::Verdict> verdicts;
    double decided_s = 0;
    for (double s = 0; s < 10 && verdicts.empty(); s += 0.5) {
      verdicts = ghosts.Update(At(s), Totals(s), s > idle_s ? At(idle_s) : absl::InfinitePast());
      decided_s = s;
    }
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].ratio, 1) << "places for two come free in a second";
    EXPECT_EQ(verdicts[0].served_in_time, idle_s == 3.0);
    EXPECT_EQ(decided_s, idle_s == 3.0 ? 3.5 : 5.0);
  }
}

TEST(GhostsTest, MemoryIsBounded) {
  Ghosts ghosts(0.2);
  for (size_t i = 0; i < 2 * Ghosts::kMostGhosts; ++i) ghosts.Add(Waiting(4, 2));
  EXPECT_EQ(ghosts.size(), Ghosts::kMostGhosts);
}

}  // namespace
}  // namespace hadal::admission
