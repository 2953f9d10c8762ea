// SPDX-License-Identifier: Apache-2.0
#include "server/admission/ghosts.h"

#include <functional>
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

SeenRoom IdleAt(absl::Time at) {
  SeenRoom room;
  room.idle = at;
  return room;
}

// Refused because of a predicted wait above 5 s, when a request starts each tenth of a second.
Ghost OverTheLimit() {
  Ghost ghost = Waiting(1000, 0);
  ghost.forecast = absl::InfiniteDuration();
  ghost.wait_limit = ghost.useful = absl::Seconds(5);
  ghost.flow = absl::Seconds(0.1);
  return ghost;
}

// Looks every tenth of a second for half a minute at a server that starts a request of that class each time, which has
// waited for `wait_s` by then, and never becomes idle.
std::vector<Ghosts::Verdict> Watch(const std::function<double(double)>& wait_s, Priority priority = Priority::kNormal) {
  Ghosts ghosts(0.2);
  ghosts.Add(OverTheLimit());
  std::vector<Ghosts::Verdict> verdicts;
  for (int i = 1; i < 300 && verdicts.empty(); ++i) {
    const double s = i / 10.0;
    ghosts.AddStart({priority, At(s - wait_s(s)), At(s)});
    verdicts = ghosts.Update(At(s), Totals(s), SeenRoom());
  }
  return verdicts;
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
  EXPECT_TRUE(ghosts.Update(At(1.9), Totals(1.9), SeenRoom()).empty());
  const auto verdicts = ghosts.Update(At(2), Totals(2), SeenRoom());
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
  EXPECT_EQ(ghosts.Update(At(0.8), Totals(0.8, /*load=*/0.5), SeenRoom()).size(), 1u);
}

TEST(GhostsTest, MemoryHasToComeFreeToo) {
  Ghosts ghosts(0.2);
  Ghost ghost = Waiting(1, 2);
  ghost.need_blocks = 24;
  ghosts.Add(ghost);
  EXPECT_TRUE(ghosts.Update(At(2.9), Totals(2.9), SeenRoom()).empty());
  EXPECT_EQ(ghosts.Update(At(3), Totals(3), SeenRoom()).size(), 1u);
}

TEST(GhostsTest, AServerThatStandsStillIsNotWaitedForForever) {
  Ghosts ghosts(0.2);
  ghosts.Add(Waiting(4, 2));
  EXPECT_TRUE(ghosts.Update(At(7.9), Totals(0), SeenRoom()).empty());
  const auto verdicts = ghosts.Update(At(8), Totals(0), SeenRoom());
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
        verdicts = ghosts.Update(At(s), Totals(s), IdleAt(s > idle_s ? At(idle_s) : absl::InfinitePast()));
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
      verdicts = ghosts.Update(At(s), Totals(s), IdleAt(s > idle_s ? At(idle_s) : absl::InfinitePast()));
      decided_s = s;
    }
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].ratio, 1) << "places for two come free in a second";
    EXPECT_EQ(verdicts[0].served_in_time, idle_s == 3.0);
    EXPECT_EQ(decided_s, idle_s == 3.0 ? 3.5 : 5.0);
  }
}

TEST(GhostsTest, ARefusalWasFalseWhenThoseBehindItStartedWellWithinTheLimitThoughTheServerWasNeverIdle) {
  // Waits were over-predicted twofold.
  const auto verdicts = Watch([](double) { return 2.5; });
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_TRUE(verdicts[0].served_in_time);
  EXPECT_EQ(verdicts[0].ratio, 0);
}

TEST(GhostsTest, ARefusalWasRightWhenItsTurnCameAfterTheLimit) {
  const auto verdicts = Watch([](double) { return 5.2; });
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_FALSE(verdicts[0].served_in_time);
}

TEST(GhostsTest, ARefusalWasRightWhenItWouldHavePutAnotherOneOverTheLimit) {
  // Its own turn comes after 4 s. But later ones wait for as long as they may.
  for (const double later_s : {4.85, 4.95}) {
    const auto verdicts = Watch([&](double s) { return s < 7 ? 4 : later_s; });
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].served_in_time, later_s < 4.9) << later_s;
  }
}

TEST(GhostsTest, WhoWasRefusedBeforeItGoesFirst) {
  // There is time for 25 more at a tenth of a second each: for those that were refused first.
  for (const int before : {0, 23, 26, 60}) {
    for (const bool room_between : {false, true}) {
      Ghosts ghosts(0.2);
      for (int i = 0; i < before; ++i) ghosts.CountRefusal(Priority::kNormal);
      for (int i = 0; i < 100; ++i) ghosts.CountRefusal(Priority::kHigh);
      SeenRoom room;
      if (room_between) room.start[static_cast<size_t>(Priority::kNormal)] = At(-1);
      ghosts.Update(kStart, Totals(0), room);
      ghosts.Add(OverTheLimit());
      std::vector<Ghosts::Verdict> verdicts;
      for (int i = 1; i < 300 && verdicts.empty(); ++i) {
        const double s = i / 10.0;
        ghosts.AddStart({Priority::kNormal, At(s - 2.5), At(s)});
        verdicts = ghosts.Update(At(s), Totals(s), room);
      }
      ASSERT_EQ(verdicts.size(), 1u);
      EXPECT_EQ(verdicts[0].served_in_time, room_between || before < 25) << before;
    }
  }
}

TEST(GhostsTest, WhoWasAdmittedBeforeSaysNothing) {
  // Those in front of it wait for long, as before a burst was over; nobody comes later, and there is room after 3 s.
  for (const bool room_in_time : {true, false}) {
    Ghosts ghosts(0.2);
    ghosts.Add(OverTheLimit());
    std::vector<Ghosts::Verdict> verdicts;
    SeenRoom room;
    for (int s = 1; s < 20 && verdicts.empty(); ++s) {
      if (s < 3) ghosts.AddStart({Priority::kNormal, At(-4.9 + s), At(s)});
      if (s >= (room_in_time ? 3 : 6)) room.start[static_cast<size_t>(Priority::kNormal)] = At(s);
      if (s == 8) room.idle = At(s);
      verdicts = ghosts.Update(At(s), Totals(s), room);
    }
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_EQ(verdicts[0].served_in_time, room_in_time);
  }
}

TEST(GhostsTest, OtherClassesSayNothingAboutTheLimit) {
  // Less urgent ones that start prove that its turn has come; how long they waited is no matter of its class.
  auto verdicts = Watch([](double s) { return s < 3 ? 20 : 1; }, Priority::kLow);
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_TRUE(verdicts[0].served_in_time);
  // More urgent ones prove nothing.
  verdicts = Watch([](double) { return 0.1; }, Priority::kHigh);
  ASSERT_EQ(verdicts.size(), 1u);
  EXPECT_FALSE(verdicts[0].served_in_time);
}

TEST(GhostsTest, MemoryIsBounded) {
  Ghosts ghosts(0.2);
  for (size_t i = 0; i < 2 * Ghosts::kMostGhosts; ++i) ghosts.Add(Waiting(4, 2));
  EXPECT_EQ(ghosts.size(), Ghosts::kMostGhosts);
}

}  // namespace
}  // namespace hadal::admission
