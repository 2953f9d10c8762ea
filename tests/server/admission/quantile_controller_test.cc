// SPDX-License-Identifier: Apache-2.0
#include "server/admission/quantile_controller.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

constexpr int64_t kPool = 100;

class QuantileControllerTest : public ::testing::Test {
 protected:
  // Steps of 100 ms, in each of which somebody may be refused for memory.
  void Run(double recomputed_share, double used_share, bool refusals, int seconds = 60) {
    for (int i = 0; i < 10 * seconds; ++i) {
      if (refusals) controller.CountRefusal();
      controller.Record({.tokens = 1000,
                         .recomputed_tokens = static_cast<int64_t>(1000 * recomputed_share),
                         .used_blocks = static_cast<int64_t>(kPool * used_share)},
                        now);
      now += absl::Milliseconds(100);
    }
  }

  absl::Time now = absl::FromUnixSeconds(1000);
  QuantileController controller{0.7, kPool};
};

TEST_F(QuantileControllerTest, RisesWhileTokensAreComputedAgain) {
  Run(0.02, 0.95, true, /*seconds=*/21);
  EXPECT_NEAR(controller.quantile(), 0.7 + 4 * QuantileController::kRise, 1e-9) << "every 5 s";
  Run(0.02, 0.95, true);
  EXPECT_DOUBLE_EQ(controller.quantile(), QuantileController::kHighest);
}

TEST_F(QuantileControllerTest, FallsWhileBlocksAreIdleAndRequestsAreRefusedForMemory) {
  Run(0, 0.7, true);
  EXPECT_NEAR(controller.quantile(), 0.7 - 11 * QuantileController::kFall, 0.015);
  for (int i = 0; i < 6; ++i) Run(0, 0.7, true);
  EXPECT_DOUBLE_EQ(controller.quantile(), QuantileController::kLowest);
}

TEST_F(QuantileControllerTest, IdleMemoryThatNobodyWasRefusedForIsLeftAlone) {
  Run(0, 0.1, /*refusals=*/false);
  EXPECT_EQ(controller.quantile(), 0.7);
}

TEST_F(QuantileControllerTest, MemoryInUseAndLittleWorkDoneTwiceIsAsItShouldBe) {
  Run(0.005, 0.9, /*refusals=*/true);
  EXPECT_EQ(controller.quantile(), 0.7);
}

TEST_F(QuantileControllerTest, WorkDoneTwiceCountsMoreThanIdleBlocks) {
  Run(0.02, 0.5, true);
  EXPECT_GT(controller.quantile(), 0.9);
}

TEST_F(QuantileControllerTest, ARestSaysNothing) {
  // Steps that are far apart: none of them decides.
  for (int i = 0; i < 10; ++i) {
    now += absl::Minutes(5);
    controller.CountRefusal();
    controller.Record({.tokens = 10, .recomputed_tokens = 10}, now);
  }
  EXPECT_EQ(controller.quantile(), 0.7);
}

TEST_F(QuantileControllerTest, AValueBeyondTheBoundsIsNotMovedFurther) {
  QuantileController all(1.0, kPool);
  all.Record({.tokens = 1}, now);
  all.Record({.tokens = 100, .recomputed_tokens = 50}, now + QuantileController::kPeriod);
  EXPECT_EQ(all.quantile(), 1.0);
}

}  // namespace
}  // namespace hadal::admission
