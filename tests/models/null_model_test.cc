// SPDX-License-Identifier: Apache-2.0
#include "models/null_model.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using testing::StepBuilder;

std::unique_ptr<NullModel> MakeModel(NullModel::Options options = {}) {
  auto model = NullModel::Create(std::move(options));
  EXPECT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->AllocateKvCache({8, 4}).ok());
  return *std::move(model);
}

StepOutput RunStep(NullModel& model, StepInput input) {
  auto handle = model.Launch(std::move(input));
  EXPECT_TRUE(handle.ok()) << handle.status();
  auto output = model.Wait(*handle);
  EXPECT_TRUE(output.ok()) << output.status();
  return *std::move(output);
}

TEST(NullModel, NextTokenDependsOnTokenAndPositionAlone) {
  auto model = MakeModel();
  StepBuilder alone(4, 4);
  alone.Add(0, 2, {17}).Sample();
  StepBuilder together(4, 4);
  together.Add(1, 0, {1, 2, 3}).Sample();
  together.Add(0, 2, {17}).Sample();
  const int32_t token = RunStep(*model, alone.Take()).samples[0].token_id;
  EXPECT_EQ(RunStep(*model, together.Take()).samples[1].token_id, token);
  EXPECT_EQ(token, model->NextToken(17, 2));
  EXPECT_NE(token, model->NextToken(17, 3));
  EXPECT_NE(token, model->NextToken(18, 2));
}

TEST(NullModel, ScoresTheTargetAndListsTheBestFirst) {
  auto model = MakeModel({.vocab_size = 10});
  const int32_t best = model->NextToken(5, 0);
  StepBuilder builder(4, 4);
  builder.Add(0, 0, {5});
  builder.Score(0, (best + 2) % 10).top_logprobs = 3;
  const StepOutput output = RunStep(*model, builder.Take());
  const SampleResult& row = output.samples[0];
  EXPECT_EQ(row.token_id, (best + 2) % 10);
  EXPECT_NEAR(row.logprob, std::log(1.0 / 8), 1e-6);
  ASSERT_EQ(row.top.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(row.top[i].token_id, (best + i) % 10);
    EXPECT_NEAR(row.top[i].logprob, -(i + 1) * std::log(2.0), 1e-6);
  }
}

TEST(NullModel, NeverSamplesAForbiddenToken) {
  auto model = MakeModel({.vocab_size = 4});
  const int32_t best = model->NextToken(1, 0);
  StepBuilder builder(4, 4);
  builder.Add(0, 0, {1});
  builder.Sample().forbidden_tokens = {best, (best + 1) % 4};
  builder.Sample().forbidden_tokens = {0, 1, 2, 3};
  const StepOutput output = RunStep(*model, builder.Take());
  EXPECT_EQ(output.samples[0].token_id, (best + 2) % 4);
  EXPECT_TRUE(output.samples[1].faulty);
}

TEST(NullModel, FaultyTokenSpoilsItsOwnRowOnly) {
  auto model = MakeModel({.faulty_token = 7});
  StepBuilder builder(4, 4);
  builder.Add(0, 0, {7}).Sample();
  builder.Add(1, 0, {8}).Sample();
  const StepOutput output = RunStep(*model, builder.Take());
  EXPECT_TRUE(output.samples[0].faulty);
  EXPECT_FALSE(output.samples[1].faulty);
}

TEST(NullModel, FailsTheStepItWasToldToAndGoesOn) {
  auto model = MakeModel({.fail_at_step = 1});
  for (int i = 0; i < 3; ++i) {
    StepBuilder builder(4, 4);
    builder.Add(0, i, {3}).Sample();
    auto handle = model->Launch(builder.Take());
    ASSERT_TRUE(handle.ok());
    EXPECT_EQ(model->Wait(*handle).status().code(), i == 1 ? absl::StatusCode::kInternal : absl::StatusCode::kOk);
  }
}

TEST(NullModel, KeepsTheOrderOfCalls) {
  auto fresh = NullModel::Create({});
  ASSERT_TRUE(fresh.ok());
  StepBuilder builder(4, 4);
  builder.Add(0, 0, {3}).Sample();
  const StepInput step = builder.Take();
  EXPECT_EQ((*fresh)->Launch(step).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*fresh)->AllocateKvCache({8, 4}).ok());
  EXPECT_FALSE((*fresh)->AllocateKvCache({8, 4}).ok());
  auto handle = (*fresh)->Launch(step), behind = (*fresh)->Launch(step);
  ASSERT_TRUE(handle.ok() && behind.ok());
  EXPECT_EQ((*fresh)->Launch(step).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE((*fresh)->Wait(*behind).ok());
  EXPECT_TRUE((*fresh)->Wait(*handle).ok());
  EXPECT_FALSE((*fresh)->Wait(*handle).ok());
  EXPECT_TRUE((*fresh)->Wait(*behind).ok());
}

TEST(NullModel, AStepTakesTheTokenThatTheOneBeforeSamples) {
  auto model = MakeModel({});
  StepBuilder first(4, 4), fed(4, 4);
  first.Add(0, 0, {3}).Sample();
  fed.Add(0, 1, {FedToken(0)}).Sample();
  const auto one = model->Launch(first.Take()), two = model->Launch(fed.Take());
  ASSERT_TRUE(one.ok() && two.ok());
  const int32_t token = model->Wait(*one)->samples[0].token_id;
  EXPECT_EQ(token, model->NextToken(3, 0));
  EXPECT_EQ(model->Wait(*two)->samples[0].token_id, model->NextToken(token, 1));
}

TEST(NullModel, RefusesABadStepAndStaysUsable) {
  auto model = MakeModel({.vocab_size = 10});
  StepBuilder bad(4, 4);
  bad.Add(0, 0, {10}).Sample();
  EXPECT_EQ(model->Launch(bad.Take()).status().code(), absl::StatusCode::kInvalidArgument);
  StepBuilder good(4, 4);
  good.Add(0, 0, {9}).Sample();
  EXPECT_EQ(RunStep(*model, good.Take()).samples[0].token_id, model->NextToken(9, 0));
}

TEST(NullModel, RefusesImpossibleOptions) {
  EXPECT_FALSE(NullModel::Create({.vocab_size = 1}).ok());
  EXPECT_FALSE(NullModel::Create({.max_model_len = 0}).ok());
  EXPECT_FALSE(NullModel::Create({.bytes_per_token = 0}).ok());
}

}  // namespace
}  // namespace hadal::models
