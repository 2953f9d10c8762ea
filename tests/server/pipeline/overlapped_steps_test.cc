// SPDX-License-Identifier: Apache-2.0
// Steps of different sequences that are under way at the same time, each with another host.
#include <algorithm>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/pipeline/worker_fixture.h"

namespace hadal::pipeline {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;

constexpr int32_t kSequences = 4;
constexpr int32_t kTokens = 6;

class OverlappedStepsTest : public testing::WorkerTest {
 protected:
  // The prompt of a sequence, and then one token more of it in each step.
  static models::StepInput StepOf(const models::Model& model, int32_t sequence, int32_t step) {
    models::testing::StepBuilder builder(16, 2, model.kv_layout().window_tokens > 0);
    if (step == 0) {
      builder.Add(sequence, 0, {1 + sequence, 2, 3, 5});
    } else {
      builder.Add(sequence, 3 + step, {7 + sequence + step});
    }
    builder.Sample().top_logprobs = 5;
    return builder.Take();
  }

  // What each sequence is told in each of its steps, with up to `in_flight` steps at a time.
  static std::vector<std::vector<float>> Answers(models::Model& model, int in_flight) {
    const bool windowed = model.kv_layout().window_tokens > 0;
    EXPECT_TRUE(model.AllocateKvCache({2 * kSequences, 16, windowed ? 2 * kSequences : 0}).ok());
    std::vector<std::vector<float>> answers(kSequences);
    std::vector<std::pair<int32_t, models::StepHandle>> steps;
    const auto finish = [&] {
      const auto [sequence, handle] = steps.front();
      steps.erase(steps.begin());
      const auto output = model.Wait(handle);
      EXPECT_TRUE(output.ok()) << output.status();
      if (!output.ok()) return;
      for (const models::TokenLogprob& top : output->samples[0].top) {
        answers[sequence].push_back(static_cast<float>(top.token_id));
        answers[sequence].push_back(top.logprob);
      }
    };
    for (int32_t step = 0; step < kTokens; ++step) {
      for (int32_t sequence = 0; sequence < kSequences; ++sequence) {
        if (static_cast<int>(steps.size()) == in_flight) finish();
        const auto handle = model.Launch(StepOf(model, sequence, step));
        EXPECT_TRUE(handle.ok()) << handle.status();
        if (handle.ok()) steps.emplace_back(sequence, *handle);
      }
    }
    while (!steps.empty()) finish();
    return answers;
  }
};

TEST_F(OverlappedStepsTest, EveryFamilyGivesWhatOneHostGives) {
  const auto first = Start(), second = Start();
  for (const models::testing::TinyFamily& tiny : models::testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    std::ofstream(folder_ / "config.json") << tiny.config;
    auto whole = models::LoadModel(Load());
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_EQ((*whole)->overlapped_steps(), 1);
    const std::vector<std::vector<float>> expected = Answers(**whole, 1);
    const int64_t layers = config::ParseModelConfig(tiny.config)->layers;
    std::vector<const Worker*> workers = {first.get(), second.get()};
    if (layers < 3) workers.pop_back();
    // The first layer of the windowed family keeps nothing beyond its window.
    counts_ = (*whole)->kv_layout().window_tokens > 0 ? std::vector<int64_t>{layers - 2, 1, 1} : std::vector<int64_t>();
    auto model = Lead(workers);
    ASSERT_TRUE(model.ok()) << model.status();
    const int hosts = static_cast<int>(workers.size()) + 1;
    EXPECT_EQ((*model)->overlapped_steps(), hosts);
    EXPECT_EQ(Answers(**model, hosts), expected);
    for (int i = 0; i < hosts; ++i) {
      const std::vector<uint64_t> counts = metrics_->stage.At(i).BucketCounts();
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), uint64_t{0}), uint64_t{kSequences} * kTokens) << i;
    }
  }
}

TEST_F(OverlappedStepsTest, OneStepAtATimeCanBeAskedFor) {
  const auto worker = Start();
  steps_ = 1;
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->overlapped_steps(), 1);
  EXPECT_EQ((*model)->max_steps_in_flight(), 2);  // the second is fed, and begins when the first has ended
}

TEST_F(OverlappedStepsTest, ATokenThatIsNotKnownIsRefused) {
  const auto worker = Start();
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_TRUE((*model)->AllocateKvCache({8, 16, 0}).ok());
  const auto first = (*model)->Launch(StepOf(**model, 0, 0));
  ASSERT_TRUE(first.ok()) << first.status();
  models::StepInput fed = StepOf(**model, 0, 1);
  fed.token_ids[0] = models::FedToken(0);
  EXPECT_EQ((*model)->Launch(fed).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE((*model)->Wait(*first).ok());
}

TEST_F(OverlappedStepsTest, NoMoreStepsThanWereAskedForAreUnderWay) {
  const auto worker = Start();
  steps_ = 3;
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_TRUE((*model)->AllocateKvCache({8, 16, 0}).ok());
  std::vector<models::StepHandle> steps;
  for (int32_t sequence = 0; sequence < 3; ++sequence) {
    steps.push_back((*model)->Launch(StepOf(**model, sequence, 0)).value());
  }
  const absl::Status status = (*model)->Launch(StepOf(**model, 3, 0)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 steps are in flight, limit 3"));
  for (const models::StepHandle step : steps) EXPECT_TRUE((*model)->Wait(step).ok());
}

TEST_F(OverlappedStepsTest, ALostWorkerFailsAllStepsThatAreUnderWay) {
  auto first = Start(), second = Start();
  auto model = Lead({first.get(), second.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(Answers(**model, 3).front().empty());
  const std::string lost = absl::StrCat("worker 127.0.0.1:", second->port());
  second.reset();
  EXPECT_TRUE(Eventually([&] { return failures_.load() == 1; }));
  std::vector<models::StepHandle> steps;
  for (int32_t sequence = 0; sequence < 3; ++sequence) {
    steps.push_back((*model)->Launch(StepOf(**model, sequence, 0)).value());
  }
  for (const models::StepHandle step : steps) {
    const absl::Status status = (*model)->Wait(step).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()), HasSubstr(lost));
  }
  EXPECT_TRUE(Eventually([&] { return !first->busy(); }));
}

// A leader that goes while its steps are with the workers: they forward what comes, find nobody, and are free.
TEST_F(OverlappedStepsTest, ALeaderThatGoesInTheMiddleFreesItsWorkers) {
  const auto first = Start(), second = Start();
  for (int round = 0; round < 5; ++round) {
    auto model = Lead({first.get(), second.get()});
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE((*model)->AllocateKvCache({8, 16, 0}).ok());
    for (int32_t sequence = 0; sequence < 3; ++sequence) {
      ASSERT_TRUE((*model)->Launch(StepOf(**model, sequence, 0)).ok());
    }
    model->reset();
    EXPECT_TRUE(Eventually([&] { return !first->busy() && !second->busy(); }));
  }
}

}  // namespace
}  // namespace hadal::pipeline
