// SPDX-License-Identifier: Apache-2.0
// Responses with tool calls and several choices, through each way to read them.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

std::vector<v1::GenerateResponse> Responses(std::initializer_list<const char*> texts) {
  std::vector<v1::GenerateResponse> responses(texts.size());
  auto response = responses.begin();
  for (const char* text : texts) {
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &*response++)) << text;
  }
  return responses;
}

// Two choices: one calls a tool, in three pieces, the other says something.
std::vector<v1::GenerateResponse> TwoChoices() {
  return Responses({R"(request_id: "r1" model: "m" reasoning: "hm" prompt_token_ids: [1, 2])",
                    R"(index: 1 text: "sun" token_ids: 9
                       logprobs { chosen { token_id: 9 token: "sun" logprob: -0.5 } top { token_id: 8 logprob: -2 } })",
                    R"(tool_calls { id: "call-0" name: "weather" arguments: "{\"city\":" })",
                    R"(index: 1 text: "ny" finish_reason: FINISH_REASON_STOP)", R"(tool_calls { arguments: " \"Ulm" })",
                    R"(tool_calls { arguments: "\"}" } finish_reason: FINISH_REASON_TOOL_CALLS
                       usage { prompt_tokens: 2 completion_tokens: 7 reasoning_tokens: 1 })"});
}

void ExpectTwoChoices(const absl::StatusOr<GenerationResult>& result) {
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->model, "m");
  EXPECT_EQ(result->reasoning, "hm");
  EXPECT_EQ(result->text, "");
  EXPECT_EQ(result->finish_reason, "tool_calls");
  ASSERT_EQ(result->tool_calls.size(), 1u);
  EXPECT_EQ(result->tool_calls[0].id, "call-0");
  EXPECT_EQ(result->tool_calls[0].name, "weather");
  EXPECT_EQ(result->tool_calls[0].arguments, R"({"city": "Ulm"})");
  ASSERT_EQ(result->other_choices.size(), 1u);
  const Choice& other = result->other_choices[0];
  EXPECT_EQ(other.text, "sunny");
  EXPECT_EQ(other.finish_reason, "stop");
  EXPECT_EQ(other.token_ids, std::vector<int32_t>{9});
  ASSERT_EQ(other.logprobs.size(), 1u);
  EXPECT_EQ(other.logprobs[0].chosen.token, "sun");
  EXPECT_EQ(other.logprobs[0].chosen.logprob, -0.5f);
  ASSERT_EQ(other.logprobs[0].top.size(), 1u);
  EXPECT_EQ(other.logprobs[0].top[0].token_id, 8);
  EXPECT_EQ(result->prompt_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(result->completion_tokens, 7);
}

ChatOptions Weather() {
  ChatOptions options = Question();
  options.temperature = 0;
  options.n = 2;
  options.logprobs = 1;
  options.return_token_ids = true;
  options.tools = {{.name = "weather", .parameters_json_schema = R"({"type": "object"})"}};
  return options;
}

std::vector<Piece> PiecesOf(Generation& generation) {
  std::vector<Piece> pieces;
  while (true) {
    std::promise<std::optional<Piece>> next;
    generation.Next([&](std::optional<Piece> piece) { next.set_value(std::move(piece)); });
    std::optional<Piece> piece = next.get_future().get();
    if (!piece.has_value()) return pieces;
    pieces.push_back(*std::move(piece));
  }
}

TEST(ToolCallsTest, ACallThatWaitsGetsTheTextOfTheFirstChoiceAndAllOfTheResult) {
  ScriptedServer server(0, "");
  server.Script(TwoChoices());
  std::string seen;
  ExpectTwoChoices((*Client::Connect({.targets = {server.target()}}))
                       ->Chat(Weather(), [&](std::string_view reasoning, std::string_view text) {
                         seen.append(reasoning).append(text);
                         return true;
                       }));
  EXPECT_EQ(seen, "hm");
  EXPECT_EQ(server.last_request().n(), 2);
  EXPECT_EQ(server.last_request().tools(0).name(), "weather");
}

TEST(ToolCallsTest, AReaderGetsThePiecesOfEachChoice) {
  ScriptedServer server(0, "");
  server.Script(TwoChoices());
  const auto chat = (*Client::Connect({.targets = {server.target()}}))->StartChat(Weather());
  const std::vector<Piece> pieces = PiecesOf(*chat);
  ASSERT_EQ(pieces.size(), 6u);
  EXPECT_EQ(pieces[1].choice, 1);
  EXPECT_EQ(pieces[1].text, "sun");
  EXPECT_EQ(pieces[1].logprobs.size(), 1u);
  ASSERT_EQ(pieces[2].tool_calls.size(), 1u);
  EXPECT_EQ(pieces[2].tool_calls[0].name, "weather");
  EXPECT_EQ(pieces[3].finish_reason, "stop");
  EXPECT_EQ(pieces[4].tool_calls[0].arguments, " \"Ulm");
  EXPECT_EQ(pieces[5].finish_reason, "tool_calls");
  ExpectTwoChoices(chat->result());
}

TEST(ToolCallsTest, AnAnswerThatIsKeptHasAPieceForEachChoice) {
  ScriptedServer server(0, "");
  server.Script(TwoChoices());
  const auto client = *Client::Connect({.targets = {server.target()}, .cache = {.memory_bytes = 100'000}});
  ExpectTwoChoices(client->Chat(Weather(), kIgnore));
  const auto again = client->StartChat(Weather());
  const std::vector<Piece> pieces = PiecesOf(*again);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].tool_calls[0].arguments, R"({"city": "Ulm"})");
  EXPECT_EQ(pieces[1].choice, 1);
  EXPECT_EQ(pieces[1].text, "sunny");
  ExpectTwoChoices(again->result());
  EXPECT_TRUE(again->result()->from_cache);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ToolCallsTest, ReadersOfOneAnswerGetItsChoicesApart) {
  ScriptedServer server(0, "");
  server.Script(TwoChoices());
  const auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true});
  const auto fast = client->StartChat(Weather()), slow = client->StartChat(Weather());
  EXPECT_EQ(PiecesOf(*fast).size(), 6u);
  const std::vector<Piece> pieces = PiecesOf(*slow);  // what has come meanwhile
  ASSERT_EQ(pieces.size(), 5u) << "neighbours of one choice as one";
  EXPECT_EQ(pieces[1].text, "sun");
  EXPECT_EQ(pieces[4].tool_calls.size(), 2u);
  EXPECT_EQ(pieces[4].finish_reason, "tool_calls");
  ExpectTwoChoices(slow->result());
  EXPECT_EQ(server.calls(), 1);
}

TEST(ServerCacheTest, IsToldWhatToDoAndSaysWhatItDid) {
  ScriptedServer server(0, "");
  server.Script(Responses({R"(text: "x" finish_reason: FINISH_REASON_STOP)"}),
                {{"x-hadal-cache", "hit"}, {"x-hadal-degraded", "max_tokens"}});
  const auto client = *Client::Connect({.targets = {server.target()}});
  ChatOptions options = Question();
  options.response_cache = "max-age=60";
  const auto answer = client->Chat(options, kIgnore);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->response_cache, "hit");
  EXPECT_EQ(answer->degraded, "max_tokens");
  EXPECT_EQ(server.last_metadata().at("x-hadal-cache"), "max-age=60");
  options.response_cache = "use\r\nx-hadal-priority: high";
  EXPECT_EQ(client->Chat(options, kIgnore).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ServerCacheTest, WhoWantsANewAnswerGetsNoneOfThisClients) {
  ScriptedServer server(0, "");
  server.Script(Responses({R"(text: "x" finish_reason: FINISH_REASON_STOP)"}));
  const auto client = *Client::Connect({.targets = {server.target()}, .cache = {.memory_bytes = 100'000}});
  ChatOptions options = Question();
  options.temperature = 0;
  options.response_cache = "use";
  ASSERT_FALSE(client->Chat(options, kIgnore)->from_cache);
  EXPECT_TRUE(client->Chat(options, kIgnore)->from_cache);
  for (const char* fresh : {"no-cache", "no-store", "max-age=1"}) {
    options.response_cache = fresh;
    EXPECT_FALSE(client->Chat(options, kIgnore)->from_cache) << fresh;
  }
  EXPECT_EQ(server.calls(), 4);
}

TEST(ServerCacheTest, ACallWithWishesOfItsOwnWaitsForNoOther) {
  ScriptedServer server(0, "");
  server.Hold(true);
  const auto client = *Client::Connect({.targets = {server.target()}, .coalesce = true});
  CompletionOptions options;
  options.prompt = "once";
  options.temperature = 0;
  std::vector<std::unique_ptr<Generation>> calls;
  std::vector<std::future<std::optional<Piece>>> first;
  const auto start = [&](const CompletionOptions& call) {
    calls.push_back(client->StartCompletion(call));
    auto next = std::make_shared<std::promise<std::optional<Piece>>>();
    first.push_back(next->get_future());
    calls.back()->Next([next](std::optional<Piece> piece) { next->set_value(std::move(piece)); });
  };
  start(options);
  start(options);
  CompletionOptions now = options, whole = options, soon = options;
  now.may_queue = false;
  whole.allow_degraded = false;
  soon.first_token_within = absl::Minutes(1);
  for (const CompletionOptions& own : {now, whole, soon}) start(own);
  for (auto& piece : first) EXPECT_TRUE(piece.get().has_value());
  EXPECT_EQ(server.generations(), 4);
  server.Hold(false);
  for (const auto& call : calls) PiecesOf(*call);
}

TEST(ApiKeyTest, MustFitIntoMetadata) {
  const absl::Status status = Client::Connect({.api_key = "secret\n"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message().find("secret"), std::string_view::npos);
}

}  // namespace
}  // namespace hadal::client
