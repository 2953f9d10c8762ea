// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/server_metrics.h"

#include <gtest/gtest.h>

#include <limits>

namespace hadal::bench {
namespace {

constexpr char kText[] =
    "# HELP hadal_retry_ghosts_total Refusals that were followed.\n"
    "# TYPE hadal_retry_ghosts_total counter\n"
    "hadal_retry_ghosts_total 40\n"
    "hadal_false_refusals_total 1\n"
    "hadal_retry_tickets_total{outcome=\"issued\"} 90\n"
    "hadal_retry_tickets_total{outcome=\"accepted\"} 70\n"
    "hadal_retry_after_error_ratio_count{side=\"early\"} 12\n"
    "hadal_retry_after_error_ratio_bucket{side=\"early\",le=\"0.1\"} 4\n"
    "hadal_retry_after_error_ratio_bucket{side=\"early\",le=\"0.2\"} 10\n"
    "hadal_retry_after_error_ratio_bucket{side=\"early\",le=\"+Inf\"} 12\n"
    "hadal_retry_after_error_ratio_bucket{side=\"late\",le=\"0.1\"} 2\n"
    "hadal_retry_after_error_ratio_bucket{side=\"late\",le=\"0.2\"} 6\n"
    "hadal_retry_after_error_ratio_bucket{side=\"late\",le=\"+Inf\"} 8\n";

TEST(ServerMetricsTest, ReadsWhatTheServerSaysOfItsRefusals) {
  const auto metrics = ParseServerMetrics(kText);
  ASSERT_TRUE(metrics.has_value());
  EXPECT_EQ(metrics->followed, 40);
  EXPECT_EQ(metrics->false_refusals, 1);
  EXPECT_EQ(metrics->tickets_taken, 70);
  EXPECT_EQ(metrics->estimates(), 20);
  ASSERT_EQ(metrics->errors.size(), 3u);
  EXPECT_EQ(metrics->errors[1].count, 16);
  // Ten of twenty: four of the ten between 0.1 and 0.2.
  EXPECT_NEAR(*metrics->MedianError(), 0.14, 1e-9);
}

TEST(ServerMetricsTest, OtherServersSayNothing) {
  EXPECT_FALSE(ParseServerMetrics("").has_value());
  EXPECT_FALSE(ParseServerMetrics("vllm:num_requests_running 3\n<html>hadal_retry_ghosts_total x\n").has_value());
  EXPECT_FALSE(ParseServerMetrics("hadal_retry_ghosts_total NaN\nhadal_retry_ghosts_total -1\n").has_value());
}

TEST(ServerMetricsTest, OnlyWhatHappenedMeanwhileCounts) {
  const ServerMetrics before = *ParseServerMetrics(kText);
  ServerMetrics after = before;
  after.followed += 10;
  after.false_refusals += 2;
  after.errors[0].count += 1;
  after.errors[1].count += 1;
  after.errors[2].count += 1;
  const auto between = MetricsBetween(before, after);
  ASSERT_TRUE(between.has_value());
  EXPECT_EQ(between->followed, 10);
  EXPECT_EQ(between->false_refusals, 2);
  EXPECT_EQ(between->estimates(), 1);
  EXPECT_NEAR(*between->MedianError(), 0.05, 1e-9);
  EXPECT_FALSE(MetricsBetween(before, before)->MedianError().has_value());
  EXPECT_FALSE(MetricsBetween(after, before).has_value()) << "the server was restarted";
}

TEST(ServerMetricsTest, AMedianAboveAllBoundsIsTheLastOne) {
  ServerMetrics metrics;
  metrics.errors = {{0.5, 1}, {5, 2}, {std::numeric_limits<double>::infinity(), 9}};
  EXPECT_EQ(metrics.MedianError(), 5);
}

}  // namespace
}  // namespace hadal::bench
