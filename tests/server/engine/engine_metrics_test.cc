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
  explicit Metered(AsyncScheduling async_scheduling = AsyncScheduling::kOff,
                   absl::Duration wait_limit = absl::InfiniteDuration())
      : LoopFixture({.max_batch_size = 2,
                     .max_batch_tokens = 16,
                     .wait_limit = wait_limit,
                     .async_scheduling = async_scheduling}),
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

TEST(EngineMetricsTest, OnlyWhatWasAnsweredWholeAndInTimeIsGoodput) {
  Metered f;
  const std::string good = R"(hadal_goodput_tokens_total{class="high",length_class="256"})";
  const auto submit = [&](int32_t first, absl::Duration first_token_within) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(40, first), 5, Priority::kHigh);
    request->first_token_by = f.admission.clock.Now() + first_token_within;
    return f.Submit(std::move(request));
  };
  submit(1, absl::Seconds(10));
  f.RunUntilIdle();
  EXPECT_EQ(MetricValue(f.metrics, good), 45);
  const auto late = submit(2, absl::Milliseconds(500));
  f.Round();
  f.admission.clock.Advance(absl::Seconds(1));
  EXPECT_OK(f.Finish(late).status) << "it began in time, and is answered";
  EXPECT_EQ(MetricValue(f.metrics, good), 45);
  const auto cancelled = submit(3, absl::Seconds(10));
  for (int i = 0; i < 4; ++i) f.Round();
  cancelled->Cancel();
  f.RunUntilIdle();
  EXPECT_EQ(MetricValue(f.metrics, good), 45);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_finished_choices_total{finished_reason="length"})"), 2);
  EXPECT_EQ(MetricValue(f.metrics, R"(hadal_finished_choices_total{finished_reason="abort"})"), 1);
}

TEST(EngineMetricsTest, WhoWaitedLongerThanItsClassMayIsNoGoodput) {
  Metered f(AsyncScheduling::kOff, /*wait_limit=*/absl::Milliseconds(500));
  const std::string good = R"(hadal_goodput_tokens_total{class="normal",length_class="256"})";
  f.Submit(LoopFixture::Prompt(9), 5);
  f.admission.clock.Advance(absl::Milliseconds(400));
  f.RunUntilIdle();
  EXPECT_EQ(MetricValue(f.metrics, good), 14);
  const auto late = f.Submit(LoopFixture::Prompt(9, 2), 5);
  f.admission.clock.Advance(absl::Milliseconds(600));
  EXPECT_OK(f.Finish(late).status);
  EXPECT_EQ(MetricValue(f.metrics, good), 14);
}

TEST(EngineMetricsTest, CountsRowsThatWereLaunchedForNothing) {
  Metered f(AsyncScheduling::kOn);
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 50);
  request->stop_token_ids = {f.Expected(LoopFixture::Prompt(9), 4).back()};
  f.Submit(std::move(request));
  f.RunUntilIdle();
  EXPECT_EQ(MetricValue(f.metrics, "hadal_discarded_rows_total"), 1);
}

TEST(EngineMetricsTest, CountsRowsOfABatchThatRest) {
  Metered f;
  const auto rounds = [&](int count) {
    for (int i = 0; i < count; ++i) {
      f.Round();
      f.admission.clock.Advance(f.model.shapes().back().tokens * absl::Milliseconds(1));
    }
  };
  auto batch = f.Submit(LoopFixture::Prompt(4, 1), 500, Priority::kBatch);
  rounds(20);
  EXPECT_EQ(MetricValue(f.metrics, "hadal_rested_rows_total"), 0);
  auto other = f.Submit(LoopFixture::Prompt(4, 2), 500);
  rounds(50);
  EXPECT_GT(MetricValue(f.metrics, "hadal_rested_rows_total"), 10);
  EXPECT_LT(MetricValue(f.metrics, "hadal_rested_rows_total"), 50);
  batch->Cancel();
  other->Cancel();
  f.RunUntilIdle();
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
