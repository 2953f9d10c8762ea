// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace hadal::bench {
namespace {

std::vector<double> Gaps(const std::vector<double>& arrivals) {
  std::vector<double> gaps;
  for (size_t i = 1; i < arrivals.size(); ++i) gaps.push_back(arrivals[i] - arrivals[i - 1]);
  return gaps;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double VariationOf(const std::vector<double>& values) {
  const double mean = Mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size())) / mean;
}

TEST(ArrivalsTest, PoissonHasTheRateAndVariationOne) {
  const auto arrivals = DrawArrivals({.kind = ArrivalKind::kPoisson, .seed = 7}, RateProfile::Constant(100, 1000));
  EXPECT_NEAR(static_cast<double>(arrivals.size()), 100'000, 4 * std::sqrt(100'000));
  EXPECT_NEAR(VariationOf(Gaps(arrivals)), 1, 0.02);
  EXPECT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end()));
}

TEST(ArrivalsTest, GammaHasTheVariationAskedFor) {
  const auto arrivals =
      DrawArrivals({.kind = ArrivalKind::kGamma, .cv = 13, .seed = 3}, RateProfile::Constant(100, 40'000));
  EXPECT_NEAR(VariationOf(Gaps(arrivals)), 13, 0.6);
  EXPECT_NEAR(static_cast<double>(arrivals.size()) / 4e6, 1, 4 * 13 / std::sqrt(4e6));
}

// From an arrival on a run of 300 would have 384.
TEST(ArrivalsTest, ShortRunsOfBurstsHaveTheRateOnAverage) {
  constexpr int kRuns = 4000;
  double start = 0, arrival = 0, first_half = 0;
  for (uint64_t seed = 0; seed < kRuns; ++seed) {
    ArrivalOptions options{.kind = ArrivalKind::kGamma, .cv = 13, .seed = seed};
    const auto arrivals = DrawArrivals(options, RateProfile::Constant(30, 10));
    start += static_cast<double>(arrivals.size()) / kRuns;
    first_half +=
        static_cast<double>(std::lower_bound(arrivals.begin(), arrivals.end(), 5.0) - arrivals.begin()) / kRuns;
    options.from_arrival = true;
    arrival += static_cast<double>(DrawArrivals(options, RateProfile::Constant(30, 10)).size()) / kRuns;
  }
  EXPECT_NEAR(start, 300, 4 * 13 * std::sqrt(300.0 / kRuns));
  EXPECT_NEAR(first_half, 150, 4 * 13 * std::sqrt(150.0 / kRuns));
  EXPECT_NEAR(arrival, 384, 4 * 13 * std::sqrt(384.0 / kRuns));
}

TEST(ArrivalsTest, ConstantIsAMetronome) {
  EXPECT_THAT(DrawArrivals({.kind = ArrivalKind::kConstant}, RateProfile::Constant(2, 2)),
              testing::ElementsAre(0.5, 1.0, 1.5));
}

TEST(ArrivalsTest, TheSeedDecidesEverything) {
  const RateProfile profile = RateProfile::Constant(10, 100);
  EXPECT_EQ(DrawArrivals({.seed = 5}, profile), DrawArrivals({.seed = 5}, profile));
  EXPECT_NE(DrawArrivals({.seed = 5}, profile), DrawArrivals({.seed = 6}, profile));
}

TEST(ArrivalsTest, AStepChangesTheRateAtItsSecond) {
  const auto profile = RateProfile::Parse("70,200@300,70@400", 700);
  ASSERT_TRUE(profile.ok()) << profile.status();
  const auto arrivals = DrawArrivals({.seed = 11}, *profile);
  const auto between = [&](double from, double to) {
    return static_cast<double>(std::lower_bound(arrivals.begin(), arrivals.end(), to) -
                               std::lower_bound(arrivals.begin(), arrivals.end(), from));
  };
  EXPECT_NEAR(between(0, 300), 21'000, 4 * std::sqrt(21'000));
  EXPECT_NEAR(between(300, 400), 20'000, 4 * std::sqrt(20'000));
  EXPECT_NEAR(between(400, 700), 21'000, 4 * std::sqrt(21'000));
  EXPECT_DOUBLE_EQ(profile->RateAt(350), 200);
}

TEST(ArrivalsTest, ARampRisesEvenly) {
  const auto profile = RateProfile::Parse("0..100", 100);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_DOUBLE_EQ(profile->Cumulative(100), 5000);
  EXPECT_DOUBLE_EQ(profile->Cumulative(50), 1250);
  for (const double count : {1.0, 1250.0, 4999.0}) {
    EXPECT_NEAR(profile->Cumulative(profile->InverseCumulative(count)), count, 1e-6);
  }
  const auto arrivals = DrawArrivals({.kind = ArrivalKind::kConstant}, *profile);
  EXPECT_NEAR(static_cast<double>(std::lower_bound(arrivals.begin(), arrivals.end(), 50.0) - arrivals.begin()), 1250,
              1);
}

TEST(ArrivalsTest, APieceWithoutRateHasNoArrivals) {
  const auto profile = RateProfile::Parse("10,0@5,10@8", 10);
  ASSERT_TRUE(profile.ok()) << profile.status();
  for (const double at : DrawArrivals({.seed = 2}, *profile)) EXPECT_TRUE(at < 5 || at >= 8) << at;
}

TEST(RateProfileTest, RefusesWhatIsNoRate) {
  for (const char* text :
       {"", "x", "-1", "1e9", "0", "5,6", "5@3", "5,6@x", "5,6@20", "5,6@4,7@3", "1..", "..2", "0..0", "5,"}) {
    const auto profile = RateProfile::Parse(text, 10);
    EXPECT_FALSE(profile.ok()) << text;
    EXPECT_THAT(std::string(profile.status().message()), testing::HasSubstr("found '" + std::string(text) + "'"));
  }
}

}  // namespace
}  // namespace hadal::bench
