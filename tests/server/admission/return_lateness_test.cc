// SPDX-License-Identifier: Apache-2.0
#include "server/admission/return_lateness.h"

#include <random>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

// Promises, each followed by `strangers_per_s` at any time and, for a share of them, by a client that returns after
// `late` and a bit, exponentially distributed.
void Follow(ReturnLateness& lateness, int promises, double strangers_per_s, double share, absl::Duration late,
            absl::Duration bit, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  const double span = absl::ToDoubleSeconds(ReturnLateness::kSpan);
  for (int i = 0; i < promises; ++i) {
    const int strangers = std::poisson_distribution<int>(strangers_per_s * span)(random);
    for (int k = 0; k < strangers; ++k) lateness.CountArrival(uniform(random) * ReturnLateness::kSpan);
    if (uniform(random) < share) lateness.CountArrival(late + std::exponential_distribution<double>()(random) * bit);
    lateness.CountMoment();
  }
}

TEST(ReturnLatenessTest, NothingIsRuledOutBeforeItIsSeen) {
  ReturnLateness lateness;
  EXPECT_TRUE(lateness.possible());
  EXPECT_FALSE(lateness.known());
  EXPECT_EQ(lateness.share(), 0);
  EXPECT_EQ(lateness.tolerance(), absl::Milliseconds(20));
}

TEST(ReturnLatenessTest, WhoReturnsAtOnceStandsOutFromStrangers) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ReturnLateness lateness;
    Follow(lateness, 200, 200, 1, absl::Milliseconds(1), absl::Milliseconds(3), seed);
    EXPECT_TRUE(lateness.possible());
    EXPECT_NEAR(lateness.share(), 1, 0.45) << seed;
    EXPECT_GE(lateness.tolerance(), absl::Milliseconds(5)) << seed;
    EXPECT_LE(lateness.tolerance(), absl::Milliseconds(25)) << seed;
  }
}

TEST(ReturnLatenessTest, FarClientsAreWaitedForLonger) {
  ReturnLateness lateness;
  Follow(lateness, 400, 50, 1, absl::Milliseconds(60), absl::Milliseconds(5));
  EXPECT_NEAR(lateness.share(), 1, 0.3);
  EXPECT_GE(lateness.tolerance(), absl::Milliseconds(65));
  EXPECT_LE(lateness.tolerance(), absl::Milliseconds(100));
}

TEST(ReturnLatenessTest, NobodyIsSeenWhereOnlyStrangersCome) {
  int seen = 0, ruled_out = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    ReturnLateness lateness;
    Follow(lateness, 400, 40, 0, {}, {}, seed);
    seen += lateness.share() > 0;
    ruled_out += !lateness.possible();
  }
  EXPECT_LE(seen, 2) << "by chance";
  EXPECT_GE(ruled_out, 36);
}

TEST(ReturnLatenessTest, ACrowdThatHidesThemIsNotTakenForTheirAbsence) {
  ReturnLateness lateness;
  Follow(lateness, 60, 5000, 0, {}, {});
  EXPECT_TRUE(lateness.possible());
  EXPECT_EQ(lateness.tolerance(), absl::Milliseconds(20));
}

TEST(ReturnLatenessTest, WhatClientsDoMayChange) {
  ReturnLateness lateness;
  Follow(lateness, 1000, 50, 0, {}, {});
  EXPECT_FALSE(lateness.possible());
  Follow(lateness, 2000, 50, 1, absl::Milliseconds(1), absl::Milliseconds(2));
  EXPECT_GT(lateness.share(), 0.5);
  Follow(lateness, 6000, 50, 0, {}, {});
  EXPECT_EQ(lateness.share(), 0);
}

TEST(ReturnLatenessTest, ArrivalsBeforeOrLongAfterTheMomentAreLeftOut) {
  ReturnLateness lateness;
  for (int i = 0; i < 200; ++i) {
    lateness.CountArrival(-absl::Milliseconds(1));
    lateness.CountArrival(ReturnLateness::kSpan);
    lateness.CountMoment();
  }
  EXPECT_EQ(lateness.share(), 0);
  EXPECT_FALSE(lateness.possible());
}

}  // namespace
}  // namespace hadal::admission
