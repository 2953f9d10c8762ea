// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/shared_output.h"

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using request::FinishReason;
using request::OutputReader;
using request::Reason;
using request::StreamBatch;

// A sequence with capacity for four unread tokens, and what became of it.
struct Sequence {
  explicit Sequence(int32_t capacity = 4)
      : output(
            SharedOutput::Create(capacity, request::Priority::kNormal, timer, [this](const RecordedOutput* recorded) {
              ++ends;
              if (recorded != nullptr) stored = *recorded;
            })) {}
  std::shared_ptr<OutputReader> Attach(bool leader = false, ReaderOptions options = {}) {
    return output->Attach(options, leader);
  }
  void Push(int32_t id) { output->stream()->PushToken({.choice = 0, .token_id = id}); }
  void End(FinishReason reason = FinishReason::kStop, absl::Status status = absl::OkStatus()) {
    output->stream()->EndChoice({.choice = 0, .reason = reason});
    output->stream()->Close(std::move(status), {.cached_tokens = 2});
  }

  std::shared_ptr<Timer> timer = std::make_shared<Timer>(base::Clock::Real());
  int ends = 0;
  std::optional<RecordedOutput> stored;
  std::shared_ptr<SharedOutput> output;
};

std::vector<int32_t> Ids(const StreamBatch& batch) {
  std::vector<int32_t> ids;
  for (const request::TokenEvent& token : batch.tokens) ids.push_back(token.token_id);
  return ids;
}

TEST(SharedOutputTest, EveryReaderGetsEverythingFromTheBeginning) {
  Sequence sequence;
  const auto leader = sequence.Attach(/*leader=*/true);
  sequence.Push(7);
  EXPECT_EQ(Ids(leader->Read()), std::vector<int32_t>{7});
  const auto follower = sequence.Attach();
  sequence.Push(8);
  sequence.End();
  const StreamBatch late = follower->Read();
  EXPECT_EQ(Ids(late), (std::vector<int32_t>{7, 8}));
  EXPECT_TRUE(late.closed && late.status.ok());
  EXPECT_EQ(late.usage.cached_tokens, 2);
  EXPECT_EQ(Ids(leader->Read()), std::vector<int32_t>{8});
  EXPECT_TRUE(leader->Read().closed);
  ASSERT_TRUE(sequence.stored.has_value());
  EXPECT_EQ(sequence.stored->tokens.size(), 2u);
  EXPECT_EQ(sequence.stored->cached_tokens, 2);
  EXPECT_EQ(sequence.ends, 1);
}

TEST(SharedOutputTest, ASlowReaderHoldsNobodyUp) {
  Sequence sequence;
  const auto slow = sequence.Attach(/*leader=*/true);
  const auto fast = sequence.Attach();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(sequence.output->stream()->Writable()) << "the leader has read nothing";
    sequence.Push(i);
    EXPECT_EQ(Ids(fast->Read()), std::vector<int32_t>{i});
  }
  for (int i = 0; i < 4; ++i) sequence.Push(i);
  EXPECT_FALSE(sequence.output->stream()->Writable()) << "nobody reads";
  EXPECT_EQ(Ids(slow->Read()).size(), 104u);
  EXPECT_TRUE(sequence.output->stream()->Writable());
}

TEST(SharedOutputTest, TheLeadersEndDoesNotEndTheOthersAndTheLastOnesDoes) {
  Sequence sequence;
  auto leader = sequence.Attach(/*leader=*/true);
  auto follower = sequence.Attach();
  leader->Cancel();
  EXPECT_REASON(leader->Read().status, Reason::kCancelled);
  leader.reset();
  EXPECT_FALSE(sequence.output->stream()->cancelled());
  sequence.Push(1);
  EXPECT_EQ(Ids(follower->Read()), std::vector<int32_t>{1});
  follower.reset();
  EXPECT_TRUE(sequence.output->stream()->cancelled());
  EXPECT_EQ(sequence.Attach(), nullptr) << "nothing will come";
  EXPECT_EQ(sequence.ends, 1);
  EXPECT_FALSE(sequence.stored.has_value());
}

TEST(SharedOutputTest, AnErrorIsToldToAllAndStoredByNobody) {
  Sequence sequence;
  const auto leader = sequence.Attach(/*leader=*/true), follower = sequence.Attach();
  sequence.End(FinishReason::kError, request::MakeError(Reason::kDeviceFault, "gone"));
  EXPECT_REASON(leader->Read().status, Reason::kDeviceFault);
  EXPECT_REASON(follower->Read().status, Reason::kDeviceFault);
  EXPECT_EQ(sequence.Attach(), nullptr);
  EXPECT_FALSE(sequence.stored.has_value());
  EXPECT_EQ(sequence.ends, 1);
}

TEST(SharedOutputTest, WhatADrainHasCutIsNotStored) {
  Sequence sequence;
  const auto leader = sequence.Attach(/*leader=*/true);
  sequence.End(FinishReason::kInsufficientSystemResource);
  EXPECT_TRUE(leader->Read().closed);
  EXPECT_FALSE(sequence.stored.has_value());
  EXPECT_EQ(sequence.ends, 1);
}

TEST(SharedOutputTest, AReaderEndsAtItsOwnDeadline) {
  Sequence sequence;
  std::atomic<int> told{0};
  auto notifier = std::make_shared<request::Notifier>([&told] { ++told; });
  const absl::Time soon = base::Clock::Real()->Now() + absl::Milliseconds(20);
  const auto hurried = sequence.Attach(false, {.notifier = notifier, .deadline = soon});
  const auto patient = sequence.Attach(/*leader=*/true);
  while (told == 0) std::this_thread::yield();
  const StreamBatch batch = hurried->Read();
  EXPECT_TRUE(batch.closed);
  EXPECT_REASON(batch.status, Reason::kDeadlineExpired);
  EXPECT_FALSE(sequence.output->stream()->cancelled());
  sequence.Push(1);
  EXPECT_EQ(Ids(patient->Read()), std::vector<int32_t>{1});
  notifier->Disconnect();
}

TEST(SharedOutputTest, ALimitOfTheFirstTokenIsNoMatterOnceItIsThere) {
  Sequence sequence;
  const auto reader = sequence.Attach(true, {.first_token_by = absl::InfinitePast()});
  sequence.Push(1);
  EXPECT_TRUE(reader->Read().status.ok());
  Sequence silent;
  const auto early = silent.Attach(true, {.first_token_by = absl::InfinitePast()});
  EXPECT_REASON(early->Read().status, Reason::kDeadlineExpired);
}

TEST(SharedOutputTest, AChoiceIsStoppedOnce) {
  Sequence sequence;
  const auto leader = sequence.Attach(true), follower = sequence.Attach();
  leader->StopChoice(0);
  follower->StopChoice(0);
  EXPECT_EQ(sequence.output->stream()->TakeStoppedChoices(), std::vector<int32_t>{0});
}

TEST(SharedOutputTest, ManyThreadsReadWhatOneWrites) {
  Sequence sequence(64);
  constexpr int kTokens = 2000;
  const auto leader = sequence.Attach(true);
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int reader = 0; reader < 4; ++reader) {
    threads.emplace_back([&right, reads = reader == 0 ? leader : sequence.Attach()] {
      int next = 0;
      StreamBatch batch;
      while (!batch.closed) {
        batch = reads->ReadBlocking(absl::Seconds(20));
        for (const int32_t id : Ids(batch)) next += id == next;
      }
      right += next == kTokens;
    });
  }
  for (int i = 0; i < kTokens; ++i) {
    while (!sequence.output->stream()->Writable()) std::this_thread::yield();
    sequence.Push(i);
  }
  sequence.End();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 4);
  EXPECT_EQ(sequence.ends, 1);
}

}  // namespace
}  // namespace hadal::response_cache
