// SPDX-License-Identifier: Apache-2.0
// Steps that are launched before the tokens of the step before are known.
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

LoopFixture::Config Fed() { return {.async_scheduling = AsyncScheduling::kOn}; }

TEST(FedStepsTest, TheNextStepIsLaunchedBeforeTheWait) {
  LoopFixture f(Fed());
  const auto prompt = LoopFixture::Prompt(4);
  const Received got = f.Finish(f.Submit(prompt, 3));
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 3));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kLength);
  EXPECT_THAT(f.model.calls(), ElementsAre("L1", "L2", "W1", "L3", "W2", "W3"));  // its end by length is foreseen
  EXPECT_EQ(f.observer.last_step.gap, absl::ZeroDuration());
  f.ExpectEmpty();
}

TEST(FedStepsTest, ASequenceThatTurnsOutToHaveEndedCostsOneRow) {
  int64_t rows[2];
  for (const bool fed : {false, true}) {
    LoopFixture f({.async_scheduling = fed ? AsyncScheduling::kOn : AsyncScheduling::kOff});
    const auto prompt = LoopFixture::Prompt(4);
    const auto answer = f.Expected(prompt, 3);
    auto stopping = LoopFixture::MakeRequest(prompt, 50);
    stopping->stop_token_ids = {answer[2]};
    auto stream = f.Submit(std::move(stopping));
    auto other = f.Submit(LoopFixture::Prompt(5, 9), 7);
    f.RunUntilIdle();
    Received got, rest;
    got.Read(*stream);
    rest.Read(*other);
    EXPECT_EQ(got.tokens[0], std::vector<int32_t>(answer.begin(), answer.begin() + 2));
    EXPECT_EQ(got.ends[0].stop_token, answer[2]);
    EXPECT_EQ(got.usage.completion_tokens, 3);
    EXPECT_EQ(rest.tokens[0], f.Expected(LoopFixture::Prompt(5, 9), 7));
    f.ExpectEmpty();
    rows[fed] = f.model.rows();
    EXPECT_EQ(f.observer.discarded_rows, fed ? 1 : 0);
  }
  EXPECT_EQ(rows[1], rows[0] + 1);
}

// What needs the token on the host waits for it; and prompts wait, for something more urgent may come before them.
TEST(FedStepsTest, PenaltiesAndPromptsKeepTheirStepsBehindTheWait) {
  LoopFixture f(Fed());
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 3);
  request->sampling.presence_penalty = 0.5f;
  f.Finish(f.Submit(std::move(request)));
  EXPECT_THAT(f.model.calls(), ElementsAre("L1", "W1", "L2", "W2", "L3", "W3"));
  const size_t before = f.model.calls().size();
  f.Finish(f.Submit(LoopFixture::Prompt(150), 1));
  for (size_t i = before; i < f.model.calls().size(); ++i) {
    EXPECT_EQ(f.model.calls()[i].front(), i % 2 == 0 ? 'L' : 'W') << f.model.calls()[i];
  }
  f.ExpectEmpty();
}

TEST(FedStepsTest, ACancelledSequenceGivesItsBlocksBackWhileItsRowsRun) {
  LoopFixture f(Fed());
  auto stream = f.Submit(LoopFixture::Prompt(6), 100);
  for (int i = 0; i < 4; ++i) f.Round();
  EXPECT_EQ(f.model.calls().back().front(), 'W');
  stream->Cancel();
  f.Round();
  EXPECT_EQ(f.published->leased_blocks, 0);
  Received got = f.Finish(stream);
  EXPECT_REASON(got.status, Reason::kCancelled);
  f.ExpectEmpty();
}

TEST(FedStepsTest, AFaultOfTheDeviceWaitsForBothStepsBeforeBlocksGoBack) {
  LoopFixture f(Fed());
  auto stream = f.Submit(LoopFixture::Prompt(4), 9);
  f.Round();
  f.model.on_wait = [] { return absl::InternalError("the device is gone"); };
  f.Round();
  EXPECT_THAT(f.model.calls(), ElementsAre("L1", "L2", "W1", "W2"));
  EXPECT_TRUE(f.loop->device_fault());
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kDeviceFault);
  f.ExpectEmpty();
}

TEST(FedStepsTest, ALaunchThatIsRefusedEndsItsRequestsAlone) {
  LoopFixture f(Fed());
  auto lost = f.Submit(LoopFixture::Prompt(4), 9);
  f.Round();
  f.model.on_launch = [](const models::StepInput&) { return absl::InvalidArgumentError("not this one"); };
  f.Round();  // the second step, while the first is in flight
  f.model.on_launch = nullptr;
  Received got;
  got.Read(*lost);
  EXPECT_REASON(got.status, Reason::kInternal);
  const Received next = f.Finish(f.Submit(LoopFixture::Prompt(5, 3), 4));
  EXPECT_EQ(next.tokens.at(0), f.Expected(LoopFixture::Prompt(5, 3), 4));
  f.ExpectEmpty();
}

// Prefix hits, choices, preemption, a stop: what is told of them is the same in the same order of requests.
TEST(FedStepsTest, UsageAndCachedBlocksAreThoseOfStepsThatWait) {
  std::vector<std::vector<int32_t>> told[2];
  for (const bool fed : {false, true}) {
    LoopFixture f(
        {.blocks = 24, .ledger_blocks = 200, .async_scheduling = fed ? AsyncScheduling::kOn : AsyncScheduling::kOff});
    for (int round = 0; round < 2; ++round) {
      std::vector<std::shared_ptr<request::TokenStream>> streams;
      for (int i = 0; i < 5; ++i) {
        auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9 + i, i / 2), 20 + i);
        if (i == 1) request->n = 2;
        if (i == 3) request->stop_token_ids = {f.Expected(LoopFixture::Prompt(9 + i, i / 2), 9).back()};
        streams.push_back(f.Submit(std::move(request)));
      }
      f.RunUntilIdle();
      for (auto& stream : streams) {
        Received got;
        got.Read(*stream);
        EXPECT_OK(got.status);
        for (auto& [choice, tokens] : got.tokens) told[fed].push_back(tokens);
        told[fed].push_back({got.usage.prompt_tokens, got.usage.completion_tokens});
      }
    }
    EXPECT_GT(f.observer.preemptions, 0);
    EXPECT_GT(f.observer.hit_tokens, 0);
    f.ExpectEmpty();
  }
  EXPECT_EQ(told[0], told[1]);
}

}  // namespace
}  // namespace hadal::engine
