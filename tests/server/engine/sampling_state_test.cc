// SPDX-License-Identifier: Apache-2.0
#include "server/engine/sampling_state.h"

#include "gtest/gtest.h"
#include "server/engine/stop.h"

namespace hadal::engine {
namespace {

using request::FinishReason;

TEST(SamplingStateTest, EachChoiceHasItsOwnSeedAndTheCounterIsThePosition) {
  request::Request request;
  request.prompt = {1, 2, 3};
  request.sampling.seed = UINT64_MAX;
  models::SampleRow row;
  SamplingState(request, 0, 10).FillRow(3, 0, row);
  EXPECT_EQ(row.params->seed, UINT64_MAX);
  EXPECT_EQ(row.random_counter, 3u);
  SamplingState(request, 2, 10).FillRow(7, 4, row);
  EXPECT_EQ(row.params->seed, 1u) << "seeds wrap";
  EXPECT_EQ(row.random_counter, 7u);
}

TEST(SamplingStateTest, EndTokensAreForbiddenUntilMinTokens) {
  request::Request request;
  request.prompt = {1};
  request.stop_token_ids = {9, 10, -1};
  request.min_tokens = 2;
  const SamplingState state(request, 0, 10);
  models::SampleRow row;
  state.FillRow(1, 0, row);
  EXPECT_EQ(row.forbidden_tokens, std::vector<int32_t>{9}) << "ids that no model samples are left out";
  state.FillRow(2, 1, row);
  EXPECT_EQ(row.forbidden_tokens.size(), 1u);
  state.FillRow(3, 2, row);
  EXPECT_TRUE(row.forbidden_tokens.empty());
}

TEST(SamplingStateTest, NoPenaltiesMeanNoTable) {
  request::Request request;
  request.prompt = {1, 2};
  SamplingState state(request, 0, 10);
  state.OnToken(5);
  EXPECT_FALSE(state.depends_on_output());
  models::SampleRow row;
  state.FillRow(3, 1, row);
  EXPECT_TRUE(row.penalties.empty());
}

TEST(SamplingStateTest, TableCountsOutputAndRemembersThePrompt) {
  request::Request request;
  request.prompt = {1, 2, 1};
  request.sampling.repetition_penalty = 1.1f;
  SamplingState state(request, 0, 10);
  state.OnToken(2);
  state.OnToken(5);
  state.OnToken(5);
  models::SampleRow row;
  state.FillRow(6, 3, row);
  ASSERT_EQ(row.penalties.size(), 3u);
  EXPECT_EQ(row.penalties[0].token_id, 1);
  EXPECT_EQ(row.penalties[0].output_count, 0);
  EXPECT_TRUE(row.penalties[1].in_prompt);
  EXPECT_EQ(row.penalties[1].output_count, 1);
  EXPECT_FALSE(row.penalties[2].in_prompt);
  EXPECT_EQ(row.penalties[2].output_count, 2);
}

TEST(CheckStopTest, StopTokenWinsOverLength) {
  request::Request request;
  request.max_tokens = 3;
  request.stop_token_ids = {7};
  EXPECT_EQ(CheckStop(request, 7, 3).reason, FinishReason::kStop);
  EXPECT_FALSE(CheckStop(request, 7, 3).deliver);
  EXPECT_EQ(CheckStop(request, 6, 3).reason, FinishReason::kLength);
  EXPECT_TRUE(CheckStop(request, 6, 3).deliver);
  EXPECT_EQ(CheckStop(request, 6, 2).reason, FinishReason::kNone);
}

TEST(CheckStopTest, MinTokensHoldsTheStopBack) {
  request::Request request;
  request.max_tokens = 9;
  request.min_tokens = 2;
  request.stop_token_ids = {7};
  EXPECT_EQ(CheckStop(request, 7, 1).reason, FinishReason::kNone);
  EXPECT_EQ(CheckStop(request, 7, 2).reason, FinishReason::kNone);
  EXPECT_EQ(CheckStop(request, 7, 3).reason, FinishReason::kStop);
}

}  // namespace
}  // namespace hadal::engine
