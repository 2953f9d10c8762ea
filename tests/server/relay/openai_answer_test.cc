// SPDX-License-Identifier: Apache-2.0
#include "server/relay/openai_answer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using request::Reason;
using service::CallUpdate;
using service::Finish;
using ::testing::HasSubstr;

Reason ReasonOf(const absl::Status& status) { return request::GetErrorDetail(status).reason; }

TEST(OpenAiAnswerTest, AChatWithReasoningTextAndUsage) {
  OpenAiAnswer answer(1);
  CallUpdate update;
  for (const char* event :
       {R"({"model":"their-model","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null})",
        R"({"choices":[{"index":0,"delta":{"reasoning_content":"think"}}]})",
        R"({"choices":[{"index":0,"delta":{"reasoning":"ing"}}]})",
        R"({"choices":[{"index":0,"delta":{"content":"4"}}]})",
        R"({"choices":[{"index":0,"delta":{"content":"2"},"finish_reason":null}]})"}) {
    EXPECT_TRUE(answer.Take(event, &update).ok()) << event;
  }
  ASSERT_EQ(update.deltas.size(), 1);
  EXPECT_EQ(update.deltas[0].reasoning, "thinking");
  EXPECT_EQ(update.deltas[0].text, "42");
  EXPECT_EQ(update.deltas[0].finish, Finish::kNone);
  EXPECT_FALSE(answer.complete());
  CallUpdate last;
  EXPECT_TRUE(answer.Take(R"({"choices":[{"index":0,"delta":{},"finish_reason":"length"}]})", &last).ok());
  EXPECT_TRUE(answer
                  .Take(R"({"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,
                            "prompt_tokens_details":{"cached_tokens":3},
                            "completion_tokens_details":{"reasoning_tokens":2}}})",
                        &last)
                  .ok());
  EXPECT_TRUE(answer.Take("[DONE]", &last).ok());
  ASSERT_TRUE(answer.complete());
  answer.End(&last);
  EXPECT_TRUE(last.done && last.every_choice_finished && last.status.ok());
  EXPECT_EQ(last.deltas[0].finish, Finish::kLength);
  EXPECT_EQ(last.usage.prompt_tokens, 7);
  EXPECT_EQ(last.usage.completion_tokens, 5);
  EXPECT_EQ(last.usage.cache_hit_tokens, 3);
  EXPECT_EQ(last.usage.reasoning_tokens, 2);
  EXPECT_EQ(answer.model(), "their-model");
}

TEST(OpenAiAnswerTest, PiecesOfToolCallsAreJoined) {
  OpenAiAnswer answer(1);
  CallUpdate update;
  for (
      const char* event :
      {R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]})",
       R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}}]})",
       R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]})",
       R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]})",
       R"({"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})"}) {
    EXPECT_TRUE(answer.Take(event, &update).ok());
  }
  ASSERT_EQ(update.deltas.size(), 1);
  const std::vector<service::ToolDelta>& calls = update.deltas[0].tool_calls;
  ASSERT_EQ(calls.size(), 2);
  EXPECT_EQ(calls[0].id, "a");
  EXPECT_EQ(calls[0].name, "f");
  EXPECT_EQ(calls[0].arguments, "{\"x\":1}");
  EXPECT_EQ(calls[1].index, 1);
  EXPECT_EQ(calls[1].arguments, "{}");
  EXPECT_EQ(update.deltas[0].finish, Finish::kNone) << "the last end comes with the usage";
  answer.End(&update);
  EXPECT_EQ(update.deltas[0].finish, Finish::kToolCalls);
}

TEST(OpenAiAnswerTest, ChoicesComeInTheirOrderAndEndEach) {
  OpenAiAnswer answer(2);
  CallUpdate update;
  EXPECT_TRUE(answer.Take(R"({"choices":[{"index":1,"text":"b","finish_reason":"stop"}]})", &update).ok());
  EXPECT_FALSE(answer.complete());
  EXPECT_TRUE(answer.Take(R"({"choices":[{"index":0,"text":"a","finish_reason":"content_filter"}]})", &update).ok());
  EXPECT_TRUE(answer.complete());
  ASSERT_EQ(update.deltas.size(), 2);
  EXPECT_EQ(update.deltas[0].text, "a");
  EXPECT_EQ(update.deltas[1].text, "b");
  EXPECT_EQ(update.deltas[1].finish, Finish::kStop);
  answer.End(&update);
  EXPECT_EQ(update.deltas[0].finish, Finish::kStop);
}

TEST(OpenAiAnswerTest, WhatIsNoAnswerFails) {
  for (const char* event :
       {"", "no JSON", "[1]", R"({"error":{"message":"out of memory"}})", R"({"choices":[{"index":1,"text":"x"}]})"}) {
    OpenAiAnswer answer(1);
    CallUpdate update;
    EXPECT_EQ(ReasonOf(answer.Take(event, &update)), Reason::kUpstreamFailed) << event;
    EXPECT_TRUE(update.empty());
  }
  OpenAiAnswer answer(1);
  CallUpdate update;
  EXPECT_TRUE(answer.Take(R"({"choices":[{"index":0,"text":"x","finish_reason":"stop"}]})", &update).ok());
  const absl::Status behind = answer.Take(R"({"choices":[{"index":0,"text":"y"}]})", &update);
  EXPECT_EQ(ReasonOf(behind), Reason::kUpstreamFailed);
  const absl::Status error = answer.Take(R"({"error":{"message":"out of memory"}})", &update);
  EXPECT_THAT(std::string(error.message()), HasSubstr("out of memory"));
}

TEST(OpenAiAnswerTest, FieldsOfOtherTypesAndNumbersOutOfRangeAreSurvived) {
  OpenAiAnswer answer(1);
  CallUpdate update;
  for (const char* event :
       {R"({})", R"({"choices":null,"usage":[],"error":null})", R"({"choices":[{"delta":null,"finish_reason":7}]})",
        R"({"choices":[{"index":-3,"delta":{"content":7,"tool_calls":{}}}]})", R"({"choices":[3]})",
        R"({"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":99999999999}})"}) {
    EXPECT_TRUE(answer.Take(event, &update).ok()) << event;
  }
  EXPECT_TRUE(update.empty());
  EXPECT_TRUE(answer.Take(R"({"choices":[{"index":0,"text":"x","finish_reason":"stop"}]})", &update).ok());
  answer.End(&update);
  EXPECT_EQ(update.usage.prompt_tokens, 0);
  EXPECT_EQ(update.usage.completion_tokens, 2147483647);
}

}  // namespace
}  // namespace hadal::relay
