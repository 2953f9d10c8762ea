// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/lengths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

namespace hadal::bench {
namespace {

TEST(LengthsTest, NormalQuantileInvertsTheDistribution) {
  for (const double p : {1e-9, 1e-4, 0.02, 0.1, 0.5, 0.84, 0.99, 0.999, 1 - 1e-7}) {
    const double x = NormalQuantile(p);
    EXPECT_NEAR(0.5 * std::erfc(-x / std::sqrt(2.0)) / p, 1, 1e-8) << p;
  }
  EXPECT_NEAR(NormalQuantile(0.975), 1.959963985, 1e-8);
}

TEST(LengthsTest, QuantilesAreThoseOfTheTruncatedLognormal) {
  const auto lengths = LengthDistribution::Lognormal(6.63, 0.99);
  EXPECT_EQ(lengths.Quantile(0.5 / 0.999), static_cast<int>(std::lround(std::exp(6.63))));
  EXPECT_EQ(lengths.Quantile(0.9 / 0.999), static_cast<int>(std::lround(std::exp(6.63 + 0.99 * 1.2815515655))));
  // Nothing lies beyond p99.9.
  EXPECT_EQ(lengths.Quantile(0.99999999), static_cast<int>(std::lround(std::exp(6.63 + 0.99 * 3.0902323062))));
  EXPECT_GE(lengths.Quantile(0), 1);
}

TEST(LengthsTest, NamedMixesHaveThePublishedMedians) {
  const auto median = [](const char* name) {
    const auto mix = ParseLengthMix(name);
    EXPECT_TRUE(mix.ok()) << mix.status();
    return std::pair(mix->prompt.Quantile(0.5 / 0.999), mix->output.Quantile(0.5 / 0.999));
  };
  EXPECT_EQ(median("azure-conversation"), std::pair(757, 151));
  EXPECT_EQ(median("azure-code"), std::pair(1097, 16));
  EXPECT_EQ(median("mooncake-conversation"), std::pair(6248, 209));
  EXPECT_EQ(median("thinking"), std::pair(200, 1998));
  EXPECT_THAT(ParseLengthMix("thinking")->origin, testing::HasSubstr("own"));
}

// Two kinds of prompts: half of them are short questions, and the mean lies above the median.
TEST(LengthsTest, TheSyntheticMixHasTheQuantilesAndMeansOfItsTrace) {
  const auto mix = ParseLengthMix("mooncake-synthetic");
  ASSERT_TRUE(mix.ok()) << mix.status();
  const std::tuple<double, int, int> published[] = {{0.5, 11587, 69}, {0.9, 38611, 389}, {0.99, 66456, 768}};
  for (const auto& [share, prompt, output] : published) {
    EXPECT_EQ(mix->prompt.Quantile(share), prompt) << share;
    EXPECT_EQ(mix->output.Quantile(share), output) << share;
  }
  constexpr int kDraws = 100'000;
  double prompts = 0, outputs = 0;
  int last = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = (i + 0.5) / kDraws;
    EXPECT_GE(mix->prompt.Quantile(u), last) << u;
    last = mix->prompt.Quantile(u);
    prompts += last;
    outputs += mix->output.Quantile(u);
  }
  EXPECT_NEAR(prompts / kDraws / 15325, 1, 0.05);
  EXPECT_NEAR(outputs / kDraws / 149, 1, 0.05);
  EXPECT_EQ(mix->prompt.Quantile(0), 13);
  EXPECT_LE(mix->prompt.Quantile(0.9999999), 191378);
}

TEST(LengthsTest, FixedLengthsAreFixed) {
  const auto mix = ParseLengthMix("128:64");
  ASSERT_TRUE(mix.ok());
  EXPECT_EQ(mix->prompt.Quantile(0.01), 128);
  EXPECT_EQ(mix->output.Quantile(0.99), 64);
}

TEST(LengthsTest, RefusesOthersAndNamesTheKnown) {
  for (const char* text : {"", "azure", "128", "0:5", "5:0", "1:2:3", "a:b", "-1:3"}) {
    const auto mix = ParseLengthMix(text);
    EXPECT_FALSE(mix.ok()) << text;
    EXPECT_THAT(std::string(mix.status().message()), testing::HasSubstr("azure-conversation"));
  }
}

}  // namespace
}  // namespace hadal::bench
