// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

namespace hadal::bench {
namespace {

using Json = nlohmann::ordered_json;

// A result with `runs` runs whose metric and windows scatter around `mean`.
Json Result(double mean, double spread, int runs, uint64_t seed, const char* mode = "run") {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(mean, spread);
  Json file = {{"name", "hadal_bench"},
               {"schema", 1},
               {"mode", mode},
               {"machine", {{"cpu", "x"}}},
               {"settings", {{"rate", "5"}, {"url", "a"}}},
               {"metrics", {{"capacity_requests_per_s", mean}}}};
  for (int i = 0; i < runs; ++i) {
    Json windows = Json::array();
    for (int second = 0; second < 62; ++second) {
      const bool outside = second < 2;  // of the warm-up: must not count
      windows.push_back({{"from_s", second},
                         {"served", outside ? 1e6 : normal(random)},
                         {"good_tokens", nullptr},
                         {"output_tokens", nullptr},
                         {"ttft_p50_s", nullptr},
                         {"ttft_p99_s", nullptr},
                         {"tpot_p50_s", nullptr},
                         {"e2e_p50_s", nullptr}});
    }
    file["runs"].push_back({{"metrics", {{"ttft_p50_s", normal(random)}}},
                            {"warmup", {{"seconds", 2.0}}},
                            {"measured_s", 60.0},
                            {"windows", windows}});
  }
  return file;
}

const Difference& Find(const Comparison& comparison, const std::string& metric) {
  for (const Difference& one : comparison.differences) {
    if (one.metric.find(metric) == 0) return one;
  }
  ADD_FAILURE() << metric;
  return comparison.differences.front();
}

TEST(CompareTest, TheIntervalCoversTheTruthAsOftenAsItSays) {
  int covered = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(0, 1);
    std::vector<double> a, b;
    for (int i = 0; i < 30; ++i) {
      a.push_back(100 + 10 * normal(random));
      b.push_back(110 + 10 * normal(random));
    }
    const Difference difference = ChangeOfMeans("m", a, b);
    covered += difference.low <= 0.10 && 0.10 <= difference.high ? 1 : 0;
  }
  EXPECT_GE(covered, 178);  // 95 % of 200, less four standard deviations
  EXPECT_LE(covered, 199);
}

// Shares of 1,000 pairs of results called different, `runs` runs a side with a spread of 2 %.
double CalledDifferent(int runs, double change) {
  int called = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(1, 0.02);
    std::vector<double> a, b;
    for (int i = 0; i < runs; ++i) {
      a.push_back(normal(random));
      b.push_back((1 + change) * normal(random));
    }
    called += ChangeOfMeans("m", a, b).real() ? 1 : 0;
  }
  return called / 1000.0;
}

TEST(CompareTest, EqualServersAreCalledDifferentAsRarelyAsItSays) {
  for (const int runs : {3, 4, 5, 10}) EXPECT_LE(CalledDifferent(runs, 0), 0.078) << runs;  // 5 % and four deviations
  EXPECT_GE(CalledDifferent(10, 0), 0.022);
}

TEST(CompareTest, ADifferenceOf5PercentIsFound) {
  EXPECT_GE(CalledDifferent(5, 0.05), 0.85);
  EXPECT_GE(CalledDifferent(3, 0.10), 0.85);
}

// Five runs whose load moves their figures by 30 %, and a server that is 5 % slower under any load.
TEST(CompareTest, RunsOfTheSameLoadsAreComparedInPairs) {
  Json a = Result(1, 0.01, 5, 1), b = Result(1, 0.01, 5, 2);
  const double load[] = {0.7, 1.3, 0.8, 1.0, 1.2};
  for (size_t i = 0; i < 5; ++i) {
    a["runs"][i]["metrics"]["ttft_p50_s"] = load[i];
    b["runs"][i]["metrics"]["ttft_p50_s"] = load[i] * 1.05 + (i % 2 == 0 ? 0.004 : -0.004);
  }
  const auto apart = CompareResults(a, b);
  EXPECT_FALSE(Find(*apart, "ttft_p50_s").real());
  for (Json* const file : {&a, &b}) {
    for (const char* flag : {"arrivals", "cv", "trace", "trace-speed", "duration", "warmup", "seed", "lengths",
                             "length-scale", "max-prompt-tokens", "max-output-tokens"}) {
      (*file)["settings"][flag] = "1";
    }
  }
  const auto pairs = CompareResults(a, b);
  EXPECT_TRUE(Find(*pairs, "ttft_p50_s").real());
  EXPECT_THAT(pairs->method, testing::HasSubstr("t of pairs"));
  b["settings"]["seed"] = "2";
  EXPECT_FALSE(Find(*CompareResults(a, b), "ttft_p50_s").real());

  int called = 0;  // equal servers in pairs
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(0, 0.02);
    std::vector<double> one, other;
    for (const double mean : load) {
      one.push_back(mean + normal(random));
      other.push_back(mean + normal(random));
    }
    called += ChangeOfMeans("m", one, other, true).real() ? 1 : 0;
  }
  EXPECT_LE(called, 78);
  EXPECT_GE(called, 22);
}

TEST(CompareTest, AChangeFromZeroIsNoChangeOfZero) {
  const Comparison comparison{
      .method = "m", .differences = {ChangeOfMeans("failed_ratio", {0, 0, 0}, {0.5, 0.4, 0.6})}, .warnings = {}};
  EXPECT_THAT(ComparisonText(comparison), testing::HasSubstr("from 0"));
  EXPECT_THAT(ComparisonText(comparison), testing::Not(testing::HasSubstr("+0.0%")));
}

TEST(CompareTest, SeesADifferenceOverRuns) {
  const auto comparison = CompareResults(Result(1.0, 0.02, 5, 1), Result(1.2, 0.02, 5, 2));
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  const Difference& ttft = Find(*comparison, "ttft_p50_s");
  EXPECT_NEAR(ttft.change, 0.2, 0.05);
  EXPECT_TRUE(ttft.real());
  EXPECT_THAT(comparison->method, testing::HasSubstr("over 5 and 5 runs"));
  EXPECT_THAT(ComparisonText(*comparison), testing::HasSubstr("*"));
}

TEST(CompareTest, OneRunEachIsComparedByItsWindows) {
  const auto comparison =
      CompareResults(Result(50, 5, 1, 1), Result(50, 5, 1, 3));  // one pair of seeds in twenty differs by chance
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  const Difference& served = Find(*comparison, "served requests a second");
  EXPECT_NEAR(served.a, 50, 3);  // without the warm-up
  EXPECT_TRUE(served.has_interval);
  EXPECT_FALSE(served.real());
  EXPECT_FALSE(Find(*comparison, "ttft_p50_s").has_interval);
  EXPECT_THAT(comparison->method, testing::HasSubstr("noise between runs is not in them"));
}

TEST(CompareTest, WarnsOfDifferentLoads) {
  Json other = Result(1, 0.1, 1, 2);
  other["settings"]["rate"] = "9";
  other["settings"]["url"] = "b";
  const auto comparison = CompareResults(Result(1, 0.1, 1, 1), other);
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(comparison->warnings, testing::ElementsAre(testing::HasSubstr("--rate differs")));
}

TEST(CompareTest, CurvesHaveNoIntervals) {
  const auto comparison = CompareResults(Result(10, 1, 4, 1, "sweep"), Result(20, 1, 4, 1, "sweep"));
  ASSERT_TRUE(comparison.ok());
  ASSERT_EQ(comparison->differences.size(), 1u);
  EXPECT_DOUBLE_EQ(comparison->differences[0].change, 1);
  EXPECT_FALSE(comparison->differences[0].has_interval);
}

TEST(CompareTest, RefusesOtherFiles) {
  const Json good = Result(1, 0.1, 1, 1);
  EXPECT_THAT(std::string(CompareResults(Json::array(), good).status().message()),
              testing::HasSubstr("the first file"));
  EXPECT_THAT(std::string(CompareResults(good, {{"name", "startup"}}).status().message()),
              testing::HasSubstr("the second file"));
  EXPECT_EQ(ChangeOfMeans("m", {0, 0}, {1, 2}).has_interval, false);  // no change of nothing
}

}  // namespace
}  // namespace hadal::bench
