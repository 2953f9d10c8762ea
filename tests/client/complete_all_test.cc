// SPDX-License-Identifier: Apache-2.0
#include "client/complete_all.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

TEST(CompleteAllTest, GivesTheResultsOfAllInOrderWithSoManyAtOnce) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  std::vector<CompletionOptions> calls(50);
  for (size_t i = 0; i < calls.size(); ++i) calls[i].token_ids.assign(i + 1, 7);
  const Completions results = CompleteAll(*client, calls, 4);
  ASSERT_EQ(results.size(), 50u);
  for (size_t i = 0; i < results.size(); ++i) {
    ASSERT_TRUE(results[i].ok()) << results[i].status();
    EXPECT_EQ(results[i]->text, std::to_string(i + 1));
  }
  EXPECT_EQ(server.generations(), 50);
  EXPECT_LE(server.most_at_once(), 4);
}

TEST(CompleteAllTest, EqualDeterminedOnesRunOnce) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  std::vector<CompletionOptions> calls(12);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].prompt = std::to_string(i % 3);
    calls[i].temperature = i < 9 ? 0 : 1;
  }
  const Completions results = CompleteAll(*client, calls);
  ASSERT_EQ(results.size(), 12u);
  for (size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i]->text, std::to_string(i % 3));
  EXPECT_EQ(server.generations(), 6) << "three determined ones, and three that may differ";
}

TEST(CompleteAllTest, OneThatFailsCostsTheOthersNothing) {
  const auto away = *Client::Connect({.targets = {"127.0.0.1:1"}, .retry = {.max_attempts = 1}});
  for (const auto& result : CompleteAll(*away, std::vector<CompletionOptions>(3))) {
    EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  }
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  std::vector<CompletionOptions> calls(3);
  for (CompletionOptions& call : calls) call.prompt = "x";
  calls[1].deadline = -absl::Seconds(1);  // it has passed
  const Completions results = CompleteAll(*client, calls, 0);
  EXPECT_TRUE(results[0].ok() && results[2].ok());
  EXPECT_EQ(results[1].status().code(), absl::StatusCode::kDeadlineExceeded) << results[1].status();
}

TEST(CompleteAllTest, OneThatBrokeOffIsAskedAgainSinceNobodyHasSeenAPartOfIt) {
  ScriptedServer server(0, "");
  server.BreakOff(3);
  const auto client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(1)}});
  std::vector<CompletionOptions> calls(6);
  for (size_t i = 0; i < calls.size(); ++i) calls[i].token_ids.assign(i + 1, 7);
  const Completions results = CompleteAll(*client, calls, 2);
  for (size_t i = 0; i < results.size(); ++i) {
    ASSERT_TRUE(results[i].ok()) << results[i].status();
    EXPECT_EQ(results[i]->text, std::to_string(i + 1)) << "nothing of the first half";
  }
  EXPECT_EQ(server.generations(), 9);
  EXPECT_EQ(client->counts().attempts, 9);
}

TEST(CompleteAllTest, AskingAgainIsBoundByAttemptsBudgetAndDeadline) {
  ScriptedServer server(0, "");
  std::vector<CompletionOptions> one(1);
  one[0].prompt = "x";
  const auto attempts = [&](RetryOptions retry) {
    const int before = server.generations();
    retry.initial_backoff = absl::Milliseconds(1);
    const auto client =
        *Client::Connect({.targets = {server.target()}, .retry = retry, .deadline = absl::Seconds(600)});
    const absl::Status status = CompleteAll(*client, one)[0].status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    return server.generations() - before;
  };
  server.BreakOff(1000);
  EXPECT_EQ(attempts({.max_attempts = 3}), 3);
  EXPECT_EQ(attempts({.max_attempts = 9, .budget = 1}), 2);
  server.BreakOff(1000, /*pushback_ms=*/"3600000");
  EXPECT_EQ(attempts({}), 1) << "the next attempt would be behind the deadline";
  server.BreakOff(1000, "-1");
  EXPECT_EQ(attempts({}), 1) << "the server says that there is no use";
}

TEST(CompleteAllTest, AWholeAnswerComesWithoutPieces) {
  ScriptedServer server(0, "");
  ChannelOptions options = {.targets = {server.target()}};
  options.cache.memory_bytes = 1'000'000;
  const auto client = *Client::Connect(options);
  CompletionOptions completion;
  completion.prompt = "once";
  completion.temperature = 0;
  completion.whole = true;
  for (const bool from_cache : {false, true}) {
    std::string seen;
    const auto result = client->Complete(completion, [&](std::string_view, std::string_view text) {
      seen += text;
      return true;
    });
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->text, "once");
    EXPECT_EQ(result->from_cache, from_cache);
    EXPECT_EQ(seen, "");
  }
}

TEST(CompleteAllTest, AWholeAnswerCanBeCancelled) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}});
  CompletionOptions completion;
  completion.prompt = "x";
  completion.whole = true;
  const auto result =
      client->Complete(completion, [&](std::string_view, std::string_view) { return server.generating() == 0; });
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  server.Hold(false);
}

TEST(CompleteAllTest, NothingToDo) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  EXPECT_TRUE(CompleteAll(*client, {}).empty());
  EXPECT_TRUE(TokenizeAll(*client, {}).empty());
}

TEST(TokenizeAllTest, GivesTheTokensOfAllInOrder) {
  ScriptedServer server(0, "");
  const auto client = *Client::Connect({.targets = {server.target()}});
  std::vector<std::string> texts;
  for (char letter = 'a'; letter <= 'z'; ++letter) texts.push_back(std::string(3, letter));
  const Tokens tokens = TokenizeAll(*client, texts, 5);
  ASSERT_EQ(tokens.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(*tokens[i], std::vector<int32_t>(3, texts[i][0]));
}

}  // namespace
}  // namespace hadal::client
