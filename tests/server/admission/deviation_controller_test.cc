// SPDX-License-Identifier: Apache-2.0
#include "server/admission/deviation_controller.h"

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

class DeviationControllerTest : public ::testing::Test {
 protected:
  // Steps of 100 ms.
  void Run(double recomputed_share, bool refusals, int seconds, int64_t used_blocks = 60) {
    for (int i = 0; i < 10 * seconds; ++i) {
      if (refusals) controller.CountRefusal();
      controller.Record({.tokens = 1000,
                         .recomputed_tokens = static_cast<int64_t>(1000 * recomputed_share),
                         .used_blocks = used_blocks},
                        now);
      now += absl::Milliseconds(100);
    }
  }

  absl::Time now = absl::FromUnixSeconds(1000);
  DeviationController controller{/*pool_blocks=*/100};
};

TEST_F(DeviationControllerTest, RisesByWhatIsAboveTheGoal) {
  Run(0.06, true, /*seconds=*/21);
  EXPECT_NEAR(controller.deviations(), DeviationController::kFirst + 4 * 0.05, 1e-9) << "every 5 s";
  Run(0.9, true, 21);
  EXPECT_NEAR(controller.deviations(), DeviationController::kFirst + 4 * (0.05 + 0.29), 0.3) << "at most 0.3 count";
  Run(0.9, true, 120);
  EXPECT_EQ(controller.deviations(), DeviationController::kMost);
}

TEST_F(DeviationControllerTest, FallsWhileRequestsAreRefusedForMemory) {
  Run(0, true, 101);
  EXPECT_NEAR(controller.deviations(), DeviationController::kFirst - 20 * 0.01, 1e-9);
  Run(0, true, 3600);
  EXPECT_EQ(controller.deviations(), DeviationController::kLeast);
}

TEST_F(DeviationControllerTest, MemoryThatNobodyWasRefusedForIsLeftAlone) {
  Run(0, /*refusals=*/false, 600);
  EXPECT_EQ(controller.deviations(), DeviationController::kFirst);
}

TEST_F(DeviationControllerTest, MemoryInUseIsLeftAlone) {
  Run(0, /*refusals=*/true, 600, /*used_blocks=*/90);
  EXPECT_EQ(controller.deviations(), DeviationController::kFirst);
}

// One period in twenty costs twenty times the goal: what is lost then is not forgotten before the next one.
TEST_F(DeviationControllerTest, RareAndCostlyPreemptionsAreWeighedByTheirCost) {
  Run(0, true, 1);
  for (int i = 0; i < 20; ++i) {
    Run(0.2, true, 5);
    Run(0, true, 95);
  }
  EXPECT_NEAR(controller.deviations(), DeviationController::kFirst, 0.02);
  for (int i = 0; i < 10; ++i) {
    Run(0.2, true, 5);
    Run(0, true, 45);
  }
  EXPECT_NEAR(controller.deviations(), DeviationController::kFirst + 10 * 0.1, 0.03) << "twice as often";
}

TEST_F(DeviationControllerTest, ARestSaysNothing) {
  for (int i = 0; i < 10; ++i) {
    now += absl::Minutes(5);
    controller.CountRefusal();
    controller.Record({.tokens = 10, .recomputed_tokens = 10}, now);
  }
  EXPECT_EQ(controller.deviations(), DeviationController::kFirst);
}

}  // namespace
}  // namespace hadal::admission
