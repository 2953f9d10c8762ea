// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/pipeline_metrics.h"

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;

absl::Time At(int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

TEST(PipelineMetricsTest, StagesAndLinksOfAStepAreCountedByName) {
  base::MetricRegistry registry;
  PipelineMetrics metrics(&registry, {"a:7000", "b:7000"});
  metrics.RecordStep(At(0), At(100), {{20'000, 75'000, 500}, {30'000, 40'000, 300}, {35'000, 0, 0}});
  EXPECT_NEAR(metrics.stage.At(0).Sum(), 0.020, 1e-9);
  EXPECT_NEAR(metrics.stage.At(1).Sum(), 0.030, 1e-9);
  EXPECT_NEAR(metrics.stage.At(2).Sum(), 0.035, 1e-9);
  EXPECT_NEAR(metrics.wait.At(0).Sum(), 0.075, 1e-9);
  EXPECT_NEAR(metrics.wait.At(1).Sum(), 0.040, 1e-9);
  EXPECT_EQ(metrics.sent_bytes.At(1).Value(), 300u);
  const std::string text = registry.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_pipeline_stage_seconds_count{stage=\"server\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_pipeline_stage_seconds_count{stage=\"b:7000\"} 1\n"));
}

TEST(PipelineMetricsTest, PeriodsAddUpToTheTimeInWhichStepsWereUnderWay) {
  PipelineMetrics metrics(nullptr, {"a:7000"});
  const std::vector<PartFacts> facts = {{50'000, 50'000, 1}, {50'000, 0, 0}};
  metrics.RecordStep(At(0), At(100), facts);
  metrics.RecordStep(At(50), At(150), facts);   // begun while the first was with the worker
  metrics.RecordStep(At(400), At(500), facts);  // after a while without work
  EXPECT_NEAR(metrics.period.Get().Sum(), 0.250, 1e-9);
  EXPECT_NEAR(metrics.stage.At(0).Sum(), 0.150, 1e-9);
}

// How many there are is the worker's to say.
TEST(PipelineMetricsTest, FactsOfNoStageArePassedOver) {
  PipelineMetrics metrics(nullptr, {"a:7000"});
  metrics.RecordStep(At(0), At(100), {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}});
  EXPECT_EQ(metrics.sent_bytes.At(0).Value(), 1u);
}

}  // namespace
}  // namespace hadal::pipeline
