// SPDX-License-Identifier: Apache-2.0
#include "server/engine/engine_metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using request::Priority;
using ::testing::HasSubstr;

// A loop whose observer is the real one; the fixture's own loop is replaced.
struct Metered : LoopFixture {
  Metered() : LoopFixture({.max_batch_size = 2, .max_batch_tokens = 16}), counting(&metrics) {
    loop.reset();
    options.observer = &counting;
    loop = std::make_unique<StepLoop>(options, &model, admission.controller.get(), 0, wake, published);
  }
  EngineSnapshot Snapshot() const {
    EngineSnapshot snapshot;
    snapshot.running = published->running;
    snapshot.free_blocks = published->free_blocks;
    snapshot.leased_blocks = published->leased_blocks;
    snapshot.cached_blocks = published->cached_blocks;
    snapshot.total_blocks = published->total_blocks;
    return snapshot;
  }
  base::Metrics metrics;
  EngineMetrics counting;
};

TEST(EngineMetricsTest, CountsWhatHappenedToRequests) {
  Metered f;
  f.Submit(LoopFixture::Prompt(9), 5, Priority::kHigh);
  f.RunUntilIdle();
  f.Submit(LoopFixture::Prompt(9), 5);
  f.RunUntilIdle();
  auto cancelled = f.Submit(LoopFixture::Prompt(4, 7), 500);
  f.Round();
  f.Round();
  cancelled->Cancel();
  f.RunUntilIdle();
  const std::string text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_prompt_tokens_total 22\n"));
  EXPECT_THAT(text, HasSubstr("hadal_prefix_cache_hit_tokens_total 8\n"));
  EXPECT_THAT(text, HasSubstr("hadal_cancellations_total{stage=\"running\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_cancellations_total{stage=\"queue\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_time_to_first_token_seconds_count{class=\"high\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_queue_time_seconds_count{class=\"normal\"} 2\n"));
  EXPECT_GT(f.metrics.generation_tokens.Get().Value(), 10u);
  EXPECT_GT(f.metrics.wasted_tokens.With({"cancelled"}).Value(), 0u);
}

TEST(EngineMetricsTest, LevelsMirrorWhatIsHeld) {
  Metered f;
  for (int i = 0; i < 3; ++i) f.Submit(LoopFixture::Prompt(9, i), 50);
  f.Round();
  f.Round();
  ExportLevels({f.Snapshot()}, f.admission.controller->GetLoad(), f.metrics);
  std::string text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 2\n"));
  EXPECT_THAT(text, HasSubstr("hadal_requests_waiting 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_queue_depth{class=\"normal\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_blocks{state=\"leased\"} 6\n"));
  f.RunUntilIdle();
  ExportLevels({f.Snapshot()}, f.admission.controller->GetLoad(), f.metrics);
  text = f.metrics.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_requests_running 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_cache_usage_ratio 0\n"));
  EXPECT_THAT(text, HasSubstr("hadal_kv_blocks{state=\"leased\"} 0\n"));
}

}  // namespace
}  // namespace hadal::engine
