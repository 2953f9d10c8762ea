// SPDX-License-Identifier: Apache-2.0
// Calls that wait without a thread: piece by piece, and in coroutines.
#include <gtest/gtest.h>

#include <atomic>
#include <coroutine>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "client/client.h"
#include "client/coroutine.h"
#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

// Waits for the next piece.
std::optional<Piece> NextOf(Generation& generation) {
  std::promise<std::optional<Piece>> next;
  generation.Next([&](std::optional<Piece> piece) { next.set_value(std::move(piece)); });
  return next.get_future().get();
}

TEST(GenerationTest, GivesPieceByPieceThroughARefusalAndKeepsTheResult) {
  ScriptedServer server(2, "1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  EXPECT_EQ(chat->result().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(NextOf(*chat)->text, "hel");
  EXPECT_EQ(NextOf(*chat)->text, "lo");
  EXPECT_EQ(NextOf(*chat), std::nullopt);
  ASSERT_TRUE(chat->result().ok()) << chat->result().status();
  EXPECT_EQ(chat->result()->text, "hello");
  EXPECT_EQ(NextOf(*chat), std::nullopt) << "and so it stays";
}

TEST(GenerationTest, ReadsNothingAhead) {
  ScriptedServer server(0, "");
  server.NeverEnd();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(NextOf(*chat).has_value());
  // What the connection's window holds is written; then the server waits for its reader.
  int before = -1;
  while (before != server.written()) {
    before = server.written();
    absl::SleepFor(absl::Milliseconds(300));
  }
  EXPECT_LT(before, 1000000);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(NextOf(*chat).has_value());
  chat->Cancel();
  while (NextOf(*chat).has_value()) {
  }
  EXPECT_TRUE(absl::IsCancelled(chat->result().status())) << chat->result().status();
}

TEST(GenerationTest, WhoLetsGoOfItCancelsItAndOutlivesTheClient) {
  ScriptedServer server(0, "");
  server.NeverEnd();
  std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  std::unique_ptr<Generation> chat = client->StartChat(Question());
  client = nullptr;
  ASSERT_TRUE(NextOf(*chat).has_value());
  std::promise<void> ended;
  std::function<void(std::optional<Piece>)> then = [&](std::optional<Piece> piece) {
    if (piece.has_value()) return chat->Next(then);
    ended.set_value();
  };
  chat->Next(then);
  chat->Cancel();
  ended.get_future().get();
  chat = nullptr;
}

TEST(GenerationTest, CancelledBeforeItBeganOrWhileItWaits) {
  ScriptedServer server(1, "3600000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Hours(24)});
  const std::unique_ptr<Generation> never = client->StartChat(Question());
  never->Cancel();
  EXPECT_EQ(NextOf(*never), std::nullopt);
  EXPECT_TRUE(absl::IsCancelled(never->result().status()));
  EXPECT_EQ(server.calls(), 0);

  const std::unique_ptr<Generation> refused = client->StartChat(Question());
  std::promise<void> ended;
  refused->Next([&](std::optional<Piece> piece) {
    EXPECT_EQ(piece, std::nullopt);
    ended.set_value();
  });
  while (server.calls() == 0) absl::SleepFor(absl::Milliseconds(1));
  refused->Cancel();
  ended.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(refused->result().status()));
}

absl::Status EndThinkingOf(Generation& generation) {
  std::promise<absl::Status> ended;
  generation.EndThinking([&](absl::Status status) { ended.set_value(std::move(status)); });
  return ended.get_future().get();
}

TEST(GenerationTest, EndsTheThinkingOnTheServerThatThinks) {
  ScriptedServer thinks(0, ""), other(0, "");
  thinks.ThinkOnAndOn();
  other.SetWaiting(1000);
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {thinks.target(), other.target()}, .api_key = "k"});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(10)).ok());
  ChatOptions question = Question();
  question.reasoning_control = true;
  question.max_thinking_tokens = 5;
  const std::unique_ptr<Generation> chat = client->StartChat(question);
  EXPECT_EQ(EndThinkingOf(*chat).code(), absl::StatusCode::kFailedPrecondition) << "it has not begun";
  ASSERT_EQ(NextOf(*chat)->reasoning, "hmm ");
  EXPECT_TRUE(thinks.last_request().reasoning_control());
  EXPECT_EQ(thinks.last_request().max_thinking_tokens(), 5);
  const absl::Status ended = EndThinkingOf(*chat);
  EXPECT_TRUE(ended.ok()) << ended;
  while (NextOf(*chat).has_value()) {
  }
  ASSERT_TRUE(chat->result().ok()) << chat->result().status();
  EXPECT_EQ(chat->result()->text, "so");
  EXPECT_EQ(chat->result()->request_id, "r1");
  EXPECT_EQ(chat->result()->reasoning_tokens, 7);
  EXPECT_EQ(EndThinkingOf(*chat).code(), absl::StatusCode::kFailedPrecondition) << "it has ended";
}

TEST(GenerationTest, AQuestionTooEarlyDoesNotHurryTheNextAttempt) {
  ScriptedServer server(1, "3600000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Hours(24)});
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  std::promise<void> ended;
  chat->Next([&](std::optional<Piece>) { ended.set_value(); });
  while (server.calls() == 0) absl::SleepFor(absl::Milliseconds(1));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(EndThinkingOf(*chat).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(server.calls(), 1);
  chat->Cancel();
  ended.get_future().get();
}

TEST(GenerationTest, WhatTheServerSaysOfThinkingIsPassedOn) {
  ScriptedServer server(0, "");
  server.ThinkOnAndOn();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});  // no key
  const std::unique_ptr<Generation> chat = client->StartChat(Question());
  ASSERT_TRUE(NextOf(*chat).has_value());
  EXPECT_EQ(EndThinkingOf(*chat), absl::NotFoundError("no such request"));
}

TEST(GenerationTest, AThousandAtOnceNeedNoThreadEach) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  constexpr int kCalls = 1000;
  std::atomic<int> left{kCalls}, whole{0};
  std::promise<void> all;
  std::vector<std::unique_ptr<Generation>> calls;
  for (int i = 0; i < kCalls; ++i) {
    CompletionOptions completion;
    completion.prompt = std::to_string(i);
    calls.push_back(client->StartCompletion(completion));
  }
  std::vector<std::function<void(std::optional<Piece>)>> thens(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    thens[i] = [&, i](std::optional<Piece> piece) {
      if (piece.has_value()) return calls[i]->Next(thens[i]);
      if (calls[i]->result().ok() && calls[i]->result()->text == std::to_string(i)) ++whole;
      if (--left == 0) all.set_value();
    };
    calls[i]->Next(thens[i]);
  }
  all.get_future().get();
  EXPECT_EQ(whole, kCalls);
}

// A coroutine that nobody waits for but through its own promise.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached Converse(Client& client, std::promise<std::string>* said) {
  const auto ids = co_await Tokenize(client, "AB");
  const auto text = co_await Detokenize(client, *ids);
  const auto models = co_await ListModels(client);
  std::string all = *text + (*models)[0].id;
  const std::unique_ptr<Generation> chat = client.StartChat(Question());
  while (true) {
    const std::optional<Piece> piece = co_await Next(*chat);
    if (!piece.has_value()) break;
    all += "|" + piece->text;
  }
  said->set_value(all + "|" + chat->result()->finish_reason);
}

TEST(CoroutineTest, AwaitsEveryCall) {
  ScriptedServer server(1, "1");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  std::promise<std::string> said;
  Converse(*client, &said);
  EXPECT_EQ(said.get_future().get(), "ABm|hel|lo|stop");
}

}  // namespace
}  // namespace hadal::client
