// SPDX-License-Identifier: Apache-2.0
//
// Leader and workers of one process over real sockets, with a small model of dummy weights.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/pipeline/leader.h"
#include "server/pipeline/worker.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/step_builder.h"

namespace hadal::pipeline::testing {

inline constexpr char kTestKey[] = "a key that both ends know";
inline constexpr int64_t kBudget = int64_t{1} << 30;

// Waits for what another thread brings about.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  base::Notification never;
  while (!condition()) {
    if (absl::Now() > end) return false;
    never.WaitFor(absl::Milliseconds(1));
  }
  return true;
}

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : folder_(std::filesystem::temp_directory_path() / absl::StrCat("hadal_worker_test_", ::getpid())) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "config.json") << models::testing::kTinyDeepseekV3;
    std::ofstream(folder_ / "key") << kTestKey << "\n";
  }
  ~WorkerTest() override { std::filesystem::remove_all(folder_); }

  models::LoadOptions Load() const {
    models::LoadOptions load;
    load.dir = folder_.string();
    load.device = "cpu";
    load.threads = 1;
    load.max_batch_tokens = 64;
    load.max_batch_size = 4;
    load.load_format = models::LoadFormat::kDummy;
    return load;
  }

  std::unique_ptr<Worker> Start(int64_t budget = kBudget, std::string key = kTestKey,
                                base::MetricRegistry* metrics = nullptr) {
    Worker::Options options = {.host = "127.0.0.1", .port = 0, .session = {}, .on_idle = nullptr, .metrics = metrics};
    options.session = {.load = Load(),
                       .key = std::move(key),
                       .version = "worker's",
                       .patience = absl::Seconds(30),
                       .memory_budget = [budget](const models::ModelInfo&) { return budget; },
                       .log = nullptr};
    auto worker = Worker::Create(std::move(options));
    EXPECT_TRUE(worker.ok()) << worker.status();
    return *std::move(worker);
  }

  absl::StatusOr<std::unique_ptr<models::Model>> Lead(const std::vector<const Worker*>& workers,
                                                      absl::Duration patience = absl::Seconds(30)) {
    PipelineOptions options;
    for (const Worker* worker : workers) options.workers.push_back(absl::StrCat("127.0.0.1:", worker->port()));
    options.layers = counts_;
    options.key_file = (folder_ / "key").string();
    options.patience = patience;
    options.steps = steps_;
    metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
    return LoadPipeline(Load(), options,
                        {.metrics = metrics_.get(),
                         .health = &health_,
                         .on_failure = [this] { failures_.fetch_add(1); },
                         .notice = nullptr,
                         .version = "leader's"},
                        nullptr);
  }

  // The probabilities after a prompt and a token more.
  static std::vector<float> TwoSteps(models::Model& model) {
    const bool windowed = model.kv_layout().window_tokens > 0;
    EXPECT_TRUE(model.AllocateKvCache({8, 16, windowed ? 8 : 0}).ok());
    std::vector<float> values;
    for (const bool decode : {false, true}) {
      models::testing::StepBuilder builder(16, 4, windowed);
      decode ? builder.Add(0, 5, {9}) : builder.Add(0, 0, {1, 2, 3, 5, 8});
      builder.Sample().top_logprobs = 20;
      const auto output = Step(model, builder.Take());
      EXPECT_TRUE(output.ok()) << output.status();
      if (!output.ok()) continue;
      for (const models::TokenLogprob& top : output->samples[0].top) {
        values.push_back(static_cast<float>(top.token_id));
        values.push_back(top.logprob);
      }
    }
    return values;
  }

  static absl::StatusOr<models::StepOutput> Step(models::Model& model, models::StepInput input) {
    const auto handle = model.Launch(std::move(input));
    if (!handle.ok()) return handle.status();
    return model.Wait(*handle);
  }

  static models::StepInput OneToken() {
    models::testing::StepBuilder builder(16, 4);
    builder.Add(1, 0, {1}).Sample();
    return builder.Take();
  }

  const std::filesystem::path folder_;
  std::vector<int64_t> counts_;  // --pipeline-layers
  int32_t steps_ = 0;            // --pipeline-steps
  std::unique_ptr<PipelineMetrics> metrics_;
  PipelineHealth health_;
  std::atomic<int> failures_{0};
};

}  // namespace hadal::pipeline::testing
