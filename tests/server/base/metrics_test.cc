// SPDX-License-Identifier: Apache-2.0
#include "server/base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace hadal::base {
namespace {

using ::testing::HasSubstr;

TEST(MetricsTest, SeriesExistAsZeroFromTheStart) {
  Metrics metrics;
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_requests_waiting 0"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_cache_usage_ratio 0"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "hadal_admission_rejections_total{class=\"high\",length_class=\"256\",reason=\"GPU_MEMORY_EXHAUSTED\"} 0"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_count{class=\"low\"} 0"));
}

TEST(MetricsTest, CountersFromManyThreadsAddUp) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10000; ++j) metrics.generation_tokens.Get().Increment();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.generation_tokens.Get().Value(), 40000u);
}

TEST(MetricsTest, HistogramBucketsAreCumulativeAndBoundsInclusive) {
  Metrics metrics;
  metrics.step_tokens.Get().Observe(1);
  metrics.step_tokens.Get().Observe(3);
  metrics.step_tokens.Get().Observe(1e9);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_step_tokens_bucket{le=\"1\"} 1"));
  EXPECT_THAT(text, HasSubstr("hadal_step_tokens_bucket{le=\"4\"} 2"));
  EXPECT_THAT(text, HasSubstr("hadal_step_tokens_bucket{le=\"+Inf\"} 3"));
  EXPECT_THAT(text, HasSubstr("hadal_step_tokens_count 3"));
}

TEST(MetricsTest, LabelValuesFromClientsAreBounded) {
  Family<Counter> family("x_total", "help", {"tenant"}, {}, 3);
  for (int i = 0; i < 100; ++i) family.With({std::to_string(i)}).Increment();
  int series = 0;
  family.ForEach([&](const LabelValues&, const Counter&) { ++series; });
  EXPECT_EQ(series, 4);
  EXPECT_EQ(family.With({"other"}).Value(), 97u);
}

}  // namespace
}  // namespace hadal::base
