// SPDX-License-Identifier: Apache-2.0
#include "client/results.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/client/all_fields.h"

namespace hadal::client {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::GenerateResponse Response(const std::string& text) {
  v1::GenerateResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

// The first has all that comes with a first choice.
const char kFirst[] = R"(
  request_id: "r" model: "m" prompt_token_ids: [1, 2]
  prompt_logprobs { chosen { token_id: 2 token: "b" logprob: -0.5 } top { token_id: 3 token: "c" logprob: -1 } }
  text: "a" reasoning: "hm" token_ids: [4]
  logprobs { chosen { token_id: 4 token: "\303" logprob: -0.25 } top { token_id: 4 token: "\303" logprob: -0.25 } }
  tool_calls { name: "f" id: "call-0" arguments: "{}" } finish_reason: FINISH_REASON_TOOL_CALLS)";
const char kSecond[] = R"(
  index: 1 text: "b" tool_calls { name: "g" id: "call-0" arguments: "{}" }
  tool_calls { index: 1 name: "h" id: "call-1" arguments: "[]" } finish_reason: FINISH_REASON_LENGTH
  usage { prompt_tokens: 5 completion_tokens: 6 reasoning_tokens: 2 prompt_cache_hit_tokens: 3
          prompt_cache_miss_tokens: 2 })";

// Fails for a field that comes to the API until results have it, and so do the answers that are kept.
TEST(ResultsTest, EveryFieldOfAResponseStays) {
  const v1::GenerateResponse first = Response(kFirst), second = Response(kSecond);
  std::set<std::string> set, all;
  AddFieldsSetIn(first, &set);
  AddFieldsSetIn(second, &set);
  AddFieldsOf(*v1::GenerateResponse::descriptor(), &all);
  ASSERT_THAT(set, ::testing::ContainerEq(all)) << "what this test does not set";

  GenerationResult result;
  Append(first, &result);
  Append(second, &result);
  const std::vector<v1::GenerateResponse> responses = ResponsesOf(result);
  ASSERT_EQ(responses.size(), 2u);
  EXPECT_TRUE(MessageDifferencer::Equals(responses[0], first)) << responses[0].DebugString();
  EXPECT_TRUE(MessageDifferencer::Equals(responses[1], second)) << responses[1].DebugString();
}

TEST(ResultsTest, PiecesOfSeveralChoicesComeTogetherInAnyOrder) {
  GenerationResult result;
  for (const char* text : {R"(index: 2 text: "x")", R"(index: 1 text: "b" tool_calls { id: "1" name: "f" })",
                           R"(text: "a" tool_calls { index: 1 id: "3" name: "h" arguments: "[" })",
                           R"(index: 1 tool_calls { arguments: "{\"k\":" } token_ids: 7)", R"(index: 2 text: "y")",
                           R"(index: 1 tool_calls { arguments: " 1}" } finish_reason: FINISH_REASON_TOOL_CALLS)",
                           R"(tool_calls { id: "2" name: "g" arguments: "{}" })",
                           R"(tool_calls { index: 1 arguments: "]" } finish_reason: FINISH_REASON_STOP)"}) {
    Append(Response(text), &result);
  }
  EXPECT_EQ(result.text, "a");
  EXPECT_EQ(result.finish_reason, "stop");
  ASSERT_EQ(result.tool_calls.size(), 2u);
  EXPECT_EQ(result.tool_calls[0].name, "g");
  EXPECT_EQ(result.tool_calls[1].arguments, "[]");
  ASSERT_EQ(result.other_choices.size(), 2u);
  EXPECT_EQ(result.other_choices[0].text, "b");
  EXPECT_EQ(result.other_choices[0].finish_reason, "tool_calls");
  ASSERT_EQ(result.other_choices[0].tool_calls.size(), 1u);
  EXPECT_EQ(result.other_choices[0].tool_calls[0].id, "1");
  EXPECT_EQ(result.other_choices[0].tool_calls[0].name, "f");
  EXPECT_EQ(result.other_choices[0].tool_calls[0].arguments, R"({"k": 1})");
  EXPECT_EQ(result.other_choices[0].token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(result.other_choices[1].text, "xy");
}

TEST(ResultsTest, NoRoomIsMadeForNumbersThatNoServerGives) {
  GenerationResult result;
  for (const char* text : {"index: 2147483647 text: \"x\"", "index: -1 text: \"x\"",
                           "tool_calls { index: 2147483647 name: \"f\" }", "tool_calls { index: -1 name: \"f\" }"}) {
    Append(Response(text), &result);
  }
  EXPECT_EQ(result.text, "");
  EXPECT_TRUE(result.other_choices.empty());
  EXPECT_TRUE(result.tool_calls.empty());
}

TEST(ResultsTest, APieceHasWhatAMessageBrings) {
  Piece piece = PieceOf(Response(kSecond));
  EXPECT_EQ(piece.choice, 1);
  EXPECT_EQ(piece.text, "b");
  ASSERT_EQ(piece.tool_calls.size(), 2u);
  EXPECT_EQ(piece.tool_calls[1].index, 1);
  EXPECT_EQ(piece.tool_calls[1].arguments, "[]");
  EXPECT_EQ(piece.finish_reason, "length");
  Append(PieceOf(Response(R"(index: 1 text: "c" reasoning: "r" token_ids: 4 logprobs {} tool_calls {})")), &piece);
  EXPECT_EQ(piece.text, "bc");
  EXPECT_EQ(piece.reasoning, "r");
  EXPECT_EQ(piece.token_ids, std::vector<int32_t>{4});
  EXPECT_EQ(piece.logprobs.size(), 1u);
  EXPECT_EQ(piece.tool_calls.size(), 3u);
  EXPECT_EQ(piece.finish_reason, "length");
}

}  // namespace
}  // namespace hadal::client
