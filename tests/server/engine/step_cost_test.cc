// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_cost.h"

#include <cmath>

#include "gtest/gtest.h"

namespace hadal::engine {
namespace {

TEST(StepCostTest, FindsTheLine) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) cost.Record(100 + 10 * (i % 7), 0.002 + 1e-4 * (100 + 10 * (i % 7)));
  EXPECT_NEAR(cost.TokensForShare(0.5), 20, 1e-6) << "2 ms, as long as 20 tokens";
  EXPECT_NEAR(cost.TokensForShare(1.0 / 16), 300, 1e-5);
}

TEST(StepCostTest, StepsThatAreFewOrAlikeSayNothing) {
  StepCost cost;
  EXPECT_EQ(cost.TokensForShare(0.5), 0);
  for (int i = 0; i < 5; ++i) cost.Record(100 * i, 0.01);
  EXPECT_EQ(cost.TokensForShare(0.5), 0);
  StepCost alike;
  for (int i = 0; i < 1000; ++i) alike.Record(2048 - i % 3, 0.05);
  EXPECT_EQ(alike.TokensForShare(0.5), 0);
}

TEST(StepCostTest, StepsThatTakeAsLongWhateverTheyHoldHaveNoGoodSize) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) cost.Record(i, 0.02);
  EXPECT_TRUE(std::isinf(cost.TokensForShare(0.5)));
  // Nor do those that take less when they hold more, as chance has it.
  StepCost odd;
  for (int i = 0; i < 100; ++i) odd.Record(i, 0.02 - 1e-5 * i);
  EXPECT_TRUE(std::isinf(odd.TokensForShare(0.5)));
}

TEST(StepCostTest, AStepManyTimesAsLargeMayTakeAsManyTimesAsLong) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) cost.Record(10 + i % 20, 0.001 * (1 + 10 + i % 20));
  for (int i = 0; i < 20; ++i) cost.Record(400, 0.401);
  EXPECT_NEAR(cost.TokensForShare(0.5), 1, 1e-6);
}

TEST(StepCostTest, FollowsAChangeAndForgivesAFault) {
  StepCost cost;
  for (int i = 0; i < 300; ++i) cost.Record(10 + i % 50, 0.001 * (10 + i % 50));
  EXPECT_NEAR(cost.TokensForShare(0.5), 0, 1e-6);
  cost.Record(35, 10);
  EXPECT_LE(cost.TokensForShare(0.5), 2) << "one step of ten seconds";
  for (int i = 0; i < 3000; ++i) cost.Record(10 + i % 50, 0.03 + 0.001 * (10 + i % 50));
  EXPECT_NEAR(cost.TokensForShare(0.5), 30, 1);
}

}  // namespace
}  // namespace hadal::engine
