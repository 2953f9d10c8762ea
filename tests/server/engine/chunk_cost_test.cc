// SPDX-License-Identifier: Apache-2.0
#include "server/engine/chunk_cost.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace hadal::engine {
namespace {

constexpr double kDecode = 0.005;  // seconds, by the fit

TEST(ChunkCostTest, NothingIsKnownBeforeThereWereStepsOfBothKinds) {
  ChunkCost cost;
  EXPECT_EQ(cost.TokensFor(1), 0);
  cost.Record(kDecode, 50, 2 * kDecode);
  EXPECT_EQ(cost.TokensFor(1), 0) << "all of it may be the decode rows'";
  cost.Record(kDecode, 0, kDecode);
  EXPECT_EQ(cost.TokensFor(1), 0);
  cost.Record(kDecode, 50, 2 * kDecode);
  EXPECT_NEAR(cost.TokensFor(kDecode), 50, 1e-6);
}

TEST(ChunkCostTest, FreeTokensHaveNoEnd) {
  ChunkCost cost;
  cost.Record(kDecode, 0, kDecode);
  for (int i = 0; i < 100; ++i) cost.Record(kDecode, 50, kDecode);
  EXPECT_TRUE(std::isinf(cost.TokensFor(0.0001)));
}

TEST(ChunkCostTest, WhatTheFitMissesOfDecodingIsNotTheChunks) {
  ChunkCost cost;
  // The fit says three quarters of what it takes.
  for (int i = 0; i < 100; ++i) {
    cost.Record(0.75 * kDecode, 0, kDecode);
    cost.Record(0.75 * kDecode, 10, kDecode + 10 * 20e-6);
  }
  EXPECT_NEAR(cost.TokensFor(0.001), 50, 1);
}

TEST(ChunkCostTest, NoiseCancelsOut) {
  ChunkCost cost;
  std::mt19937 random(1);
  std::normal_distribution<double> noise(0, 0.1 * kDecode);
  double sum = 0;
  constexpr int kSteps = 4000;
  for (int i = 0; i < kSteps; ++i) {
    cost.Record(kDecode, 0, kDecode + noise(random));
    cost.Record(kDecode, 50, kDecode + 50 * 20e-6 + noise(random));
    if (i >= kSteps / 2) sum += 1 / cost.TokensFor(1);
  }
  EXPECT_NEAR(sum / (kSteps / 2), 20e-6, 2e-6);
}

TEST(ChunkCostTest, FollowsAChangeWithinSomeTensOfSteps) {
  ChunkCost cost;
  cost.Record(kDecode, 0, kDecode);
  for (int i = 0; i < 100; ++i) cost.Record(kDecode, 50, kDecode);
  for (int i = 0; i < 60; ++i) cost.Record(kDecode, 50, 2 * kDecode);
  EXPECT_NEAR(cost.TokensFor(kDecode), 50, 3);
}

TEST(ChunkCostTest, ADisturbedStepCountsAsThreeTimesItsDecoding) {
  ChunkCost cost;
  cost.Record(kDecode, 0, kDecode);
  for (int i = 0; i < 100; ++i) cost.Record(kDecode, 50, 1.2 * kDecode);
  cost.Record(kDecode, 50, 1000);
  EXPECT_GT(cost.TokensFor(0.2 * kDecode), 15);
  cost.Record(kDecode, 0, 1000);
  for (int i = 0; i < 100; ++i) {
    cost.Record(kDecode, 0, kDecode);
    cost.Record(kDecode, 50, 1.2 * kDecode);
  }
  EXPECT_NEAR(cost.TokensFor(0.2 * kDecode), 50, 3);
}

TEST(ChunkCostTest, AFitThatKnowsNothingTeachesNothing) {
  ChunkCost cost;
  cost.Record(0, 0, kDecode);
  cost.Record(0, 50, kDecode);
  EXPECT_EQ(cost.TokensFor(1), 0);
}

}  // namespace
}  // namespace hadal::engine
