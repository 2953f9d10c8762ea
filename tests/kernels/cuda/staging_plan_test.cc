// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/staging_plan.h"

#include <deque>
#include <random>

#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

TEST(StagingPlanTest, GivesRegionsInARing) {
  StagingPlan plan(100);
  EXPECT_EQ(plan.Take(60), 0);
  EXPECT_EQ(plan.Take(40), 60);
  EXPECT_FALSE(plan.Fits(1));  // full, not empty
  plan.ReleaseOldest();
  EXPECT_FALSE(plan.Fits(61));
  EXPECT_EQ(plan.Take(30), 0);
  EXPECT_TRUE(plan.Fits(30));
  EXPECT_FALSE(plan.Fits(31));
  plan.ReleaseOldest();
  EXPECT_EQ(plan.Take(70), 30);
  EXPECT_FALSE(plan.Fits(1));
}

TEST(StagingPlanTest, AnEmptyRingTakesItsWholeCapacity) {
  StagingPlan plan(100);
  plan.Take(70);
  plan.ReleaseOldest();
  EXPECT_TRUE(plan.empty());
  EXPECT_FALSE(plan.Fits(101));
  EXPECT_EQ(plan.Take(100), 0);
}

TEST(StagingPlanTest, LiveRegionsNeverOverlap) {
  std::mt19937 random(3);
  StagingPlan plan(1000);
  std::deque<std::pair<int64_t, int64_t>> live;
  for (int i = 0; i < 20000; ++i) {
    const int64_t bytes = 1 + static_cast<int64_t>(random() % 400);
    while (!plan.Fits(bytes)) {
      ASSERT_FALSE(live.empty());
      plan.ReleaseOldest();
      live.pop_front();
    }
    const int64_t begin = plan.Take(bytes);
    ASSERT_GE(begin, 0);
    ASSERT_LE(begin + bytes, 1000);
    for (const auto& [other, end] : live) ASSERT_TRUE(begin + bytes <= other || end <= begin) << "step " << i;
    live.push_back({begin, begin + bytes});
  }
}

}  // namespace
}  // namespace hadal::kernels::cuda
