// SPDX-License-Identifier: Apache-2.0
#include "models/model_runner.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "models/network_part.h"
#include "tests/models/fake_network.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using testing::FakeNetwork;
using testing::StepBuilder;

constexpr int32_t kBlockTokens = 4;
constexpr int32_t kBlocksPerSequence = 200;

std::unique_ptr<ModelPart> Part(const ModelInfo& info, std::unique_ptr<Network> network) {
  return std::make_unique<NetworkPart>(info, LayerRange{0, 1}, kernels::CreateReferenceBackend({}), std::move(network),
                                       StepBudget{700, 4, FakeNetwork::WorkspaceBytes});
}

class ModelRunnerTest : public ::testing::Test {
 protected:
  ModelRunnerTest() {
    auto network = std::make_unique<FakeNetwork>();
    network_ = network.get();
    ModelInfo info;
    info.name = "fake";
    info.vocab_size = FakeNetwork::kVocab;
    info.max_model_len = kBlockTokens * kBlocksPerSequence;
    runner_ = std::make_unique<ModelRunner>(Part(info, std::move(network)), nullptr, 1);
  }

  void Allocate() { ASSERT_TRUE(runner_->AllocateKvCache({800, kBlockTokens}).ok()); }

  absl::StatusOr<StepOutput> RunStep(StepBuilder& builder) {
    auto handle = runner_->Launch(builder.Take());
    if (!handle.ok()) return handle.status();
    return runner_->Wait(*handle);
  }

  static StepBuilder Builder() { return StepBuilder(kBlockTokens, kBlocksPerSequence); }

  std::unique_ptr<ModelRunner> runner_;
  FakeNetwork* network_ = nullptr;
};

TEST_F(ModelRunnerTest, SamplesAndScoresTheRowsAskedFor) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, {3, 4, 5}).Sample().top_logprobs = 2;
  builder.Score(0, 4);
  builder.Score(0, 9);
  builder.Add(1, 0, {7}).Sample();
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_EQ(output->samples.size(), 4u);
  const double log_sum = std::log(std::exp(2.0) + FakeNetwork::kVocab - 1);
  EXPECT_EQ(output->samples[0].token_id, 6);
  EXPECT_NEAR(output->samples[0].logprob, 2 - log_sum, 1e-5);
  ASSERT_EQ(output->samples[0].top.size(), 2u);
  EXPECT_EQ(output->samples[0].top[0].token_id, 6);
  EXPECT_EQ(output->samples[0].top[1].token_id, 0);  // all others tie: the lowest id
  EXPECT_NEAR(output->samples[0].top[1].logprob, -log_sum, 1e-5);
  EXPECT_EQ(output->samples[1].token_id, 4);
  EXPECT_NEAR(output->samples[1].logprob, 2 - log_sum, 1e-5);
  EXPECT_NEAR(output->samples[2].logprob, -log_sum, 1e-5);
  EXPECT_EQ(output->samples[3].token_id, 8);
}

TEST_F(ModelRunnerTest, PassesPenaltiesBiasAndForbiddenTokensOn) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, {3});
  builder.Sample().forbidden_tokens = {4};
  builder.Sample({.temperature = 0, .logit_bias = {{20, 2.5f}}});
  builder.Sample({.temperature = 0, .logit_bias = {{20, 1.5f}}});
  builder.Sample({.temperature = 0, .presence_penalty = 1.9f}).penalties = {{4, 1, false}};
  builder.Sample({.temperature = 0, .presence_penalty = 2.1f}).penalties = {{4, 1, false}};
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  std::vector<int32_t> tokens;
  for (const SampleResult& row : output->samples) tokens.push_back(row.token_id);
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 20, 4, 4, 0}));
}

TEST_F(ModelRunnerTest, SeededSamplingDependsOnSeedAndCounterAlone) {
  Allocate();
  std::vector<int32_t> alone;
  for (uint64_t counter = 0; counter < 20; ++counter) {
    StepBuilder builder = Builder();
    builder.Add(0, 0, {3}).Sample({.temperature = 2.0f, .seed = 5}).random_counter = counter;
    alone.push_back(RunStep(builder)->samples[0].token_id);
  }
  StepBuilder builder = Builder();
  builder.Add(1, 0, {9}).Sample({.temperature = 2.0f, .seed = 6});
  builder.Add(0, 0, {3});
  for (uint64_t counter = 0; counter < 20; ++counter) {
    builder.Sample({.temperature = 2.0f, .seed = 5}).random_counter = counter;
  }
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(output->samples[i + 1].token_id, alone[i]) << i;
}

TEST_F(ModelRunnerTest, ARowOfNotANumberFailsAlone) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, {FakeNetwork::kNanToken}).Sample();
  builder.Score(0, 3);
  builder.Add(1, 0, {7}).Sample();
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->samples[0].faulty);
  EXPECT_TRUE(output->samples[1].faulty);
  EXPECT_FALSE(output->samples[2].faulty);
  EXPECT_EQ(output->samples[2].token_id, 8);
}

TEST_F(ModelRunnerTest, ARowWithNothingAllowedFailsAlone) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, {7});
  SampleRow& row = builder.Sample();
  for (int32_t t = 0; t < FakeNetwork::kVocab; ++t) row.forbidden_tokens.push_back(t);
  builder.Sample();
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->samples[0].faulty);
  EXPECT_EQ(output->samples[1].token_id, 8);
}

TEST_F(ModelRunnerTest, ScoresAWholeChunkInSlices) {
  Allocate();
  std::vector<int32_t> tokens(700);
  for (int i = 0; i < 700; ++i) tokens[i] = i % 30;
  StepBuilder builder = Builder();
  builder.Add(0, 0, tokens);
  for (int i = 0; i < 700; ++i) builder.Score(i, (i % 30) + (i % 2));
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_EQ(output->samples.size(), 700u);
  const double log_sum = std::log(std::exp(2.0) + FakeNetwork::kVocab - 1);
  for (int i = 0; i < 700; ++i) {
    ASSERT_NEAR(output->samples[i].logprob, (i % 2 == 1 ? 2 : 0) - log_sum, 1e-5) << i;
  }
  EXPECT_LE(network_->max_head_rows, StepExecutor::kMaxLogitRows);
}

TEST_F(ModelRunnerTest, AStepWithoutSamplesRuns) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, {1, 2, 3});
  auto output = RunStep(builder);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_TRUE(output->samples.empty());
}

TEST_F(ModelRunnerTest, ADeviceFailureIsReportedByWaitAndTheModelGoesOn) {
  Allocate();
  for (const int32_t token : {FakeNetwork::kFailingToken, FakeNetwork::kThrowingToken}) {
    StepBuilder bad = Builder();
    bad.Add(0, 0, {token}).Sample();
    EXPECT_EQ(RunStep(bad).status().code(), absl::StatusCode::kInternal);
    StepBuilder good = Builder();
    good.Add(0, 0, {7}).Sample();
    EXPECT_EQ(RunStep(good)->samples[0].token_id, 8);
  }
}

TEST_F(ModelRunnerTest, RefusesCallsOutOfOrder) {
  StepBuilder early = Builder();
  early.Add(0, 0, {1}).Sample();
  const StepInput step = early.input();
  EXPECT_EQ(runner_->Launch(step).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(runner_->Wait(StepHandle{}).ok());
  Allocate();
  EXPECT_FALSE(runner_->AllocateKvCache({10, 4}).ok());
  auto handle = runner_->Launch(step), behind = runner_->Launch(step);
  ASSERT_TRUE(handle.ok() && behind.ok());
  EXPECT_EQ(runner_->Launch(step).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(runner_->Wait(*behind).ok());
  EXPECT_TRUE(runner_->Wait(*handle).ok());
  EXPECT_FALSE(runner_->Wait(*handle).ok());
  EXPECT_TRUE(runner_->Wait(*behind).ok());
}

// The network answers t + 1 to t: each step behind another takes what that one samples.
TEST_F(ModelRunnerTest, AStepTakesTheTokensThatTheOneBeforeSamples) {
  Allocate();
  StepBuilder first = Builder();
  first.Add(0, 0, {3, 4, 5}).Sample();
  first.Add(1, 0, {20}).Sample();
  auto in_flight = runner_->Launch(first.Take());
  ASSERT_TRUE(in_flight.ok()) << in_flight.status();
  for (int32_t step = 0; step < 5; ++step) {
    StepBuilder next = Builder();
    next.Add(1, 1 + step, {FedToken(step % 2 == 0 ? 1 : 0)}).Sample();  // the rows change places
    next.Add(0, 3 + step, {FedToken(step % 2 == 0 ? 0 : 1)}).Sample();
    if (step % 2 == 1) {
      next = Builder();
      next.Add(0, 3 + step, {FedToken(1)}).Sample();
      next.Add(1, 1 + step, {FedToken(0)}).Sample();
    }
    auto behind = runner_->Launch(next.Take());
    ASSERT_TRUE(behind.ok()) << behind.status();
    const auto output = runner_->Wait(*in_flight);
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->samples[step % 2].token_id, 6 + step);
    EXPECT_EQ(output->samples[1 - step % 2].token_id, 21 + step);
    in_flight = behind;
  }
  EXPECT_TRUE(runner_->Wait(*in_flight).ok());
}

TEST_F(ModelRunnerTest, AStepBehindOneThatFailsFailsWithIt) {
  Allocate();
  StepBuilder bad = Builder(), fed = Builder(), beside = Builder();
  bad.Add(0, 0, {FakeNetwork::kFailingToken}).Sample();
  fed.Add(0, 1, {FedToken(0)}).Sample();
  auto first = runner_->Launch(bad.Take()), second = runner_->Launch(fed.Take());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(runner_->Wait(*first).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(runner_->Wait(*second).status().code(), absl::StatusCode::kInternal);
  beside.Add(1, 0, {7}).Sample();
  EXPECT_EQ(RunStep(beside)->samples[0].token_id, 8);
}

TEST_F(ModelRunnerTest, NamesTheSampleThatTheStepBeforeHasNot) {
  Allocate();
  StepBuilder alone = Builder(), first = Builder(), fed = Builder();
  alone.Add(0, 0, {FedToken(0)}).Sample();
  EXPECT_EQ(RunStep(alone).status().code(), absl::StatusCode::kInvalidArgument);
  first.Add(0, 0, {3}).Sample();
  const auto handle = runner_->Launch(first.Take());
  ASSERT_TRUE(handle.ok());
  fed.Add(0, 1, {FedToken(1)}).Sample();
  EXPECT_THAT(std::string(runner_->Launch(fed.Take()).status().message()),
              ::testing::HasSubstr("that of sample 1 of the step before, limit 1"));
  EXPECT_TRUE(runner_->Wait(*handle).ok());
}

TEST_F(ModelRunnerTest, RefusesMoreThanItsBudget) {
  Allocate();
  StepBuilder tokens = Builder();
  tokens.Add(0, 0, std::vector<int32_t>(701, 1)).Sample();
  EXPECT_EQ(RunStep(tokens).status().code(), absl::StatusCode::kInvalidArgument);
  StepBuilder bad_id = Builder();
  bad_id.Add(0, 0, {FakeNetwork::kVocab}).Sample();
  EXPECT_EQ(RunStep(bad_id).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelRunnerTest, AFullDeviceIsAnErrorNotACrash) {
  EXPECT_EQ(runner_->AllocateKvCache({1001, 4}).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ModelRunnerTest, BringsTheWindowTablesToTheNetwork) {
  ModelInfo info;
  info.vocab_size = FakeNetwork::kVocab;
  info.max_model_len = kBlockTokens * kBlocksPerSequence;
  ModelRunner runner(Part(info, std::make_unique<FakeNetwork>(6)), nullptr, 1);
  EXPECT_THAT(std::string(runner.AllocateKvCache({800, kBlockTokens}).message()),
              ::testing::HasSubstr("window blocks"));
  ASSERT_TRUE(runner.AllocateKvCache({800, kBlockTokens, 5}).ok());
  StepBuilder builder = Builder();
  builder.Add(0, 0, {3, 4, 5, 6, 7}).Sample();
  builder.input().window_slot_mapping = {4 * 4, 4 * 4 + 1, 4 * 4 + 2, 4 * 4 + 3, 1 * 4};
  builder.input().window_block_tables.assign(kBlocksPerSequence, 0);
  builder.input().window_block_tables[0] = 4;
  builder.input().window_block_tables[1] = 1;
  auto handle = runner.Launch(builder.Take());
  ASSERT_TRUE(handle.ok()) << handle.status();
  const auto output = runner.Wait(*handle);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->samples[0].token_id, 8);
}

TEST_F(ModelRunnerTest, WorkspaceGrowsWithBothArguments) {
  int64_t last = 0;
  for (const auto& [tokens, sequences] :
       std::vector<std::pair<int, int>>{{1, 1}, {8, 1}, {8, 8}, {500, 8}, {500, 300}}) {
    const int64_t bytes = runner_->WorkspaceBytes(tokens, sequences);
    EXPECT_GT(bytes, last);
    last = bytes;
  }
}

TEST_F(ModelRunnerTest, DestructionWaitsForAStepInFlight) {
  Allocate();
  StepBuilder builder = Builder();
  builder.Add(0, 0, std::vector<int32_t>(500, 1)).Sample();
  ASSERT_TRUE(runner_->Launch(builder.Take()).ok());
  runner_.reset();
}

}  // namespace
}  // namespace hadal::models
