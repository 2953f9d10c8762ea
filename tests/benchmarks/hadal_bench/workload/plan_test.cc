// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

std::vector<double> Arrivals(int count) {
  std::vector<double> arrivals;
  for (int i = 0; i < count; ++i) arrivals.push_back(i * 0.01);
  return arrivals;
}

TEST(PlanTest, SharesAreKept) {
  const auto classes = ParseClasses("high:0.1,normal:0.9");
  const Plan plan = PlanArrivals(Arrivals(20'000), *ParseLengthMix("10:20"), {}, *classes, {}, 1);
  int high = 0;
  for (const PlannedRequest& request : plan.requests) high += request.traffic_class == 0 ? 1 : 0;
  EXPECT_NEAR(high, 2000, 200);
  EXPECT_EQ(plan.cut_lengths, 0);
}

TEST(PlanTest, LengthsAreScaledCutAndCounted) {
  LengthLimits limits;
  limits.scale = 0.5;
  limits.max_output_tokens = 30;
  const Plan plan = PlanArrivals(Arrivals(3), *ParseLengthMix("100:80"), limits, {}, {}, 1);
  ASSERT_EQ(plan.requests.size(), 3u);
  EXPECT_EQ(plan.requests[0].prompt_tokens, 50);
  EXPECT_EQ(plan.requests[0].output_tokens, 30);
  EXPECT_EQ(plan.cut_lengths, 3);
}

TEST(PlanTest, ATraceKeepsItsTimesAndLengths) {
  const std::vector<TraceEntry> trace = {{0, 10, 1, {}}, {4, 20, 2, {7, 8}}, {30, 30, 3, {}}};
  const Plan plan = PlanTrace(trace, 2, 10, {}, {}, {}, 1);
  ASSERT_EQ(plan.requests.size(), 2u);  // the third lies behind the duration
  EXPECT_DOUBLE_EQ(plan.requests[1].at_s, 2);
  EXPECT_EQ(plan.requests[1].prompt_tokens, 20);
  EXPECT_THAT(plan.requests[1].prefix_blocks, testing::ElementsAre(7, 8));
}

TEST(PlanTest, TheSeedDecidesLengthsAndPrompts) {
  const auto lengths = [](uint64_t seed) {
    std::vector<std::pair<int, uint64_t>> found;
    for (const auto& request : PlanArrivals(Arrivals(50), *ParseLengthMix("thinking"), {}, {}, {}, seed).requests) {
      found.emplace_back(request.output_tokens, request.prompt_seed);
    }
    return found;
  };
  EXPECT_EQ(lengths(1), lengths(1));
  EXPECT_NE(lengths(1), lengths(2));
}

}  // namespace
}  // namespace hadal::bench
