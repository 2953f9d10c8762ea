// SPDX-License-Identifier: Apache-2.0
// Steps of different sequences that are in flight at the same time, as where a model is divided among several hosts.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::FinishReason;
using request::Reason;
using ::testing::ElementsAre;

LoopFixture::Config Overlapped(int steps) { return {.overlapped_steps = steps}; }

TEST(OverlappedStepsTest, ASequenceAloneIsInOneStepAtATime) {
  LoopFixture f(Overlapped(3));
  const auto prompt = LoopFixture::Prompt(4);
  const Received got = f.Finish(f.Submit(prompt, 3));
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 3));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kLength);
  EXPECT_THAT(f.model.calls(), ElementsAre("L1", "W1", "L2", "W2", "L3", "W3"));
  f.ExpectEmpty();
}

TEST(OverlappedStepsTest, StepsShareTheSequencesAndFollowOneAnother) {
  LoopFixture f(Overlapped(2));
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 6; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4 + i, i), 12));
  f.RunUntilIdle();
  for (int i = 0; i < 6; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens.at(0), f.Expected(LoopFixture::Prompt(4 + i, i), 12)) << i;
  }
  EXPECT_EQ(f.model.most_in_flight(), 2u);
  // All prompts fit into the first step. After it each has half of the sequences, until half of them have ended, and is
  // launched while the other half is in flight.
  EXPECT_EQ(f.model.shapes().front().sequences, 6);
  for (size_t i = 1; i < 1 + 2 * 10; ++i) EXPECT_EQ(f.model.shapes()[i].sequences, 3) << i;
  const std::vector<std::string>& calls = f.model.calls();
  EXPECT_THAT(std::vector<std::string>(calls.begin(), calls.begin() + 8),
              ElementsAre("L1", "W1", "L2", "L3", "W2", "L4", "W3", "L5"));
  EXPECT_EQ(f.observer.last_step.gap, absl::ZeroDuration());
  f.ExpectEmpty();
}

// What is left over when the sequences cannot be divided evenly goes before those that had a turn.
TEST(OverlappedStepsTest, EverySequenceHasATurnInEachRound) {
  LoopFixture f({.max_batch_size = 16, .overlapped_steps = 3});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  std::vector<Received> got(7);
  for (int i = 0; i < 7; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(3, i), 60));
  while (f.model.steps() < 100) {
    f.Round();
    size_t most = 0, least = 1000;
    for (int i = 0; i < 7; ++i) {
      got[i].Read(*streams[i]);
      const size_t tokens = got[i].tokens[0].size();
      most = std::max(most, tokens);
      least = std::min(least, tokens);
    }
    ASSERT_LE(most - least, 1u) << "after " << f.model.steps() << " steps";
  }
  f.RunUntilIdle();
}

TEST(OverlappedStepsTest, ChunksOfOnePromptFillTheSteps) {
  LoopFixture f(Overlapped(3));
  const auto prompt = LoopFixture::Prompt(64 * 4 + 10);
  const Received got = f.Finish(f.Submit(prompt, 2));
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 2));
  EXPECT_THAT(f.model.calls(), ElementsAre("L1", "L2", "L3", "W1", "L4", "W2", "L5", "W3", "W4", "W5", "L6", "W6"));
  f.ExpectEmpty();
}

TEST(OverlappedStepsTest, ACancelledSequenceGivesItsBlocksToOthersWhileItsRowsRun) {
  LoopFixture f({.blocks = 12, .ledger_blocks = 200, .overlapped_steps = 2});
  auto lost = f.Submit(LoopFixture::Prompt(30), 12);
  auto other = f.Submit(LoopFixture::Prompt(3, 5), 20);
  for (int i = 0; i < 4; ++i) f.Round();
  EXPECT_FALSE(f.loop->idle());
  const int32_t before = f.published->leased_blocks;
  lost->Cancel();
  auto next = f.Submit(LoopFixture::Prompt(33, 7), 5);  // needs the blocks of the first
  f.Round();
  EXPECT_LE(f.published->leased_blocks, std::max(before, 10));
  f.RunUntilIdle();
  Received got, rest, last;
  got.Read(*lost);
  rest.Read(*other);
  last.Read(*next);
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_EQ(rest.tokens.at(0), f.Expected(LoopFixture::Prompt(3, 5), 20));
  EXPECT_EQ(last.tokens.at(0), f.Expected(LoopFixture::Prompt(33, 7), 5));
  f.ExpectEmpty();
}

TEST(OverlappedStepsTest, AFaultOfTheDeviceWaitsForAllStepsBeforeBlocksGoBack) {
  LoopFixture f(Overlapped(3));
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 6; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 40));
  while (f.model.most_in_flight() < 3) f.Round();
  f.model.on_wait = [] { return absl::InternalError("a worker is gone"); };
  f.Round();
  EXPECT_TRUE(f.loop->device_fault());
  EXPECT_EQ(std::count_if(f.model.calls().begin(), f.model.calls().end(), [](const auto& c) { return c[0] == 'L'; }),
            std::count_if(f.model.calls().begin(), f.model.calls().end(), [](const auto& c) { return c[0] == 'W'; }));
  for (auto& stream : streams) {
    Received got;
    got.Read(*stream);
    EXPECT_REASON(got.status, Reason::kDeviceFault);
  }
  f.ExpectEmpty();
}

TEST(OverlappedStepsTest, ALaunchThatIsRefusedEndsItsRequestsAlone) {
  LoopFixture f(Overlapped(2));
  auto going_on = f.Submit(LoopFixture::Prompt(4), 9);
  f.Round();
  auto lost = f.Submit(LoopFixture::Prompt(5, 3), 9);
  f.model.on_launch = [](const models::StepInput& input) {
    return input.token_ids.size() == 5 ? absl::InvalidArgumentError("not this one") : absl::OkStatus();
  };
  f.RunUntilIdle();
  Received got, other;
  got.Read(*lost);
  other.Read(*going_on);
  EXPECT_REASON(got.status, Reason::kInternal);
  EXPECT_EQ(other.tokens.at(0), f.Expected(LoopFixture::Prompt(4), 9));
  f.ExpectEmpty();
}

TEST(OverlappedStepsTest, AnEndedServerWaitsForAllSteps) {
  LoopFixture f(Overlapped(3));
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 6; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 40));
  while (f.model.most_in_flight() < 3) f.Round();
  f.loop->Abort();
  Received got;
  got.Read(*streams[0]);
  EXPECT_REASON(got.status, Reason::kDraining);
  f.ExpectEmpty();
}

// Penalties, choices, a stop, prefix hits, scored prompts, preemption: each gets what it gets of one step at a time.
TEST(OverlappedStepsTest, AnswersAreThoseOfOneStepAtATime) {
  std::vector<std::vector<int32_t>> told[3];
  for (const int steps : {1, 2, 3}) {
    LoopFixture f({.blocks = 24, .ledger_blocks = 200, .overlapped_steps = steps});
    for (int round = 0; round < 2; ++round) {
      std::vector<std::shared_ptr<request::TokenStream>> streams;
      for (int i = 0; i < 7; ++i) {
        auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9 + i, i / 2), 20 + i);
        if (i == 1) request->n = 2;
        if (i == 2) request->sampling.presence_penalty = 0.5f;
        if (i == 3) request->stop_token_ids = {f.Expected(LoopFixture::Prompt(9 + i, i / 2), 9).back()};
        if (i == 4) request->prompt_logprobs = true;
        if (i == 5) {
          request->sampling.temperature = 1;
          request->sampling.seed = 77;
        }
        streams.push_back(f.Submit(std::move(request)));
      }
      f.RunUntilIdle();
      for (auto& stream : streams) {
        Received got;
        got.Read(*stream);
        EXPECT_OK(got.status);
        for (auto& [choice, tokens] : got.tokens) told[steps - 1].push_back(tokens);
        told[steps - 1].push_back(
            {got.usage.prompt_tokens, got.usage.completion_tokens, static_cast<int32_t>(got.prompt_scores.size())});
      }
    }
    EXPECT_EQ(f.model.most_in_flight(), static_cast<size_t>(steps));
    EXPECT_GT(f.observer.preemptions, 0);
    EXPECT_GT(f.observer.hit_tokens, 0);
    f.ExpectEmpty();
  }
  EXPECT_EQ(told[0], told[1]);
  EXPECT_EQ(told[0], told[2]);
}

// A step holds a part of what runs, and steps share the time of one.
TEST(OverlappedStepsTest, AdmissionForeseesAllStepsInTheTimeOfOne) {
  admission::EngineLoad::Step seen[2];
  for (const int steps : {1, 2}) {
    LoopFixture f(Overlapped(steps));
    std::vector<std::shared_ptr<request::TokenStream>> streams;
    for (int i = 0; i < 8; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 500));
    f.model.on_wait = [&f] {
      f.admission.clock.Advance(absl::Milliseconds(10));
      return absl::OkStatus();
    };
    for (int i = 0; i < 200; ++i) f.Round();
    seen[steps - 1] = f.admission.controller->engine_load(0).step();
    for (auto& stream : streams) stream->Cancel();
    f.model.on_wait = nullptr;
    f.RunUntilIdle();
  }
  EXPECT_EQ(seen[1].max_batch_tokens, 2 * seen[0].max_batch_tokens);
  // The fake model takes 10 ms for each wait, so that a step that overlaps another one is seen to take 20.
  EXPECT_NEAR(seen[0].time.Seconds(8, 0, 0), 0.010, 0.002);
  EXPECT_NEAR(seen[1].time.Seconds(8, 0, 0), 0.020, 0.004);
}

}  // namespace
}  // namespace hadal::engine
