// SPDX-License-Identifier: Apache-2.0
//
// What a model on several hosts computes, and what a worker says of itself meanwhile.
#include "server/pipeline/worker.h"

#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/pipeline/worker_fixture.h"

namespace hadal::pipeline {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kBudget;
using testing::kTestKey;
using testing::WorkerTest;

TEST_F(WorkerTest, TwoAndThreeHostsGiveWhatOneGives) {
  auto whole = models::LoadModel(Load());
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::vector<float> expected = TwoSteps(**whole);
  const auto first = Start(), second = Start();
  for (const std::vector<const Worker*>& workers :
       std::vector<std::vector<const Worker*>>{{first.get()}, {first.get(), second.get()}}) {
    auto model = Lead(workers);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(TwoSteps(**model), expected);
    for (size_t i = 0; i < workers.size(); ++i) {
      EXPECT_EQ(metrics_->worker_up.At(i).Value(), 1);
      const std::vector<uint64_t> waits = metrics_->wait.At(i).BucketCounts();
      EXPECT_EQ(std::accumulate(waits.begin(), waits.end(), uint64_t{0}), 2u);
      // The state of six tokens, of 72 bf16 values each.
      EXPECT_GT(metrics_->sent_bytes.At(i).Value(), 6u * 144);
    }
    const auto count = [](const base::Histogram& histogram) {
      const std::vector<uint64_t> counts = histogram.BucketCounts();
      return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
    };
    // One host computes at a time: what all are busy is less than the time of the steps, by the ways between them.
    double busy = 0;
    for (size_t i = 0; i <= workers.size(); ++i) {
      EXPECT_EQ(count(metrics_->stage.At(i)), 2u) << i;
      EXPECT_GT(metrics_->stage.At(i).Sum(), 0) << i;
      busy += metrics_->stage.At(i).Sum();
    }
    EXPECT_EQ(count(metrics_->period.Get()), 2u);
    EXPECT_GT(metrics_->period.Get().Sum(), busy);
  }
  EXPECT_EQ(health_.failure(), "");
}

TEST_F(WorkerTest, EveryFamilyGivesWhatOneHostGives) {
  const auto first = Start(), second = Start();
  for (const models::testing::TinyFamily& tiny : models::testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    std::ofstream(folder_ / "config.json") << tiny.config;
    auto whole = models::LoadModel(Load());
    ASSERT_TRUE(whole.ok()) << whole.status();
    const std::vector<float> expected = TwoSteps(**whole);
    const int64_t layers = config::ParseModelConfig(tiny.config)->layers;
    std::vector<const Worker*> workers = {first.get(), second.get()};
    if (layers < 3) workers.pop_back();
    // The first layer of the windowed family keeps nothing beyond its window.
    counts_ = (*whole)->kv_layout().window_tokens > 0 ? std::vector<int64_t>{layers - 2, 1, 1} : std::vector<int64_t>();
    auto model = Lead(workers);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(TwoSteps(**model), expected);
  }
}

TEST_F(WorkerTest, StageAndMetricsFollowTheLeader) {
  base::MetricRegistry registry;
  const auto worker = Start(kBudget, kTestKey, &registry);
  EXPECT_EQ(worker->stage(), Worker::Stage::kWaiting);
  EXPECT_THAT(registry.Expose(), HasSubstr("\nhadal_pipeline_leader_connected 0\n"));
  EXPECT_THAT(registry.Expose(), HasSubstr("\nhadal_pipeline_step_seconds_count 0\n"));
  counts_ = {1, 2};
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(worker->stage(), Worker::Stage::kLoading);  // the caches are not allocated
  const std::string part =
      "\nhadal_pipeline_part_info{layers=\"[1, 3)\",family=\"deepseek_v3\",dtype=\"bfloat16\",device=\"cpu\"} ";
  EXPECT_THAT(registry.Expose(), HasSubstr(part + "1\n"));
  EXPECT_FALSE(TwoSteps(**model).empty());
  EXPECT_EQ(worker->stage(), Worker::Stage::kServing);
  const std::string serving = registry.Expose();
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_leader_connected 1\n"));
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_step_seconds_count 2\n"));
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_leader_wait_seconds_count 2\n"));
  for (const char* name : {"received", "sent"}) {
    const std::string begin = absl::StrCat("\nhadal_pipeline_leader_", name, "_bytes_total ");
    ASSERT_THAT(serving, HasSubstr(begin));
    // The state of six tokens, of 72 bf16 values each; and the probabilities of a sample at least.
    EXPECT_GT(std::stod(serving.substr(serving.find(begin) + begin.size())), name[0] == 'r' ? 6 * 144 : 100);
  }
  model->reset();
  EXPECT_TRUE(Eventually([&] { return worker->stage() == Worker::Stage::kWaiting; }));
  const std::string left = registry.Expose();
  EXPECT_THAT(left, HasSubstr("\nhadal_pipeline_leader_connected 0\n"));
  EXPECT_THAT(left, HasSubstr("\nhadal_pipeline_leaders_total 1\n"));
  EXPECT_THAT(left, HasSubstr(part + "0\n"));
  EXPECT_FALSE(worker->stopping());
  worker->StopListening();
  EXPECT_TRUE(worker->stopping());
}

}  // namespace
}  // namespace hadal::pipeline
