// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_loop.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/request/notifier.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using hadal::testing::ScriptedModel;
using request::FinishReason;
using request::Reason;

TEST(StepLoopTest, AnswersWithTheModelsTokens) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(10);
  const Received got = f.Finish(f.Submit(prompt, 7));
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 7));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kLength);
  EXPECT_TRUE(got.started);
  EXPECT_TRUE(got.closed);
  EXPECT_OK(got.status);
  EXPECT_EQ(got.usage.prompt_tokens, 10);
  EXPECT_EQ(got.usage.completion_tokens, 7);
  f.ExpectEmpty();
}

TEST(StepLoopTest, TellsOfFullBlocksInTheRoundThatEndsThem) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(10);
  f.Finish(f.Submit(prompt, 7));
  // 16 tokens have been computed: the last sampled one has not.
  ASSERT_EQ(f.blocks.blocks.size(), 4u);
  std::vector<int32_t> told, expected = prompt;
  for (const auto& [node, block] : f.blocks.blocks) told.insert(told.end(), block.tokens.begin(), block.tokens.end());
  for (const int32_t token : f.Expected(prompt, 6)) expected.push_back(token);
  EXPECT_EQ(told, expected);
  f.ExpectEmpty();
}

TEST(StepLoopTest, AStreamKnowsWhenItsRequestRan) {
  LoopFixture f;
  const absl::Time submitted = f.admission.clock.Now();
  const auto stream = f.Submit(LoopFixture::Prompt(10), 7);
  f.Finish(stream);
  const request::StreamTimes times = stream->times();
  EXPECT_LE(submitted, times.started);
  EXPECT_LE(times.started, times.first_token);
  EXPECT_LT(times.first_token, times.ended);
  EXPECT_LE(times.ended, f.admission.clock.Now());
}

// A client that has its answer and looks at the metrics must not find itself still running.
TEST(StepLoopTest, WhoSeesTheEndIsInNoLevelAnyMore) {
  LoopFixture f;
  int32_t running = -1, leased = -1;
  const auto look = [&] {
    running = f.published->running;
    leased = f.published->leased_blocks;
  };
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(10), 3);
  request->stream = std::make_shared<request::TokenStream>(64, std::make_shared<request::Notifier>(look));
  f.Submit(std::move(request));
  f.Round();
  EXPECT_EQ(running, 1) << "it has started";
  EXPECT_GT(leased, 0);
  f.RunUntilIdle();
  EXPECT_EQ(running, 0) << "seen at the last notification, of its end";
  EXPECT_EQ(leased, 0);
}

TEST(StepLoopTest, ManyAtOnceAnswerAsAlone) {
  LoopFixture f;
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 30; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(3 + i * 2, i), 5 + i));
  f.RunUntilIdle();
  for (int i = 0; i < 30; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(3 + i * 2, i), 5 + i)) << i;
    EXPECT_TRUE(got.closed);
  }
  f.ExpectEmpty();
}

TEST(StepLoopTest, PlansTheNextStepWhileOneIsInFlight) {
  LoopFixture f;
  f.Submit(LoopFixture::Prompt(4), 4);
  // The request that arrives while step 1 computes is in the very next step: it was planned before Wait(1) returned.
  bool submitted = false;
  f.model.on_wait = [&] {
    if (!submitted) {
      submitted = true;
      f.Submit(LoopFixture::Prompt(6, 2), 1);
    }
    return absl::OkStatus();
  };
  f.Round();  // launches 1
  EXPECT_EQ(f.model.calls(), std::vector<std::string>{"L1"});
  f.Round();  // plans 2, waits for 1, launches 2
  EXPECT_EQ(f.model.calls(), (std::vector<std::string>{"L1", "W1", "L2"}));
  EXPECT_EQ(f.model.shapes()[1].sequences, 1)
      << "it arrived during Wait: too late for step 2, which was planned already";
  f.Round();
  EXPECT_EQ(f.model.shapes()[2].sequences, 2);
  f.RunUntilIdle();
  EXPECT_EQ(f.model.calls().back(), "W" + std::to_string(f.model.steps()));
}

TEST(StepLoopTest, APlannedRowOfAnEndedSequenceIsLeftOut) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(4);
  const auto answer = f.Expected(prompt, 3);
  auto stopping = LoopFixture::MakeRequest(prompt, 50);
  stopping->stop_token_ids = {answer[1]};
  auto stream = f.Submit(std::move(stopping));
  auto other = f.Submit(LoopFixture::Prompt(5, 9), 6);
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_EQ(got.tokens[0], std::vector<int32_t>{answer[0]});
  EXPECT_EQ(got.ends[0].reason, FinishReason::kStop);
  EXPECT_EQ(got.ends[0].stop_token, answer[1]);
  EXPECT_EQ(got.usage.completion_tokens, 2) << "the stop token counts";
  Received rest;
  rest.Read(*other);
  EXPECT_EQ(rest.tokens[0], f.Expected(LoopFixture::Prompt(5, 9), 6));
  f.ExpectEmpty();
}

TEST(StepLoopTest, PrefixHitsGiveIdenticalTokens) {
  LoopFixture f;
  auto prompt = LoopFixture::Prompt(40);
  f.Finish(f.Submit(prompt, 4));
  const int64_t rows = f.model.rows();
  const Received again = f.Finish(f.Submit(prompt, 8));
  EXPECT_EQ(again.usage.cached_tokens, 36) << "at least one prompt token is computed";
  EXPECT_EQ(again.tokens.at(0), f.Expected(prompt, 8));
  EXPECT_EQ(f.model.rows() - rows, 4 + 7);
  // A longer prompt that begins with prompt and answer finds the blocks that the answer filled, too.
  auto longer = prompt;
  const auto answer = f.Expected(prompt, 8);
  longer.insert(longer.end(), answer.begin(), answer.end());
  longer.push_back(5);
  const Received grown = f.Finish(f.Submit(longer, 2));
  EXPECT_EQ(grown.usage.cached_tokens, 44) << "47 tokens were computed: 11 full blocks";
  EXPECT_EQ(grown.tokens.at(0), f.Expected(longer, 2));
  // Another salt shares nothing.
  auto salted = LoopFixture::MakeRequest(prompt, 2);
  salted->cache_salt = 99;
  EXPECT_EQ(f.Finish(f.Submit(std::move(salted))).usage.cached_tokens, 0);
  f.ExpectEmpty();
}

TEST(StepLoopTest, FaultyRowEndsItsRequestAlone) {
  LoopFixture f;
  const auto bad = LoopFixture::Prompt(9, 4);
  f.model.script = [&](const std::vector<int32_t>& context) {
    return context.size() >= 11 && std::equal(bad.begin(), bad.end(), context.begin()) ? ScriptedModel::kFaulty : -1;
  };
  auto failing = f.Submit(bad, 10);
  auto fine = f.Submit(LoopFixture::Prompt(6, 5), 10);
  f.RunUntilIdle();
  Received got, other;
  got.Read(*failing);
  other.Read(*fine);
  EXPECT_REASON(got.status, Reason::kInternal);
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kError);
  EXPECT_EQ(got.tokens.at(0).size(), 2u);
  EXPECT_OK(other.status);
  EXPECT_EQ(other.tokens.at(0).size(), 10u);
  // What it wrote is not found by others.
  EXPECT_EQ(f.Finish(f.Submit(bad, 1)).usage.cached_tokens, 0);
  EXPECT_FALSE(f.loop->device_fault());
  f.ExpectEmpty();
}

TEST(StepLoopTest, ARefusedStepEndsOnlyItsRequests) {
  LoopFixture f;
  bool refuse = true;
  f.model.on_launch = [&](const models::StepInput&) {
    return refuse ? absl::InvalidArgumentError("bad input") : absl::OkStatus();
  };
  const Received got = f.Finish(f.Submit(LoopFixture::Prompt(4), 3));
  EXPECT_REASON(got.status, Reason::kInternal);
  refuse = false;
  EXPECT_OK(f.Finish(f.Submit(LoopFixture::Prompt(4), 3)).status);
  f.ExpectEmpty();
}

TEST(StepLoopTest, DeviceFaultEndsEverythingWithATypedError) {
  LoopFixture f({.max_batch_size = 2, .max_batch_tokens = 16});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 10));
  f.Round();
  f.model.on_wait = [] { return absl::InternalError("the device fell off the bus"); };
  f.RunUntilIdle();
  for (auto& stream : streams) {
    Received got;
    got.Read(*stream);
    EXPECT_TRUE(got.closed);
    EXPECT_REASON(got.status, Reason::kDeviceFault);
  }
  EXPECT_TRUE(f.state().device_fault);
  auto late = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 1);
  EXPECT_REASON(f.admission.Submit(late), Reason::kDeviceFault);
  f.ExpectEmpty();
}

}  // namespace
}  // namespace hadal::engine
