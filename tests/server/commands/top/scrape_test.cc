// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/scrape.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace hadal::top {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Seconds(1000);

Scrape At(int seconds, const std::string& text) { return Scrape::Parse(text, kStart + absl::Seconds(seconds)); }

TEST(ScrapeTest, ReadsNamesLabelsAndValues) {
  const Scrape scrape = At(0,
                           "# HELP a Text with a { brace\n# TYPE a gauge\n"
                           "a 1.5\n"
                           "b{class=\"high\",reason=\"X\"} 2\n"
                           "b{class=\"low\",reason=\"X\"} 3 1700000000000\n"
                           "b{class=\"low\",reason=\"Y, \\\"Z\\\" \\\\ {}\\n\"} 1e3\n"
                           "c +Inf\n"
                           "no_end 7");
  EXPECT_EQ(scrape.Sum("a"), 1.5);
  EXPECT_EQ(scrape.Sum("b"), 1005);
  EXPECT_EQ(scrape.Sum("c"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(scrape.Sum("no_end"), 7);
  EXPECT_EQ(scrape.Sum("nothing"), 0);
  EXPECT_EQ(scrape.By("b", "class"), (std::map<std::string, double>{{"high", 2}, {"low", 1003}}));
  EXPECT_EQ(scrape.By("b", "reason"), (std::map<std::string, double>{{"X", 5}, {"Y, \"Z\" \\ {}\n", 1000}}));
  EXPECT_TRUE(scrape.By("a", "class").empty());
}

TEST(ScrapeTest, WhatIsNoSampleIsPassedOver) {
  const Scrape scrape = At(0, "\n\na\nb{\nb{x} 1\nb{x=\"1} 1\nb{x=\"1\" 1\nb{x=\"1\"}1\nb x\n<html>\nb{x=\"1\"} 4\n");
  EXPECT_EQ(scrape.Sum("b"), 4);
  EXPECT_EQ(scrape.All("b").size(), 1u);
}

TEST(ScrapeTest, RatesCountARestartFromZero) {
  EXPECT_EQ(Rate(At(0, "t{a=\"1\"} 10\nt{a=\"2\"} 5\n"), At(2, "t{a=\"1\"} 14\nt{a=\"2\"} 5\n"), "t"), 2);
  EXPECT_EQ(Rate(At(0, "t 100\n"), At(2, "t 6\n"), "t"), 3);
  EXPECT_EQ(Rate(At(0, "t 1\n"), At(0, "t 2\n"), "t"), 0) << "one scrape says nothing of a rate";
}

std::string Histogram(int one, int two, int all, double sum) {
  return "h_bucket{le=\"1\"} " + std::to_string(one) + "\nh_bucket{le=\"2\"} " + std::to_string(two) +
         "\nh_bucket{le=\"+Inf\"} " + std::to_string(all) + "\nh_count " + std::to_string(all) + "\nh_sum " +
         std::to_string(sum) + "\n";
}

TEST(ScrapeTest, QuantilesAreOfWhatCameInBetween) {
  const Scrape before = At(0, Histogram(1000, 1000, 1000, 10)), now = At(1, Histogram(1000, 1010, 1010, 25));
  EXPECT_DOUBLE_EQ(Quantile(before, now, "h", 0.5).value(), 1.5);
  EXPECT_DOUBLE_EQ(Mean(before, now, "h").value(), 1.5);
  EXPECT_EQ(Quantile(now, now, "h", 0.5), std::nullopt);
  EXPECT_EQ(Mean(now, now, "h"), std::nullopt);
  EXPECT_EQ(Quantile(before, now, "other", 0.5), std::nullopt);
  EXPECT_EQ(Quantile(before, At(1, Histogram(1000, 1000, 1004, 50)), "h", 0.5), 2) << "nobody knows how far above";
}

TEST(ScrapeTest, AHistogramThatBeganAgainCountsFromZero) {
  const Scrape before = At(0, Histogram(1000, 1000, 1000, 10)), now = At(1, Histogram(0, 4, 4, 6));
  EXPECT_DOUBLE_EQ(Quantile(before, now, "h", 0.5).value(), 1.5);
  EXPECT_DOUBLE_EQ(Mean(before, now, "h").value(), 1.5);
}

}  // namespace
}  // namespace hadal::top
