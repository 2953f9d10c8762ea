// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/workload.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::sim {
namespace {

WorkloadSpec Spec(double rate) {
  WorkloadSpec spec;
  spec.lengths = *bench::ParseLengthMix("azure-conversation");
  spec.rate = bench::RateProfile::Constant(rate, 500);
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
  const auto [mean, cv] = Gaps(DrawCalls(Spec(100), 1));
  EXPECT_NEAR(mean, 0.01, 0.0002);
  EXPECT_NEAR(cv, 1, 0.05);
}

TEST(WorkloadTest, GammaArrivalsAreBursty) {
  WorkloadSpec spec = Spec(400);
  spec.arrivals = {.kind = bench::ArrivalKind::kGamma, .cv = 4};
  const auto [mean, cv] = Gaps(DrawCalls(spec, 1));
  EXPECT_NEAR(mean, 0.0025, 0.0003);
  EXPECT_NEAR(cv, 4, 0.4);
}

TEST(WorkloadTest, AStepRaisesTheRateWhileItLasts) {
  WorkloadSpec spec = Spec(1);
  spec.rate = *bench::RateProfile::Parse("50,150@100,50@200", 500);
  int64_t before = 0, during = 0;
  for (const Call& call : DrawCalls(spec, 1)) {
    before += call.arrival < absl::Seconds(100);
    during += call.arrival >= absl::Seconds(100) && call.arrival < absl::Seconds(200);
  }
  EXPECT_NEAR(static_cast<double>(during) / static_cast<double>(before), 3, 0.3);
}

TEST(WorkloadTest, LengthsFollowThePublishedDistribution) {
  std::vector<int32_t> prompts, outputs;
  for (const Call& call : DrawCalls(Spec(100), 1)) {
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

TEST(WorkloadTest, BodiesHaveTheBytesOfTheirTokens) {
  for (const Call& call : DrawCalls(Spec(10), 1)) {
    EXPECT_GE(call.body_bytes, static_cast<int64_t>(3.4 * call.prompt_tokens));
    EXPECT_LE(call.body_bytes, 5 * call.prompt_tokens + 120);
  }
}

TEST(WorkloadTest, GroupsHaveTheirShares) {
  WorkloadSpec spec = Spec(100);
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
  const std::vector<Call> one = DrawCalls(Spec(20), 7), two = DrawCalls(Spec(20), 7);
  ASSERT_EQ(one.size(), two.size());
  EXPECT_EQ(one.back().arrival, two.back().arrival);
  EXPECT_EQ(one.back().prompt_tokens, two.back().prompt_tokens);
  EXPECT_NE(DrawCalls(Spec(20), 8).back().arrival, one.back().arrival);
}

}  // namespace
}  // namespace hadal::sim
