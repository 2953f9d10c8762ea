// SPDX-License-Identifier: Apache-2.0
// How requests end before their time: cancelled, stopped, expired, not read, drained.
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::FinishReason;
using request::Priority;
using request::Reason;

TEST(LifecycleTest, WhoSeesItsRequestEndFindsAnEngineAtRest) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(8), 3);
  int32_t running_at_end = -1;
  std::shared_ptr<request::TokenStream> stream;
  auto notifier = std::make_shared<request::Notifier>([&] {
    if (stream != nullptr && stream->Read().closed) running_at_end = f.admission.controller->engine_load(0).sequences();
  });
  stream = request->stream = std::make_shared<request::TokenStream>(1024, notifier);
  f.Submit(std::move(request));
  f.RunUntilIdle();
  EXPECT_EQ(running_at_end, 0) << "the next request of the same client may be one that does not wait";
  notifier->Disconnect();
  f.ExpectEmpty();
}

TEST(LifecycleTest, CancelInTheQueue) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  f.Submit(LoopFixture::Prompt(4), 20);
  auto waiting = f.Submit(LoopFixture::Prompt(4, 2), 20);
  f.Round();
  EXPECT_EQ(f.admission.controller->GetLoad().waiting, 1);
  waiting->Cancel();
  f.Round();
  Received got;
  got.Read(*waiting);
  EXPECT_TRUE(got.closed);
  EXPECT_FALSE(got.started);
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_EQ(f.admission.controller->GetLoad().waiting, 0);
  EXPECT_EQ(f.observer.last_ended.stage, Stage::kQueue);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(LifecycleTest, CancelBeforeTheEngineLooks) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 5);
  request->stream->Cancel();
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_EQ(f.model.steps(), 0);
  f.ExpectEmpty();
}

TEST(LifecycleTest, CancelDuringPrefillFreesWithinOneRound) {
  LoopFixture f({.max_batch_size = 4, .max_batch_tokens = 8});
  auto stream = f.Submit(LoopFixture::Prompt(100), 5);
  f.Round();
  f.Round();
  EXPECT_EQ(f.state().leased_blocks, 25);
  stream->Cancel();
  f.Round();
  EXPECT_EQ(f.state().leased_blocks, 0);
  EXPECT_EQ(f.admission.pool.leased_bytes(), 0);
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kCancelled);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(LifecycleTest, CancelDuringDecodeKeepsFullBlocksCached) {
  LoopFixture f;
  auto stream = f.Submit(LoopFixture::Prompt(8), 50);
  for (int i = 0; i < 6; ++i) f.Round();
  stream->Cancel();
  f.Round();
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_GE(got.tokens[0].size(), 4u);
  EXPECT_EQ(f.state().leased_blocks, 0);
  EXPECT_GE(f.state().cached_blocks, 2);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(LifecycleTest, CancelWhileTheStepIsInFlight) {
  LoopFixture f;
  auto stream = f.Submit(LoopFixture::Prompt(8), 50);
  f.Round();
  f.model.on_wait = [&] {
    stream->Cancel();
    return absl::OkStatus();
  };
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kCancelled);
  EXPECT_LE(f.model.steps(), 3);
  f.ExpectEmpty();
}

TEST(LifecycleTest, StoppedChoiceEndsAloneAndFreesItsBlocks) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(8), 12);
  request->n = 2;
  auto stream = f.Submit(std::move(request));
  for (int i = 0; i < 6; ++i) f.Round();
  const int32_t leased = f.state().leased_blocks;
  stream->StopChoice(0);
  stream->StopChoice(0);
  stream->StopChoice(7);
  f.Round();
  EXPECT_LT(f.state().leased_blocks, leased);
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kStop);
  EXPECT_EQ(got.ends.at(0).stop_token, -1);
  EXPECT_LT(got.tokens[0].size(), 12u);
  EXPECT_EQ(got.ends.at(1).reason, FinishReason::kLength);
  EXPECT_EQ(got.tokens[1], f.Expected(LoopFixture::Prompt(8), 12));
  EXPECT_OK(got.status);
  f.ExpectEmpty();
}

TEST(LifecycleTest, StoppingTheOnlyChoiceEndsTheRequestWell) {
  LoopFixture f;
  auto stream = f.Submit(LoopFixture::Prompt(8), 50);
  for (int i = 0; i < 4; ++i) f.Round();
  stream->StopChoice(0);
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_TRUE(got.closed);
  EXPECT_OK(got.status);
  f.ExpectEmpty();
}

TEST(LifecycleTest, StoppingTheFirstChoiceBeforeThePromptIsComputedLeavesTheOthersNotWaiting) {
  LoopFixture f({.max_batch_size = 4, .max_batch_tokens = 8});
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(40), 0);
  request->n = 3;
  auto stream = f.Submit(std::move(request));
  f.Round();
  stream->StopChoice(0);
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_TRUE(got.closed);
  EXPECT_OK(got.status);
  EXPECT_EQ(got.ends.size(), 3u);
  f.ExpectEmpty();
}

TEST(LifecycleTest, SlowReaderIsPausedWhileOthersGoOn) {
  LoopFixture f;
  auto slow = LoopFixture::MakeRequest(LoopFixture::Prompt(8), 40);
  slow->stream = std::make_shared<request::TokenStream>(4);
  auto slow_stream = f.Submit(std::move(slow));
  auto other = f.Submit(LoopFixture::Prompt(8, 3), 30);
  f.RunUntilIdle();
  Received got, got_other;
  got_other.Read(*other);
  EXPECT_TRUE(got_other.closed);
  EXPECT_EQ(f.state().paused_requests, 1);
  EXPECT_GT(f.state().leased_blocks, 0) << "a paused sequence keeps its blocks";
  EXPECT_EQ(f.state().runnable_since_us, INT64_MIN) << "waiting for a reader is no reason to be called dead";
  // Each read lets it go on, and the whole answer arrives.
  for (int i = 0; i < 40 && !got.closed; ++i) {
    const size_t before = got.events.size();
    got.Read(*slow_stream);
    EXPECT_LE(got.events.size() - before, 4u + 2u) << "the stream is bounded";
    f.RunUntilIdle();
  }
  EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(8), 40));
  EXPECT_OK(got.status);
  f.ExpectEmpty();
}

TEST(LifecycleTest, AStalledReaderIsDropped) {
  LoopFixture f({.slow_reader_timeout = absl::Seconds(5)});
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(8), 40);
  request->stream = std::make_shared<request::TokenStream>(4);
  auto stream = f.Submit(std::move(request));
  f.RunUntilIdle();
  EXPECT_LE(f.round.wake_at, f.admission.clock.Now() + absl::Seconds(5)) << "the loop asks to be woken for it";
  f.admission.clock.Advance(absl::Seconds(5));
  f.Round();
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kSlowReader);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(LifecycleTest, ManyPausedReadersLeaveTheBatchToOthers) {
  LoopFixture f({.max_batch_size = 4, .max_batch_tokens = 16});
  for (int i = 0; i < 4; ++i) {
    auto slow = LoopFixture::MakeRequest(LoopFixture::Prompt(5, i), 40);
    slow->stream = std::make_shared<request::TokenStream>(2);
    f.Submit(std::move(slow));
  }
  f.RunUntilIdle();
  const Received got = f.Finish(f.Submit(LoopFixture::Prompt(6, 9), 10));
  EXPECT_EQ(got.tokens.at(0), f.Expected(LoopFixture::Prompt(6, 9), 10));
}

TEST(LifecycleTest, StalledReadersLoseTheirBlocksToOthers) {
  LoopFixture f({.blocks = 10, .ledger_blocks = 1000});
  std::vector<std::shared_ptr<request::TokenStream>> slow;
  for (int i = 0; i < 2; ++i) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(14, i), 20);
    request->stream = std::make_shared<request::TokenStream>(2);
    slow.push_back(f.Submit(std::move(request)));
  }
  f.RunUntilIdle();
  EXPECT_EQ(f.state().paused_requests, 2);
  auto other = f.Submit(LoopFixture::Prompt(12, 9), 8);
  f.RunUntilIdle();
  EXPECT_FALSE(other->Read().started) << "a short pause costs nobody anything";
  EXPECT_EQ(f.state().runnable_since_us, INT64_MIN) << "waiting for readers is not being stuck";
  EXPECT_LE(f.round.wake_at, f.admission.clock.Now() + absl::Seconds(1));
  f.admission.clock.Advance(absl::Seconds(1));
  Received got = f.Finish(other);
  EXPECT_EQ(got.tokens.at(0), f.Expected(LoopFixture::Prompt(12, 9), 8));
  // The slow ones lose nothing but time.
  std::vector<Received> answers(2);
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 2; ++i) answers[i].Read(*slow[i]);
    f.RunUntilIdle();
  }
  for (int i = 0; i < 2; ++i) EXPECT_EQ(answers[i].tokens[0], f.Expected(LoopFixture::Prompt(14, i), 20)) << i;
  f.ExpectEmpty();
}

TEST(LifecycleTest, WhatAPreemptionFreesIsGivenOutInTheNextRound) {
  LoopFixture f({.blocks = 9, .ledger_blocks = 1000, .prefix_cache = false});
  const auto submit_slow = [&](int32_t prompt, Priority priority) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(prompt, prompt), 20, priority);
    request->stream = std::make_shared<request::TokenStream>(2);
    return f.Submit(std::move(request));
  };
  auto urgent = submit_slow(16, Priority::kHigh);
  auto other = submit_slow(14, Priority::kLow);
  f.RunUntilIdle();
  ASSERT_EQ(f.state().paused_requests, 2);
  ASSERT_EQ(f.state().free_blocks, 0);
  auto small = f.Submit(LoopFixture::Prompt(3, 9), 2, Priority::kNormal);
  f.RunUntilIdle();
  ASSERT_FALSE(small->Read().started);
  // Its next token needs a block that only itself can give: nothing runs then, but the small one has room.
  Received got;
  got.Read(*other);
  f.RunUntilIdle();
  ASSERT_EQ(f.observer.preemptions, 1);
  EXPECT_TRUE(small->Read().closed);
}

TEST(LifecycleTest, AnExpiredRequestIsNeverPrefilled) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  auto running = f.Submit(LoopFixture::Prompt(4), 30);
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4, 2), 5);
  request->deadline = f.admission.clock.Now() + absl::Milliseconds(10);
  auto expiring = f.Submit(std::move(request));
  f.RunUntilIdle();
  Received got;
  got.Read(*expiring);
  EXPECT_REASON(got.status, Reason::kDeadlineExpired);
  EXPECT_EQ(got.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(got.started);
  f.ExpectEmpty();
}

TEST(LifecycleTest, ADeadlineEndsARunningRequest) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 500);
  request->deadline = f.admission.clock.Now() + absl::Milliseconds(20);
  auto stream = f.Submit(std::move(request));
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_REASON(got.status, Reason::kDeadlineExpired);
  EXPECT_GT(got.tokens[0].size(), 5u);
  f.ExpectEmpty();
}

// A client gives up at its deadline, and its front cancels what it asked for.
TEST(LifecycleTest, WhatIsCancelledAtItsDeadlineHasMissedIt) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 2; ++i) {  // the first runs, the second waits
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4, i), 50);
    request->deadline = f.admission.clock.Now() + absl::Seconds(20);
    streams.push_back(f.Submit(std::move(request)));
  }
  f.Round();
  f.admission.clock.Advance(absl::Seconds(20));
  for (const auto& stream : streams) stream->Cancel();
  f.RunUntilIdle();
  for (const auto& stream : streams) {
    Received got;
    got.Read(*stream);
    EXPECT_REASON(got.status, Reason::kDeadlineExpired);
  }
  f.ExpectEmpty();
}

TEST(LifecycleTest, DrainRefusesTheWaitingAndFinishesTheRunning) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  auto running = f.Submit(LoopFixture::Prompt(4), 10);
  auto waiting = f.Submit(LoopFixture::Prompt(4, 2), 10);
  f.Round();
  f.admission.controller->BeginDrain();
  f.loop->BeginDrain();
  f.RunUntilIdle();
  Received got, got_waiting;
  got.Read(*running);
  got_waiting.Read(*waiting);
  EXPECT_OK(got.status);
  EXPECT_EQ(got.tokens[0].size(), 10u);
  EXPECT_REASON(got_waiting.status, Reason::kDraining);
  EXPECT_FALSE(got_waiting.started);
  f.ExpectEmpty();
}

TEST(LifecycleTest, ADrainTellsTheWaitingDifferentTimes) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  auto running = f.Submit(LoopFixture::Prompt(4), 10);
  std::vector<std::shared_ptr<request::TokenStream>> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(f.Submit(LoopFixture::Prompt(4, 2 + i), 10));
  f.Round();
  f.admission.controller->BeginDrain();
  f.loop->BeginDrain();
  f.RunUntilIdle();
  std::set<absl::Duration> told;
  for (const auto& stream : waiting) {
    Received got;
    got.Read(*stream);
    EXPECT_REASON(got.status, Reason::kDraining);
    told.insert(*request::GetErrorDetail(got.status).retry_after);
  }
  EXPECT_EQ(told.size(), waiting.size()) << "else they all come to the other replicas at once";
}

TEST(LifecycleTest, TheDrainsTimeOutEndsTheRest) {
  LoopFixture f({.max_batch_size = 2, .max_batch_tokens = 4});
  auto decoding = f.Submit(LoopFixture::Prompt(2), 100);
  for (int i = 0; i < 5; ++i) f.Round();
  auto prefilling = f.Submit(LoopFixture::Prompt(200, 2), 10);
  f.Round();
  f.loop->BeginDrain();
  f.loop->EndRunning();
  f.RunUntilIdle();
  Received got, got_prefilling;
  got.Read(*decoding);
  got_prefilling.Read(*prefilling);
  EXPECT_OK(got.status) << "what was produced is an answer, cut short and marked so";
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kInsufficientSystemResource);
  EXPECT_REASON(got_prefilling.status, Reason::kDraining) << "nothing was sent: another replica can serve it";
  EXPECT_EQ(f.observer.good, 0);
  f.ExpectEmpty();
}

TEST(LifecycleTest, DestructionClosesEveryStream) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  auto running = f.Submit(LoopFixture::Prompt(4), 100);
  auto waiting = f.Submit(LoopFixture::Prompt(4, 2), 100);
  f.Round();
  f.loop.reset();
  EXPECT_TRUE(running->Read().closed);
  EXPECT_TRUE(waiting->Read().closed);
  EXPECT_EQ(f.admission.pool.leased_bytes(), 0);
}

}  // namespace
}  // namespace hadal::engine
