// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/workload.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::sim {
namespace {

WorkloadSpec Spec(double rate, double cv) {
  WorkloadSpec spec;
  spec.lengths = *FindLengths("azure-conversation");
  spec.requests_per_second = rate;
  spec.coefficient_of_variation = cv;
  spec.duration = absl::Seconds(500);
  return spec;
}

// Mean and coefficient of variation of the times between arrivals, in seconds.
std::pair<double, double> Gaps(const std::vector<Call>& calls) {
  double sum = 0, squares = 0;
  for (size_t i = 1; i < calls.size(); ++i) {
    const double gap = absl::ToDoubleSeconds(calls[i].arrival - calls[i - 1].arrival);
    sum += gap;
    squares += gap * gap;
  }
  const double n = static_cast<double>(calls.size() - 1);
  const double mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean) / mean};
}

TEST(WorkloadTest, PoissonArrivalsHaveTheirRateAndVariation) {
  const auto [mean, cv] = Gaps(DrawCalls(Spec(100, 1), 1));
  EXPECT_NEAR(mean, 0.01, 0.0002);
  EXPECT_NEAR(cv, 1, 0.05);
}

TEST(WorkloadTest, GammaArrivalsAreBursty) {
  const auto [mean, cv] = Gaps(DrawCalls(Spec(400, 4), 1));
  EXPECT_NEAR(mean, 0.0025, 0.0003);
  EXPECT_NEAR(cv, 4, 0.4);
}

TEST(WorkloadTest, AStepRaisesTheRateWhileItLasts) {
  WorkloadSpec spec = Spec(50, 1);
  spec.step_at = absl::Seconds(100);
  spec.step_end = absl::Seconds(200);
  spec.step_factor = 3;
  int64_t before = 0, during = 0;
  for (const Call& call : DrawCalls(spec, 1)) {
    before += call.arrival < spec.step_at;
    during += call.arrival >= spec.step_at && call.arrival < spec.step_end;
  }
  EXPECT_NEAR(static_cast<double>(during) / static_cast<double>(before), 3, 0.3);
}

TEST(WorkloadTest, LengthsFollowThePublishedDistribution) {
  std::vector<int32_t> prompts, outputs;
  for (const Call& call : DrawCalls(Spec(100, 1), 1)) {
    prompts.push_back(call.prompt_tokens);
    outputs.push_back(call.output_tokens);
  }
  std::sort(prompts.begin(), prompts.end());
  std::sort(outputs.begin(), outputs.end());
  EXPECT_NEAR(prompts[prompts.size() / 2], std::exp(6.63), 25);
  EXPECT_NEAR(outputs[outputs.size() / 2], std::exp(5.02), 5);
  EXPECT_LE(prompts.back(), std::exp(6.63 + 3.0902 * 0.99) + 1) << "cut at the 99.9th percentile";
  EXPECT_GE(prompts.front(), 1);
}

TEST(WorkloadTest, GroupsHaveTheirShares) {
  WorkloadSpec spec = Spec(100, 1);
  spec.groups = {{.share = 1, .priority = request::Priority::kHigh, .tenant = "a"},
                 {.share = 3, .priority = request::Priority::kLow, .tenant = "b"}};
  int64_t high = 0, all = 0;
  for (const Call& call : DrawCalls(spec, 1)) {
    EXPECT_EQ(call.tenant, call.priority == request::Priority::kHigh ? "a" : "b");
    high += call.priority == request::Priority::kHigh;
    ++all;
  }
  EXPECT_NEAR(static_cast<double>(high) / static_cast<double>(all), 0.25, 0.02);
}

TEST(WorkloadTest, TheSameSeedGivesTheSameCalls) {
  const std::vector<Call> one = DrawCalls(Spec(20, 1), 7), two = DrawCalls(Spec(20, 1), 7);
  ASSERT_EQ(one.size(), two.size());
  EXPECT_EQ(one.back().arrival, two.back().arrival);
  EXPECT_EQ(one.back().prompt_tokens, two.back().prompt_tokens);
  EXPECT_NE(DrawCalls(Spec(20, 1), 8).back().arrival, one.back().arrival);
}

TEST(WorkloadTest, UnknownLengthsNameWhatThereIs) {
  EXPECT_THAT(FindLengths("tweets").status().ToString(), ::testing::HasSubstr("azure-conversation"));
}

}  // namespace
}  // namespace hadal::sim
