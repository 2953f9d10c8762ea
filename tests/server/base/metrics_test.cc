// SPDX-License-Identifier: Apache-2.0
#include "server/base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/metric_value.h"

namespace hadal::base {
namespace {

using hadal::testing::MetricValue;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, DeclaredSeriesExistAsZeroFromTheStart) {
  MetricRegistry registry;
  Family<Gauge> plain(&registry, {"x_level", "A level."});
  Family<Counter> labelled(&registry, {.name = "x_total",
                                       .help = "Events.",
                                       .labels = {"class", "reason"},
                                       .series = {{"high", "FULL"}, {"low", "FULL"}}});
  Family<Histogram> empty(&registry, {.name = "x_seconds", .help = "Times.", .labels = {"class"}});
  EXPECT_EQ(registry.Expose(),
            "# HELP x_level A level.\n# TYPE x_level gauge\nx_level 0\n"
            "# HELP x_total Events.\n# TYPE x_total counter\n"
            "x_total{class=\"high\",reason=\"FULL\"} 0\nx_total{class=\"low\",reason=\"FULL\"} 0\n"
            "# HELP x_seconds Times.\n# TYPE x_seconds histogram\n");
}

TEST(MetricsTest, DeclaredSeriesAreReachedByIndex) {
  MetricRegistry registry;
  Family<Counter> family(&registry, {.name = "x_total", .help = "", .labels = {"class"}, .series = {{"z"}, {"a"}}});
  family.At(0).Increment(3);
  family.At(1).Increment();
  EXPECT_EQ(MetricValue(registry, "x_total{class=\"z\"}"), 3);
  EXPECT_EQ(&family.At(1), &family.With({"a"}));
}

TEST(MetricsTest, CountersFromManyThreadsAddUp) {
  Family<Counter> family(nullptr, {"x_total", ""});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10000; ++j) family.Get().Increment();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(family.Get().Value(), 40000u);
}

TEST(MetricsTest, HistogramBucketsAreCumulativeAndBoundsInclusive) {
  static constexpr double kBounds[] = {1, 2, 4};
  MetricRegistry registry;
  Family<Histogram> family(&registry, {.name = "x_tokens", .help = "", .buckets = kBounds});
  family.Get().Observe(1);
  family.Get().Observe(3);
  family.Get().Observe(1e9);
  const std::string text = registry.Expose();
  EXPECT_THAT(text, HasSubstr("x_tokens_bucket{le=\"1\"} 1"));
  EXPECT_THAT(text, HasSubstr("x_tokens_bucket{le=\"4\"} 2"));
  EXPECT_THAT(text, HasSubstr("x_tokens_bucket{le=\"+Inf\"} 3"));
  EXPECT_THAT(text, HasSubstr("x_tokens_count 3"));
}

TEST(MetricsTest, LabelValuesFromClientsAreBounded) {
  MetricRegistry registry;
  Family<Counter> family(&registry, {.name = "x_total", .help = "", .labels = {"tenant"}, .max_series = 3});
  for (int i = 0; i < 100; ++i) family.With({std::to_string(i)}).Increment();
  EXPECT_EQ(MetricValue(registry, "x_total{tenant=\"2\"}"), 1);
  EXPECT_EQ(MetricValue(registry, "x_total{tenant=\"other\"}"), 97);
  EXPECT_THAT(registry.Expose(), Not(HasSubstr("tenant=\"3\"")));
}

TEST(MetricsTest, CollectorsRunBeforeAScrapeUntilTheyEnd) {
  MetricRegistry registry;
  Family<Gauge> family(&registry, {"x_level", ""});
  double level = 7;
  {
    const MetricCollector collector(&registry, [&] { family.Get().Set(level); });
    EXPECT_EQ(MetricValue(registry, "x_level"), 7);
    level = 8;
    EXPECT_EQ(MetricValue(registry, "x_level"), 8);
  }
  level = 9;
  EXPECT_EQ(MetricValue(registry, "x_level"), 8);
}

TEST(MetricsTest, FamiliesLeaveTheRegistryWithTheirOwner) {
  MetricRegistry registry;
  { const Family<Gauge> family(&registry, {"x_level", ""}); }
  EXPECT_EQ(registry.Expose(), "");
  const Family<Gauge> again(&registry, {"x_level", ""});
  EXPECT_DEATH(Family<Counter>(&registry, {"x_level", ""}), "two metrics are called x_level");
}

TEST(MetricsTest, ScrapesAndOwnersMayComeAndGoOnDifferentThreads) {
  MetricRegistry registry;
  std::atomic<bool> done{false};
  std::thread scraper([&] {
    while (!done.load()) registry.Expose();
  });
  for (int i = 0; i < 300; ++i) {
    Family<Gauge> family(&registry, {"x_level", ""});
    const MetricCollector collector(&registry, [&] { family.Get().Set(i); });
    EXPECT_EQ(MetricValue(registry, "x_level"), i);
  }
  done.store(true);
  scraper.join();
}

TEST(MetricsTest, AnAliasShowsTheFamilyUnderAnotherNameAndWithLabelsOfItsOwn) {
  MetricRegistry registry;
  registry.AddAlias({"x_total", "other:x_total", {{"model", "m"}, {"engine", "0"}}});
  registry.AddAlias({"not_there", "other:not_there"});
  Family<Counter> family(&registry, {.name = "x_total", .help = "Events.", .labels = {"class"}, .series = {{"high"}}});
  family.At(0).Increment(3);
  EXPECT_EQ(registry.Expose(),
            "# HELP x_total Events.\n# TYPE x_total counter\nx_total{class=\"high\"} 3\n"
            "# HELP other:x_total Events.\n# TYPE other:x_total counter\n"
            "other:x_total{model=\"m\",engine=\"0\",class=\"high\"} 3\n");
}

TEST(MetricsDeathTest, AnAliasCannotTakeANameThatIsTaken) {
  MetricRegistry registry;
  Family<Gauge> family(&registry, {"x_level", ""});
  EXPECT_DEATH(registry.AddAlias({"x_level", "x_level"}), "two metrics are called x_level");
}

}  // namespace
}  // namespace hadal::base
