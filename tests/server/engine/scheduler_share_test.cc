// SPDX-License-Identifier: Apache-2.0
// Class batch adds little to the time of steps that others are in, and uses all that costs them nothing.
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_calls.h"

namespace hadal::engine {
namespace {

using hadal::testing::Calls;
using hadal::testing::LoopFixture;
using hadal::testing::RestObserver;
using request::Priority;

struct StepCosts {
  absl::Duration fixed, per_token;
};
// As on a processor that computes a token in a millisecond, and as where the weights are read for any number of rows.
constexpr StepCosts kRowsCost = {absl::Microseconds(100), absl::Milliseconds(1)};
constexpr StepCosts kRowsAreFree = {absl::Milliseconds(10), absl::Microseconds(10)};

// The rows of steps in which `others` normal requests run beside eight of a batch.
std::vector<int32_t> RowsBeside(int others, StepCosts costs, AsyncScheduling async = AsyncScheduling::kOff) {
  LoopFixture f({.max_batch_size = 32, .max_batch_tokens = 256, .async_scheduling = async});
  RestObserver observer(f);
  Calls calls(f);
  calls.step_time = [=](int32_t tokens) { return costs.fixed + tokens * costs.per_token; };
  for (int i = 0; i < 8; ++i) calls.Submit(Priority::kBatch, 600);
  calls.Rounds(60);
  std::vector<size_t> normal;
  for (int i = 0; i < others; ++i) normal.push_back(calls.Submit(Priority::kNormal, 200));
  calls.Rounds(20);  // what a step costs is learnt from steps of different sizes
  std::vector<int32_t> rows;
  const int64_t rested_before = observer.rested;
  for (int i = 0; i < 100; ++i) {
    calls.Rounds(1);
    rows.push_back(f.model.shapes().back().tokens);
  }
  const auto without = std::count(rows.begin(), rows.end(), others);
  EXPECT_NEAR(static_cast<double>(observer.rested - rested_before), static_cast<double>(without), 1);
  for (const size_t one : normal) calls.RoundsUntilClosed(one);
  calls.Rounds(3);
  EXPECT_EQ(f.model.shapes().back().tokens, 8) << "nothing else runs: all of the batch goes on";
  const int64_t rested = observer.rested;
  calls.FinishAll();
  EXPECT_EQ(observer.rested, rested);
  calls.ExpectAllRight();
  f.ExpectEmpty();
  return rows;
}

TEST(SchedulerShareTest, ARowThatTakesLongerThanABatchMayAddTakesTurns) {
  for (const AsyncScheduling async : {AsyncScheduling::kOff, AsyncScheduling::kOn}) {
    const std::vector<int32_t> rows = RowsBeside(4, kRowsCost, async);
    EXPECT_EQ(*std::max_element(rows.begin(), rows.end()), 4 + 1) << "one goes on";
    EXPECT_EQ(*std::min_element(rows.begin(), rows.end()), 4) << "but not in every step";
    // A twentieth of 4.1 ms a step pays for 1 ms in every fifth.
    const auto turns = std::count(rows.begin(), rows.end(), 4 + 1);
    EXPECT_GE(turns, 18);
    EXPECT_LE(turns, 23);
    size_t apart = 0;
    for (auto turn = rows.begin(); turn != rows.end();) {
      const auto next = std::find(turn, rows.end(), 4 + 1);
      apart = std::max<size_t>(apart, next - turn);
      turn = next == rows.end() ? next : next + 1;
    }
    EXPECT_LE(apart, 6) << "evenly";
  }
}

TEST(SchedulerShareTest, ABatchUsesTheRowsThatCostNothing) {
  for (const AsyncScheduling async : {AsyncScheduling::kOff, AsyncScheduling::kOn}) {
    const std::vector<int32_t> rows = RowsBeside(4, kRowsAreFree, async);
    EXPECT_EQ(*std::min_element(rows.begin(), rows.end()), 4 + 8);
  }
}

// The rows of a batch are all in a step, or none where their time was not saved.
TEST(SchedulerShareTest, ChoicesOfOneRequestTakeTheirTurnTogether) {
  LoopFixture f({.max_batch_size = 16});
  Calls calls(f);
  calls.step_time = [](int32_t tokens) { return kRowsCost.fixed + tokens * kRowsCost.per_token; };
  calls.Submit(Priority::kBatch, 200, /*choices=*/3);
  calls.Rounds(40);
  const size_t urgent = calls.Submit(Priority::kNormal, 200);
  calls.Submit(Priority::kNormal, 200);
  calls.Rounds(20);
  int turns = 0;
  for (int i = 0; i < 100; ++i) {
    calls.Rounds(1);
    const int32_t rows = f.model.shapes().back().tokens;
    EXPECT_TRUE(rows == 2 || rows == 5) << rows;
    turns += rows == 5 ? 1 : 0;
  }
  // A twentieth of 2.1 ms a step, for 3 ms.
  EXPECT_GE(turns, 3);
  EXPECT_LE(turns, 6);
  EXPECT_FALSE(calls.got(urgent).closed);
  calls.FinishAll();
  calls.ExpectAllRight();
}

// It would hold them for longer, the longer it rests.
TEST(SchedulerShareTest, WhatHoldsBlocksThatOthersWaitForDoesNotRest) {
  const auto tokens_in_20_rounds = [](bool others_wait) {
    LoopFixture f({.blocks = 100, .max_batch_size = 16, .max_preemptions = 0, .ledger_blocks = 1000});
    Calls calls(f);
    calls.step_time = [](int32_t tokens) { return kRowsCost.fixed + tokens * kRowsCost.per_token; };
    calls.Submit(Priority::kBatch, 161);
    calls.Rounds(20);
    calls.Submit(Priority::kNormal, 161);
    calls.Rounds(60);
    // A third one finds no room.
    const size_t third = others_wait ? calls.Submit(Priority::kNormal, 161) : 0;
    calls.Rounds(2);
    const size_t before = calls.produced(0);
    calls.Rounds(20);
    const size_t produced = calls.produced(0) - before;
    EXPECT_TRUE(third == 0 || !calls.got(third).started);
    calls.FinishAll();
    calls.ExpectAllRight();
    f.ExpectEmpty();
    return produced;
  };
  EXPECT_EQ(tokens_in_20_rounds(true), 20);
  EXPECT_LE(tokens_in_20_rounds(false), 4);
}

// The tokens of steps in which four requests decode beside a batch that has a long prompt, and those of a step that
// computes the prompt of another request, too.
struct BesideAPrompt {
  std::vector<int32_t> decoding;
  int32_t with_prompt = 0;
};

BesideAPrompt TokensBesideAPrompt(std::function<absl::Duration(int32_t)> step_time) {
  constexpr int32_t kOthers = 4;
  constexpr int32_t kUrgentPrompt = 60;
  LoopFixture f({.blocks = 4000, .max_batch_size = 16, .max_batch_tokens = 512});
  Calls calls(f);
  calls.step_time = std::move(step_time);
  for (int i = 0; i < 20; ++i) {  // what a step costs is learnt
    const size_t one = calls.Submit(Priority::kNormal, 3, 1, 30 + 24 * i);
    calls.RoundsUntilClosed(one);
  }
  for (int i = 0; i < kOthers; ++i) calls.Submit(Priority::kNormal, 300);
  calls.Rounds(40);
  calls.Submit(Priority::kBatch, 2, 1, 6000);
  calls.Rounds(20);
  BesideAPrompt tokens;
  for (int i = 0; i < 30; ++i) {
    calls.Rounds(1);
    tokens.decoding.push_back(f.model.shapes().back().tokens - kOthers);
  }
  calls.Submit(Priority::kNormal, 2, 1, kUrgentPrompt);
  for (int i = 0; i < 3; ++i) {
    calls.Rounds(1);
    tokens.with_prompt = std::max(tokens.with_prompt, f.model.shapes().back().tokens - kOthers - kUrgentPrompt);
  }
  calls.FinishAll();
  calls.ExpectAllRight();
  return tokens;
}

TEST(SchedulerShareTest, ChunksOfABatchAddLittleToAStep) {
  const BesideAPrompt tokens =
      TokensBesideAPrompt([](int32_t rows) { return absl::Milliseconds(4) + rows * absl::Microseconds(25); });
  // A fortieth of 4.1 ms.
  EXPECT_LE(*std::max_element(tokens.decoding.begin(), tokens.decoding.end()), 5);
  EXPECT_GE(std::accumulate(tokens.decoding.begin(), tokens.decoding.end(), 0), 2 * 30);
  EXPECT_LE(tokens.with_prompt, 5);
}

TEST(SchedulerShareTest, ATokenOfAChunkThatTakesLongerThanABatchMayAddTakesTurns) {
  const BesideAPrompt tokens =
      TokensBesideAPrompt([](int32_t rows) { return absl::Microseconds(100) + rows * absl::Milliseconds(1); });
  EXPECT_EQ(*std::max_element(tokens.decoding.begin(), tokens.decoding.end()), 1);
  const int32_t all = std::accumulate(tokens.decoding.begin(), tokens.decoding.end(), 0);
  EXPECT_GE(all, 1);
  EXPECT_LE(all, 4);
}

TEST(SchedulerShareTest, ChunksOfABatchUseTheTokensThatCostNothing) {
  // Up to 256 tokens a step waits for memory.
  const BesideAPrompt tokens = TokensBesideAPrompt(
      [](int32_t rows) { return absl::Milliseconds(5) + std::max(0, rows - 256) * absl::Microseconds(50); });
  EXPECT_GE(std::accumulate(tokens.decoding.begin(), tokens.decoding.end(), 0), 15 * 30)
      << "by the fit, which longer prompts lead, it would be 2 a step";
}

}  // namespace
}  // namespace hadal::engine
