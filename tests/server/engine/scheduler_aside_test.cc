// SPDX-License-Identifier: Apache-2.0
// Requests of class batch leave their places in the batch to more urgent ones, and go on later.
#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::Priority;

constexpr int32_t kPrompt = 4;

// Requests and what has been received of each.
class Calls {
 public:
  explicit Calls(LoopFixture& fixture) : f_(fixture) {}

  size_t Submit(Priority priority, int32_t output, int32_t choices = 1) {
    auto prompt = LoopFixture::Prompt(kPrompt, static_cast<int32_t>(calls_.size()));
    auto request = LoopFixture::MakeRequest(prompt, output, priority);
    request->n = choices;
    calls_.push_back({prompt, output, f_.Submit(std::move(request)), {}});
    return calls_.size() - 1;
  }
  // How long a step of so many tokens takes.
  std::function<absl::Duration(int32_t)> step_time = [](int32_t) { return absl::Milliseconds(10); };
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      f_.Round();
      f_.admission.clock.Advance(step_time(f_.model.shapes().empty() ? 0 : f_.model.shapes().back().tokens));
      for (Call& call : calls_) {
        if (!call.got.closed) call.got.Read(*call.stream);
      }
    }
  }
  // Rounds until it is closed; how many.
  int RoundsUntilClosed(size_t index) {
    for (int rounds = 0; rounds < 10000; ++rounds) {
      if (calls_[index].got.closed) return rounds;
      Rounds(1);
    }
    ADD_FAILURE() << "request " << index << " does not end";
    return 0;
  }
  void FinishAll() {
    for (size_t i = 0; i < calls_.size(); ++i) RoundsUntilClosed(i);
  }
  void ExpectRight(size_t index) const {
    const Call& call = calls_[index];
    EXPECT_OK(call.got.status);
    ASSERT_FALSE(call.got.tokens.empty());
    for (const auto& [choice, tokens] : call.got.tokens) {
      EXPECT_EQ(tokens, f_.Expected(call.prompt, call.output)) << "choice " << choice << " of request " << index;
    }
  }
  void ExpectAllRight() const {
    for (size_t i = 0; i < calls_.size(); ++i) ExpectRight(i);
  }
  size_t size() const { return calls_.size(); }
  request::TokenStream& stream(size_t index) { return *calls_[index].stream; }
  const Received& got(size_t index) const { return calls_[index].got; }
  size_t produced(size_t index) const {
    const auto found = got(index).tokens.find(0);
    return found == got(index).tokens.end() ? 0 : found->second.size();
  }

 private:
  struct Call {
    std::vector<int32_t> prompt;
    int32_t output;
    std::shared_ptr<request::TokenStream> stream;
    Received got;
  };
  LoopFixture& f_;
  std::vector<Call> calls_;
};

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

// The rows of steps in which `others` normal requests run beside eight of a batch.
std::vector<int32_t> RowsBeside(int others, absl::Duration fixed, absl::Duration per_token) {
  LoopFixture f({.max_batch_size = 32, .max_batch_tokens = 256});
  Calls calls(f);
  calls.step_time = [=](int32_t tokens) { return fixed + tokens * per_token; };
  for (int i = 0; i < 8; ++i) calls.Submit(Priority::kBatch, 600);
  calls.Rounds(60);
  std::vector<size_t> normal;
  for (int i = 0; i < others; ++i) normal.push_back(calls.Submit(Priority::kNormal, 100));
  calls.Rounds(20);  // what a step costs is learnt from steps of different sizes
  std::vector<int32_t> rows;
  for (int i = 0; i < 60; ++i) {
    calls.Rounds(1);
    rows.push_back(f.model.shapes().back().tokens);
  }
  for (const size_t one : normal) calls.RoundsUntilClosed(one);
  calls.Rounds(3);
  EXPECT_EQ(f.model.shapes().back().tokens, 8) << "nothing else runs: all of the batch goes on";
  calls.FinishAll();
  calls.ExpectAllRight();
  f.ExpectEmpty();
  return rows;
}

TEST(SchedulerAsideTest, ABatchAddsLittleToStepsWhoseTimeGrowsWithTheirRows) {
  const std::vector<int32_t> rows = RowsBeside(4, absl::Microseconds(100), absl::Milliseconds(1));
  EXPECT_EQ(*std::max_element(rows.begin(), rows.end()), 4 + 1) << "one goes on";
}

TEST(SchedulerAsideTest, ABatchUsesTheRowsThatCostNothing) {
  const std::vector<int32_t> rows = RowsBeside(4, absl::Milliseconds(10), absl::Microseconds(10));
  EXPECT_EQ(*std::min_element(rows.begin(), rows.end()), 4 + 8);
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
  int64_t set_aside = 0;
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
    Calls calls(f);
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
    set_aside += f.observer.set_aside;
    f.ExpectEmpty();
  }
  EXPECT_GT(set_aside, 100);
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
