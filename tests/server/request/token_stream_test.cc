// SPDX-License-Identifier: Apache-2.0
#include "server/request/token_stream.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "gtest/gtest.h"

namespace hadal::request {
namespace {

TokenEvent Token(int32_t id) {
  TokenEvent event;
  event.token_id = id;
  return event;
}

TEST(TokenStreamTest, ReadTakesEverythingInOrder) {
  TokenStream stream(8);
  stream.MarkStarted();
  stream.PushToken(Token(1));
  stream.PushToken(Token(2));
  stream.EndChoice({0, FinishReason::kStop, 7});
  StreamBatch batch = stream.Read();
  ASSERT_EQ(batch.tokens.size(), 2u);
  EXPECT_EQ(batch.tokens[1].token_id, 2);
  ASSERT_EQ(batch.ends.size(), 1u);
  EXPECT_TRUE(batch.started);
  EXPECT_FALSE(batch.closed);
  batch = stream.Read();
  EXPECT_TRUE(batch.tokens.empty());
  EXPECT_TRUE(batch.ends.empty());
}

TEST(TokenStreamTest, CloseStaysVisible) {
  TokenStream stream(8);
  stream.Close(absl::OkStatus(), {3, 0, 5});
  EXPECT_TRUE(stream.Read().closed);
  const StreamBatch again = stream.Read();
  EXPECT_TRUE(again.closed);
  EXPECT_EQ(again.usage.completion_tokens, 5);
}

TEST(TokenStreamTest, TellsWhenItsRequestStartedGaveItsFirstTokenAndEnded) {
  const absl::Time start = absl::UnixEpoch() + absl::Seconds(10);
  TokenStream stream(8);
  EXPECT_EQ(stream.times().started, absl::InfiniteFuture());
  stream.MarkStarted(start);
  EXPECT_EQ(stream.times().first_token, absl::InfiniteFuture());
  stream.PushToken(Token(1), start + absl::Seconds(1));
  stream.PushToken(Token(2), start + absl::Seconds(2));
  EXPECT_EQ(stream.times().ended, absl::InfiniteFuture());
  stream.Read();
  stream.Close(absl::OkStatus(), {}, start + absl::Seconds(3));
  EXPECT_EQ(stream.times().started, start);
  EXPECT_EQ(stream.times().first_token, start + absl::Seconds(1));
  EXPECT_EQ(stream.times().ended, start + absl::Seconds(3));
}

TEST(TokenStreamTest, NotifiesOnceUntilRead) {
  int calls = 0;
  TokenStream stream(8, std::make_shared<Notifier>([&] { ++calls; }));
  EXPECT_EQ(calls, 0);
  stream.PushToken(Token(1));
  stream.PushToken(Token(2));
  EXPECT_EQ(calls, 1);
  stream.Read();
  stream.PushToken(Token(3));
  EXPECT_EQ(calls, 2);
  stream.Close(absl::OkStatus(), {});
  EXPECT_EQ(calls, 3);  // though it was readable already
}

TEST(TokenStreamTest, TheCallbackMayRead) {
  TokenStream* read = nullptr;
  size_t tokens = 0;
  TokenStream stream(8, std::make_shared<Notifier>([&] { tokens += read->Read().tokens.size(); }));
  read = &stream;
  stream.PushToken(Token(1));
  stream.PushToken(Token(2));
  EXPECT_EQ(tokens, 2u);
}

// The consumer may go at any moment: while nothing was pushed, inside a notification, after the close. Nothing that its
// callback uses is touched once it has said so.
TEST(TokenStreamTest, ConsumersComeAndGoInAStorm) {
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    auto used_by_callback = std::make_unique<std::atomic<int>>(0);
    auto notifier = std::make_shared<Notifier>([used = used_by_callback.get()] {
      used->fetch_add(1);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      used->fetch_add(1);
    });
    auto stream = std::make_shared<TokenStream>(4, notifier);
    std::thread producer([stream] {
      stream->MarkStarted();
      for (int i = 0; i < 8; ++i) stream->PushToken(Token(i));
      stream->Close(absl::OkStatus(), {});
    });
    std::thread canceller([stream] { stream->Cancel(); });
    std::this_thread::sleep_for(std::chrono::microseconds(round));
    stream->Read();
    notifier->Disconnect();
    EXPECT_EQ(used_by_callback->load() % 2, 0) << "a callback still runs";
    used_by_callback.reset();
    stream.reset();
    producer.join();
    canceller.join();
  }
}

TEST(TokenStreamTest, IsWritableUntilFullAndAgainAfterARead) {
  TokenStream stream(2);
  EXPECT_TRUE(stream.Writable());
  stream.PushToken(Token(1));
  EXPECT_TRUE(stream.Writable());
  stream.PushToken(Token(2));
  EXPECT_FALSE(stream.Writable());
  stream.Read();
  EXPECT_TRUE(stream.Writable());
}

TEST(TokenStreamTest, WakesTheProducerOnlyWhenItMatters) {
  auto wake = std::make_shared<WakeSignal>();
  TokenStream stream(2);
  stream.SetProducerWake(wake);
  stream.PushToken(Token(1));
  stream.Read();
  EXPECT_EQ(wake->Take(), 0u) << "reading a stream that was not full wakes nobody";
  stream.PushToken(Token(1));
  stream.PushToken(Token(2));
  stream.Read();
  EXPECT_EQ(wake->Take(), WakeSignal::kConsumer);
  stream.StopChoice(1);
  EXPECT_EQ(wake->Take(), WakeSignal::kConsumer);
  EXPECT_EQ(stream.TakeStoppedChoices(), std::vector<int32_t>{1});
  EXPECT_TRUE(stream.TakeStoppedChoices().empty());
  stream.Cancel();
  EXPECT_EQ(wake->Take(), WakeSignal::kConsumer);
  EXPECT_TRUE(stream.cancelled());
  stream.Cancel();
  EXPECT_EQ(wake->Take(), 0u) << "the second cancel is no news";
}

TEST(TokenStreamTest, BlockingReadReturnsOnPushCloseAndTimeout) {
  TokenStream stream(2);
  EXPECT_FALSE(stream.ReadBlocking(absl::Milliseconds(1)).closed);
  std::thread producer([&] {
    stream.PushToken(Token(5));
    stream.Close(absl::OkStatus(), {});
  });
  std::vector<TokenEvent> tokens;
  for (;;) {
    StreamBatch batch = stream.ReadBlocking(absl::Seconds(10));
    for (TokenEvent& token : batch.tokens) tokens.push_back(token);
    if (batch.closed) break;
  }
  producer.join();
  ASSERT_EQ(tokens.size(), 1u);
}

TEST(TokenStreamTest, NothingIsLostBetweenTwoThreads) {
  TokenStream stream(16);
  constexpr int kTokens = 20000;
  std::thread producer([&] {
    for (int i = 0; i < kTokens; ++i) stream.PushToken(Token(i));
    stream.Close(absl::OkStatus(), {});
  });
  int next = 0;
  bool closed = false;
  while (!closed) {
    StreamBatch batch = stream.ReadBlocking(absl::Seconds(10));
    for (const TokenEvent& token : batch.tokens) ASSERT_EQ(token.token_id, next++);
    closed = batch.closed;
  }
  producer.join();
  EXPECT_EQ(next, kTokens);
}

TEST(TokenStreamDeathTest, PushAfterCloseEndsTheProcess) {
  TokenStream stream(2);
  stream.Close(absl::OkStatus(), {});
  EXPECT_DEATH(stream.PushToken(Token(1)), "push after Close");
  EXPECT_DEATH(stream.Close(absl::OkStatus(), {}), "push after Close");
}

}  // namespace
}  // namespace hadal::request
