// SPDX-License-Identifier: Apache-2.0
#include "client/sharing_client.h"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "client/complete_all.h"
#include "tests/client/scripted_server.h"
#include "tests/support/temp_folder.h"

namespace hadal::client {
namespace {

CompletionOptions Determined(std::string prompt = "once") {
  CompletionOptions options;
  options.prompt = std::move(prompt);
  options.temperature = 0;
  return options;
}

std::optional<Piece> NextOf(Generation& generation) {
  std::promise<std::optional<Piece>> next;
  generation.Next([&](std::optional<Piece> piece) { next.set_value(std::move(piece)); });
  return next.get_future().get();
}

std::string RestOf(Generation& generation) {
  std::string text;
  while (const std::optional<Piece> piece = NextOf(generation)) text += piece->text;
  return text;
}

void WaitForGenerations(const ScriptedServer& server, int count) {
  while (server.generations() < count) absl::SleepFor(absl::Milliseconds(1));
}

TEST(SharingClientTest, AnswersADeterminedCallFromItsCache) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}, .cache = {.memory_bytes = 100'000}});
  EXPECT_FALSE(client->Complete(Determined(), kIgnore)->from_cache);
  std::string seen;
  const auto again = client->Complete(Determined(), [&](std::string_view, std::string_view text) {
    seen += text;
    return true;
  });
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->from_cache);
  EXPECT_EQ(again->text, "once");
  EXPECT_EQ(seen, "once");
  EXPECT_EQ(again->finish_reason, "stop");
  EXPECT_EQ(again->completion_tokens, 1);
  EXPECT_EQ(server.generations(), 1);
  CompletionOptions random = Determined();
  random.temperature = 1;
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(client->Complete(random, kIgnore)->from_cache);
  EXPECT_EQ(server.generations(), 3);
  EXPECT_EQ(*client->Tokenize("AB"), (std::vector<int32_t>{65, 66})) << "all else is passed on";
}

TEST(SharingClientTest, IsOffUnlessAskedFor) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(client->Complete(Determined(), kIgnore)->from_cache);
  EXPECT_EQ(server.generations(), 2);
}

TEST(SharingClientTest, AnAnswerOnDiskIsForItsCallerAndItsServersAlone) {
  ScriptedServer server(0, ""), other(0, "");
  hadal::testing::TempFolder temp;
  const auto connect = [&](const std::string& key, std::vector<std::string> targets) {
    return *Client::Connect({.targets = std::move(targets), .api_key = key, .cache = {.folder = temp.path("cache")}});
  };
  EXPECT_FALSE(connect("one", {server.target()})->Complete(Determined(), kIgnore)->from_cache);
  EXPECT_TRUE(connect("one", {server.target()})->Complete(Determined(), kIgnore)->from_cache) << "the next run";
  EXPECT_FALSE(connect("two", {server.target()})->Complete(Determined(), kIgnore)->from_cache);
  EXPECT_FALSE(connect("", {server.target()})->Complete(Determined(), kIgnore)->from_cache);
  EXPECT_FALSE(connect("one", {other.target()})->Complete(Determined(), kIgnore)->from_cache);
  const std::vector<std::string> both = {server.target(), other.target()};
  EXPECT_FALSE(connect("one", both)->Complete(Determined(), kIgnore)->from_cache);
  EXPECT_TRUE(connect("one", {both[1], both[0]})->Complete(Determined(), kIgnore)->from_cache) << "in any order";
}

TEST(SharingClientTest, WhatAShutdownCutIsNotKept) {
  ScriptedServer server(0, "");
  server.FinishWith(v1::FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE);
  const auto client = *Client::Connect({.targets = {server.target()}, .cache = {.memory_bytes = 100'000}});
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(client->Complete(Determined(), kIgnore)->from_cache);
}

TEST(SharingClientTest, AFailureIsNotKept) {
  ScriptedServer server(1, "-1");
  const auto client = *Client::Connect({.targets = {server.target()}, .cache = {.memory_bytes = 100'000}});
  ChatOptions question = Question();
  question.temperature = 0;
  EXPECT_FALSE(client->Chat(question, kIgnore).ok());
  EXPECT_EQ(client->Chat(question, kIgnore)->text, "hello");
  EXPECT_TRUE(client->Chat(question, kIgnore)->from_cache);
}

TEST(SharingClientTest, BadOptionsAreNamed) {
  ScriptedServer server(0, "");
  const absl::Status status =
      Client::Connect({.targets = {server.target()}, .cache = {.folder = "/dev/null/cache"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("/dev/null/cache"), absl::string_view::npos) << status;
  EXPECT_EQ(Client::Connect({.max_calls = -1}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Client::Connect({.cache = {.memory_bytes = -1}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SharingClientTest, EqualCallsShareTheOneThatRuns) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true});
  const auto first = client->StartCompletion(Determined());
  EXPECT_EQ(NextOf(*first)->text, "...");
  const auto second = client->StartCompletion(Determined());
  EXPECT_EQ(NextOf(*second)->text, "...") << "what has come before";
  const auto different = client->StartCompletion(Determined("other"));
  EXPECT_EQ(NextOf(*different)->text, "...");
  EXPECT_EQ(server.generations(), 2);
  EXPECT_EQ(second->result().status().code(), absl::StatusCode::kFailedPrecondition);
  server.Hold(false);
  EXPECT_EQ(RestOf(*second), "once");
  EXPECT_EQ(RestOf(*first), "once");
  EXPECT_EQ(RestOf(*different), "other");
  EXPECT_EQ(first->result()->text, "...once");
  EXPECT_EQ(second->result()->text, "...once");
  EXPECT_EQ(NextOf(*second), std::nullopt) << "and so it stays";
  // It has ended, and there is no cache.
  EXPECT_EQ(client->Complete(Determined(), kIgnore)->text, "once");
  EXPECT_EQ(server.generations(), 3);
}

TEST(SharingClientTest, CallsThatAreNotAlikeAreNotShared) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true});
  CompletionOptions random = Determined(), high = Determined(), hurried = Determined();
  random.temperature = 1;
  high.priority = "high";
  hurried.deadline = absl::Minutes(1);
  std::vector<std::unique_ptr<Generation>> calls;
  for (const CompletionOptions& options : {random, random, Determined(), high, hurried}) {
    calls.push_back(client->StartCompletion(options));
    EXPECT_EQ(NextOf(*calls.back())->text, "...");
  }
  EXPECT_EQ(server.generations(), 5);
  server.Hold(false);
  for (const auto& call : calls) EXPECT_EQ(RestOf(*call), "once");
}

TEST(SharingClientTest, OneThatLeavesCostsTheOthersNothingAndTheLastCancels) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true});
  auto first = client->StartCompletion(Determined());
  auto second = client->StartCompletion(Determined());
  EXPECT_EQ(NextOf(*first)->text, "...");
  std::promise<void> ended;
  first->Next([&](std::optional<Piece> piece) {
    EXPECT_EQ(piece, std::nullopt);
    ended.set_value();
  });
  first->Cancel();
  ended.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(first->result().status()));
  EXPECT_EQ(NextOf(*first), std::nullopt);
  EXPECT_EQ(NextOf(*second)->text, "...");
  EXPECT_EQ(server.generating(), 1);
  second = nullptr;
  while (server.generating() > 0) absl::SleepFor(absl::Milliseconds(1));
  // A new one does not join what was cancelled.
  const auto third = client->StartCompletion(Determined());
  EXPECT_EQ(NextOf(*third)->text, "...");
  EXPECT_EQ(server.generations(), 2);
  server.Hold(false);
  EXPECT_EQ(RestOf(*third), "once");
}

TEST(SharingClientTest, SharedCallsOutliveTheClient) {
  ScriptedServer server(0, "");
  server.Hold(true);
  auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true, .cache = {.memory_bytes = 100'000}});
  const auto call = client->StartCompletion(Determined());
  EXPECT_EQ(NextOf(*call)->text, "...");
  client = nullptr;
  server.Hold(false);
  EXPECT_EQ(RestOf(*call), "once");
  EXPECT_TRUE(call->result().ok());
}

TEST(CallWindowTest, CallsWaitForTheirTurnOnThisSide) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}, .max_calls = 2});
  auto first = client->StartCompletion(Determined("1"));
  auto second = client->StartCompletion(Determined("2"));
  EXPECT_EQ(NextOf(*first)->text, "...");
  EXPECT_EQ(NextOf(*second)->text, "...");

  const auto third = client->StartCompletion(Determined("3"));
  std::promise<std::optional<Piece>> piece;
  third->Next([&](std::optional<Piece> next) { piece.set_value(std::move(next)); });
  const auto cancelled = client->StartCompletion(Determined("4"));
  std::promise<void> gone;
  cancelled->Next([&](std::optional<Piece>) { gone.set_value(); });
  cancelled->Cancel();
  gone.get_future().get();
  EXPECT_TRUE(absl::IsCancelled(cancelled->result().status()));
  CompletionOptions hurried = Determined("5");
  hurried.deadline = absl::Milliseconds(50);
  const absl::Status late = client->Complete(hurried, kIgnore).status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(late.message().find("max_calls = 2"), absl::string_view::npos) << late;
  EXPECT_EQ(server.generations(), 2) << "nobody else was asked";

  first = nullptr;  // cancelled, and so its place is free
  EXPECT_EQ(piece.get_future().get()->text, "...");
  WaitForGenerations(server, 3);
  server.Hold(false);
  EXPECT_EQ(RestOf(*second), "2");
  EXPECT_EQ(RestOf(*third), "3");
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(client->Complete(Determined("6"), kIgnore).ok());
}

TEST(CallWindowTest, NeverMoreAtOnce) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}, .max_calls = 2});
  std::vector<CompletionOptions> calls;
  for (int i = 0; i < 40; ++i) calls.push_back(Determined(std::to_string(i)));
  for (const auto& result : CompleteAll(*client, calls, 40)) EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server.generations(), 40);
  EXPECT_LE(server.most_at_once(), 2);
}

}  // namespace
}  // namespace hadal::client
