// SPDX-License-Identifier: Apache-2.0
//
// What a request asks of its tokens: stops, choices, penalties, log-probabilities, scored prompts.
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::FinishReason;

TEST(StepLoopSamplingTest, MinTokensForbidsTheStop) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(4);
  f.model.script = [](const std::vector<int32_t>&) { return 77; };
  auto request = LoopFixture::MakeRequest(prompt, 10);
  request->stop_token_ids = {77, 5000};
  request->min_tokens = 3;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.tokens.at(0), (std::vector<int32_t>{78, 78, 78}));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kStop);
}

TEST(StepLoopSamplingTest, ChoicesDifferBySeedAndShareThePrompt) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(13);
  auto request = LoopFixture::MakeRequest(prompt, 6);
  request->n = 3;
  request->sampling.temperature = 1;
  request->sampling.seed = 40;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.ends.size(), 3u);
  EXPECT_EQ(got.usage.completion_tokens, 18);
  EXPECT_EQ(got.usage.prompt_tokens, 13);
  EXPECT_EQ(f.observer.hit_tokens, 2 * 12) << "the later choices find the three full blocks of the prompt";
  for (int choice = 0; choice < 3; ++choice) {
    auto alone = LoopFixture::MakeRequest(prompt, 6);
    alone->sampling.temperature = 1;
    alone->sampling.seed = 40 + choice;
    LoopFixture fresh;
    EXPECT_EQ(got.tokens.at(choice), fresh.Finish(fresh.Submit(std::move(alone))).tokens.at(0)) << choice;
  }
  f.ExpectEmpty();
}

TEST(StepLoopSamplingTest, MoreChoicesThanPlacesInABatch) {
  LoopFixture f({.max_batch_size = 2, .max_batch_tokens = 8});
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 5);
  request->n = 7;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.ends.size(), 7u);
  for (int choice = 0; choice < 7; ++choice) EXPECT_EQ(got.tokens.at(choice), f.Expected(LoopFixture::Prompt(9), 5));
  f.ExpectEmpty();
}

TEST(StepLoopSamplingTest, PenaltiesSeeEveryTokenSoFar) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 6);
  request->sampling.frequency_penalty = 0.5f;
  std::vector<std::vector<models::PenaltyEntry>> seen;
  f.model.on_launch = [&](const models::StepInput& input) {
    for (const auto& row : input.samples) seen.push_back(row.penalties);
    return absl::OkStatus();
  };
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(seen.size(), 6u);
  for (size_t i = 0; i < seen.size(); ++i) {
    std::map<int32_t, int32_t> expected;
    for (size_t k = 0; k < i; ++k) ++expected[got.tokens.at(0)[k]];
    ASSERT_EQ(seen[i].size(), expected.size());
    for (const auto& entry : seen[i]) EXPECT_EQ(entry.output_count, expected[entry.token_id]);
  }
}

TEST(StepLoopSamplingTest, RepetitionPenaltyHoldsThePrompt) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest({5, 6, 5}, 1);
  request->sampling.repetition_penalty = 1.2f;
  size_t entries = 0;
  f.model.on_launch = [&](const models::StepInput& input) {
    entries = input.samples[0].penalties.size();
    EXPECT_TRUE(input.samples[0].penalties[0].in_prompt);
    return absl::OkStatus();
  };
  f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(entries, 2u);
}

TEST(StepLoopSamplingTest, LogprobsTravelWithTheTokens) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 3);
  request->top_logprobs = 2;
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(got.events.size(), 3u);
  EXPECT_EQ(got.events[0].logprob, -0.5f);
  ASSERT_EQ(got.events[0].top.size(), 2u);
  EXPECT_EQ(got.events[0].top[0].token_id, got.events[0].token_id);
}

TEST(StepLoopSamplingTest, PromptIsScoredInChunksAndWithoutCacheHits) {
  LoopFixture f({.max_batch_size = 5, .max_batch_tokens = 64});
  const auto prompt = LoopFixture::Prompt(23);
  f.Finish(f.Submit(prompt, 1));  // fills the prefix cache
  auto request = LoopFixture::MakeRequest(prompt, 2);
  request->prompt_logprobs = true;
  request->top_logprobs = 1;
  const size_t before = f.model.shapes().size();
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(got.prompt_scores.size(), 22u);
  for (size_t i = 0; i < 22; ++i) EXPECT_EQ(got.prompt_scores[i].token_id, prompt[i + 1]);
  EXPECT_EQ(got.usage.cached_tokens, 0);
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 2));
  for (size_t i = before; i < f.model.shapes().size(); ++i) EXPECT_LE(f.model.shapes()[i].samples, 5);
  f.ExpectEmpty();
}

TEST(StepLoopSamplingTest, MaxTokensZeroOnlyScores) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 0);
  request->prompt_logprobs = true;
  request->n = 2;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.prompt_scores.size(), 8u);
  EXPECT_TRUE(got.tokens.empty());
  EXPECT_EQ(got.ends.size(), 2u);
  EXPECT_EQ(got.ends.at(1).reason, FinishReason::kLength);
  EXPECT_EQ(got.usage.completion_tokens, 0);
  EXPECT_OK(got.status);
  f.ExpectEmpty();
}

TEST(StepLoopSamplingTest, OneTokenPromptWorks) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest({3}, 3);
  request->prompt_logprobs = true;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.tokens.at(0), f.Expected({3}, 3));
  f.ExpectEmpty();
}

}  // namespace
}  // namespace hadal::engine
