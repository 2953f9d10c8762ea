// SPDX-License-Identifier: Apache-2.0
#include "server/engine/engine_metrics.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::MetricValue;
using request::Priority;
using ::testing::HasSubstr;

// A loop whose observer is the real one; the fixture's own loop is replaced.
struct Metered : LoopFixture {
  explicit Metered(AsyncScheduling async_scheduling = AsyncScheduling::kOff)
      : LoopFixture({.max_batch_size = 2, .max_batch_tokens = 16, .async_scheduling = async_scheduling}),
        counting(&metrics) {
    loop.reset();
    options.observer = &counting;
    loop = std::make_unique<StepLoop>(options, &model, admission.controller.get(), 0, wake, published);
  }
  base::MetricRegistry metrics;
  EngineMetrics counting;
};

TEST(EngineMetricsTest, CountsWhatHappenedToRequests) {
  Metered f;
  f.Submit(LoopFixture::Prompt(9), 5, Priority::kHigh);
  f.RunUntilIdle();
  f.Submit(LoopFixture::Prompt(9), 5);
  f.RunUntilIdle();
  auto cancelled = f.Submit(LoopFixture::Prompt(4, 7), 500);
  // Its prompt goes in small steps, because a more urgent request came lately.
  for (int i = 0; i < 4; ++i) f.Round();
  cancelled->Cancel();
  f.RunUntilIdle();
  const std::string text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_prompt_tokens_total 22\n"));
  EXPECT_THAT(text, HasSubstr("hadal_prefix_cache_hit_tokens_total 8\n"));
  EXPECT_THAT(text, HasSubstr("hadal_cancellations_total{stage=\"running\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_cancellations_total{stage=\"queue\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_count{class=\"high\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_queue_time_seconds_count{class=\"normal\"} 2\n"));
  EXPECT_GT(MetricValue(f.metrics, "hadal_generation_tokens_total"), 10);
  EXPECT_GT(MetricValue(f.metrics, "hadal_wasted_tokens_total{cause=\"cancelled\"}"), 0);
}

TEST(EngineMetricsTest, CountsRowsThatWereLaunchedForNothing) {
  Metered f(AsyncScheduling::kOn);
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 50);
  request->stop_token_ids = {f.Expected(LoopFixture::Prompt(9), 4).back()};
  f.Submit(std::move(request));
  f.RunUntilIdle();
  EXPECT_EQ(MetricValue(f.metrics, "hadal_discarded_rows_total"), 1);
}

TEST(EngineMetricsTest, LevelsMirrorWhatIsHeld) {
  Metered f;
  for (int i = 0; i < 3; ++i) f.Submit(LoopFixture::Prompt(9, i), 50);
  f.Round();
  f.Round();
  std::string text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 2\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_blocks{state=\"leased\"} 6\n"));
  f.RunUntilIdle();
  text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_cache_usage_ratio 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_blocks{state=\"leased\"} 0\n"));
}

}  // namespace
}  // namespace hadal::engine
