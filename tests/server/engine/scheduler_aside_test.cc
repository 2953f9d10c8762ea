// SPDX-License-Identifier: Apache-2.0
// Requests of class batch leave their places in the batch to more urgent ones, and go on later.
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_calls.h"

namespace hadal::engine {
namespace {

using hadal::testing::Calls;
using hadal::testing::LoopFixture;
using hadal::testing::RestObserver;
using request::Priority;

TEST(SchedulerAsideTest, ABatchTakesNoTimeOfMoreUrgentRequests) {
  const auto rounds_of_a_request = [](int batch_requests, Priority priority) {
    LoopFixture f({.max_batch_size = 4});
    Calls calls(f);
    for (int i = 0; i < batch_requests; ++i) calls.Submit(Priority::kBatch, 100);
    calls.Rounds(5);
    const size_t urgent = calls.Submit(priority, 10);
    const int rounds = calls.RoundsUntilClosed(urgent);
    calls.FinishAll();
    calls.ExpectAllRight();
    EXPECT_EQ(f.observer.set_aside, batch_requests > 0 ? 1 : 0);
    EXPECT_EQ(f.observer.preemptions, 0);
    EXPECT_EQ(f.observer.recomputed_tokens, 0);
    f.ExpectEmpty();
    return rounds;
  };
  for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
    EXPECT_EQ(rounds_of_a_request(8, priority), rounds_of_a_request(0, priority));
  }
}

TEST(SchedulerAsideTest, OnlyABatchIsSetAside) {
  LoopFixture f({.max_batch_size = 4});
  Calls calls(f);
  for (int i = 0; i < 4; ++i) calls.Submit(Priority::kLow, 50);
  calls.Rounds(5);
  const size_t urgent = calls.Submit(Priority::kHigh, 10);
  calls.Rounds(5);
  EXPECT_FALSE(calls.got(urgent).started);
  calls.FinishAll();
  EXPECT_EQ(f.observer.set_aside, 0);
}

TEST(SchedulerAsideTest, NoMoreAreSetAsideThanMoreUrgentRequestsNeed) {
  LoopFixture f({.max_batch_size = 8});
  Calls calls(f);
  for (int i = 0; i < 8; ++i) calls.Submit(Priority::kBatch, 60);
  calls.Rounds(5);
  for (int i = 0; i < 3; ++i) calls.Submit(Priority::kNormal, 20);
  calls.Rounds(5);
  EXPECT_EQ(f.observer.set_aside, 3);
  for (size_t i = 0; i < 5; ++i) EXPECT_GT(calls.produced(i), 7) << i << " started before the others and goes on";
  for (size_t i = 5; i < 8; ++i) EXPECT_LT(calls.produced(i), 7) << i;
  calls.FinishAll();
  calls.ExpectAllRight();
  EXPECT_EQ(f.observer.set_aside, 3);
}

TEST(SchedulerAsideTest, TheFirstToHaveStartedGoesOnFirstAndBeforeTheQueue) {
  LoopFixture f({.max_batch_size = 2});
  Calls calls(f);
  for (int i = 0; i < 3; ++i) calls.Submit(Priority::kBatch, 30);  // the third waits in the queue
  calls.Rounds(3);
  const size_t one = calls.Submit(Priority::kNormal, 10);
  const size_t other = calls.Submit(Priority::kNormal, 20);
  calls.RoundsUntilClosed(one);
  EXPECT_EQ(f.observer.set_aside, 2);
  const size_t before[] = {calls.produced(0), calls.produced(1)};
  calls.Rounds(4);
  EXPECT_GT(calls.produced(0), before[0]);
  EXPECT_EQ(calls.produced(1), before[1]);
  calls.RoundsUntilClosed(other);
  calls.Rounds(4);
  EXPECT_GT(calls.produced(1), before[1]);
  EXPECT_FALSE(calls.got(2).started);
  calls.FinishAll();
  calls.ExpectAllRight();
}

TEST(SchedulerAsideTest, AllChoicesOfARequestAreSetAsideTogether) {
  LoopFixture f({.max_batch_size = 4});
  Calls calls(f);
  calls.Submit(Priority::kBatch, 40, /*choices=*/4);
  calls.Rounds(8);
  const size_t urgent = calls.Submit(Priority::kNormal, 10);
  calls.RoundsUntilClosed(urgent);
  EXPECT_EQ(f.observer.set_aside, 4);
  calls.FinishAll();
  calls.ExpectAllRight();
  f.ExpectEmpty();
}

// As in the queue: after the step of each class between them it is no longer passed, and keeps its place.
TEST(SchedulerAsideTest, WhatWasSetAsideAges) {
  LoopFixture f({.max_batch_size = 16});
  Calls calls(f);
  for (int i = 0; i < 16; ++i) calls.Submit(Priority::kBatch, 40);
  calls.Rounds(5);
  const absl::Time began = f.admission.clock.Now();
  while (!calls.got(0).closed && f.admission.clock.Now() < began + absl::Seconds(60)) {
    while (f.admission.controller->GetLoad().waiting_by_class[static_cast<size_t>(Priority::kNormal)] < 20) {
      calls.Submit(Priority::kNormal, 5);
    }
    calls.Rounds(1);
  }
  EXPECT_GE(f.admission.clock.Now() - began, absl::Seconds(16));
  EXPECT_LE(f.admission.clock.Now() - began, absl::Seconds(18));
  calls.FinishAll();
  calls.ExpectAllRight();
}

TEST(SchedulerAsideTest, BlocksOfWhatIsSetAsideGoToOthersThatNeedThem) {
  LoopFixture f({.blocks = 20, .max_batch_size = 1, .ledger_blocks = 400});
  Calls calls(f);
  calls.Submit(Priority::kBatch, 60);
  calls.Rounds(30);
  const size_t urgent = calls.Submit(Priority::kNormal, 60);
  calls.RoundsUntilClosed(urgent);
  EXPECT_EQ(f.observer.preemptions, 1);
  calls.FinishAll();
  calls.ExpectAllRight();
  f.ExpectEmpty();
}

TEST(SchedulerAsideTest, ACancelledRequestEndsBesideWhatIsSetAside) {
  LoopFixture f({.max_batch_size = 2});
  Calls calls(f);
  calls.Submit(Priority::kBatch, 50);
  calls.Submit(Priority::kBatch, 50);
  calls.Rounds(4);
  const size_t urgent = calls.Submit(Priority::kNormal, 30);
  calls.Submit(Priority::kNormal, 30);
  calls.Rounds(4);
  calls.stream(0).Cancel();
  calls.Rounds(2);
  EXPECT_TRUE(calls.got(0).closed);
  EXPECT_FALSE(calls.got(urgent).closed);
  calls.FinishAll();
  calls.ExpectRight(1);
  f.ExpectEmpty();
}

// Set aside, preempted, cancelled and resumed at random: every answer is that of the model alone.
struct Mode {
  std::string name;
  AsyncScheduling async = AsyncScheduling::kOff;
  int overlapped_steps = 1;
  int32_t window_tokens = 0;
  int32_t blocks = 1000;
};

class SchedulerAsideRandomTest : public ::testing::TestWithParam<Mode> {};

TEST_P(SchedulerAsideRandomTest, AnswersAreRightWhateverComesBetween) {
  int64_t set_aside = 0, rested = 0;
  for (int seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    LoopFixture f({.blocks = GetParam().blocks,
                   .max_batch_size = 4,
                   .max_batch_tokens = 16,
                   .ledger_blocks = 100000,
                   .window_tokens = GetParam().window_tokens,
                   .async_scheduling = GetParam().async,
                   .overlapped_steps = GetParam().overlapped_steps});
    RestObserver observer(f);
    Calls calls(f);
    if (seed % 2 == 1) calls.step_time = [](int32_t tokens) { return tokens * absl::Milliseconds(1); };
    std::vector<bool> cancelled;
    for (int i = 0; i < 60; ++i) {
      const bool batch = random() % 2 == 0;
      calls.Submit(batch ? Priority::kBatch : static_cast<Priority>(random() % 3),
                   1 + static_cast<int32_t>(random() % 40), random() % 8 == 0 ? 2 : 1);
      cancelled.push_back(random() % 10 == 0);
      calls.Rounds(static_cast<int>(random() % 12));
      const size_t some = random() % calls.size();
      if (cancelled[some]) calls.stream(some).Cancel();
    }
    for (size_t i = 0; i < calls.size(); ++i) {
      calls.RoundsUntilClosed(i);
      if (calls.got(i).status.ok()) calls.ExpectRight(i);
      EXPECT_TRUE(calls.got(i).status.ok() || cancelled[i]) << calls.got(i).status;
    }
    set_aside += observer.set_aside;
    rested += observer.rested;
    f.ExpectEmpty();
  }
  EXPECT_GT(set_aside, 100);
  const bool rests = GetParam().window_tokens == 0 && GetParam().overlapped_steps == 1;
  EXPECT_EQ(rested > 100, rests) << rested;
}

INSTANTIATE_TEST_SUITE_P(Modes, SchedulerAsideRandomTest,
                         ::testing::Values(Mode{"alone"}, Mode{"fed", AsyncScheduling::kOn},
                                           Mode{"overlapped", AsyncScheduling::kOff, 3},
                                           Mode{"windowed", AsyncScheduling::kOff, 1, 8},
                                           Mode{"scarce", AsyncScheduling::kOff, 1, 0, 40},
                                           Mode{"fed_and_scarce", AsyncScheduling::kOn, 1, 0, 40}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hadal::engine
