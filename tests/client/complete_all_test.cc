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
