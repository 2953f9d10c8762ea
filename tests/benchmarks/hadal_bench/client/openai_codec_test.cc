// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/openai_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace hadal::bench {
namespace {

CallResult Judge(const std::vector<std::string>& events, bool clean = true) {
  AnswerReader reader;
  for (const std::string& event : events) reader.OnEvent(event);
  CallResult result;
  reader.Finish(clean, &result);
  return result;
}

TEST(OpenAiCodecTest, EncodesBothApis) {
  CallSpec spec;
  spec.prompt = "say \"hi\"\n";
  spec.max_tokens = 7;
  spec.form.exact_length = true;
  EXPECT_EQ(EncodeCall(spec, OpenAiApi::kChat, "m"),
            R"({"model":"m","messages":[{"role":"user","content":"say \"hi\"\u000a"}],"max_tokens":7,"stream":true,)"
            R"("stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":7})");
  spec.form.exact_length = false;
  EXPECT_EQ(
      EncodeCall(spec, OpenAiApi::kCompletions, "m"),
      R"({"model":"m","prompt":"say \"hi\"\u000a","max_tokens":7,"stream":true,"stream_options":{"include_usage":true}})");
}

TEST(OpenAiCodecTest, EncodesWhatTheServerTakes) {
  CallSpec spec;
  spec.prompt = "x";
  spec.max_tokens = 7;
  spec.form = {.exact_length = false, .usage = false, .max_completion_tokens = true};
  EXPECT_EQ(EncodeCall(spec, OpenAiApi::kCompletions, "m"),
            R"({"model":"m","prompt":"x","max_completion_tokens":7,"stream":true})");
}

TEST(OpenAiCodecTest, MembersOfTheUserComeLast) {
  CallSpec spec;
  spec.prompt = "x";
  EXPECT_THAT(EncodeCall(spec, OpenAiApi::kChat, "m", R"("temperature":0,"n":1)"),
              testing::EndsWith(R"("include_usage":true},"temperature":0,"n":1})"));
}

TEST(OpenAiCodecTest, AWholeAnswerIsServed) {
  AnswerReader reader;
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"delta":{"role":"assistant"}}]})"), 0u);
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"delta":{"reasoning_content":"ab"}}],"usage":null})"), 2u);
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"delta":{"content":"c"},"finish_reason":null}]})"), 1u);
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"delta":{},"finish_reason":"length"}]})"), 0u);
  EXPECT_EQ(
      reader.OnEvent(
          R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}})"),
      0u);
  EXPECT_EQ(reader.OnEvent("[DONE]"), 0u);
  CallResult result;
  reader.Finish(true, &result);
  EXPECT_EQ(result.end, CallEnd::kServed);
  EXPECT_EQ(result.prompt_tokens, 5);
  EXPECT_EQ(result.completion_tokens, 3);
  EXPECT_EQ(result.cached_tokens, 2);
  EXPECT_EQ(result.finish_reason, "length");
}

TEST(OpenAiCodecTest, CompletionsAndToolCallsAreContent) {
  AnswerReader reader;
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"text":"abc"}]})"), 3u);
  EXPECT_EQ(reader.OnEvent(R"({"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]})"),
            3u);
}

TEST(OpenAiCodecTest, FastNonsenseIsAFailure) {
  const std::string text = R"({"choices":[{"delta":{"content":"c"}}]})";
  EXPECT_EQ(Judge({"[DONE]"}).reason, "empty_answer");
  EXPECT_EQ(Judge({R"({"choices":[{"delta":{"content":""},"finish_reason":"stop"}]})", "[DONE]"}).reason,
            "empty_answer");
  EXPECT_EQ(Judge({text}).reason, "cut_off");
  EXPECT_EQ(Judge({text, "[DONE]"}, false).end, CallEnd::kServed);  // all of it was there
  EXPECT_EQ(Judge({text}, false).reason, "cut_off");
  EXPECT_EQ(Judge({text, "{broken", "[DONE]"}).reason, "broken_json");
  EXPECT_EQ(Judge({text, R"({"error":{"message":"m","code":"DRAINING"}})"}).reason, "DRAINING");
  EXPECT_EQ(
      Judge({text, R"({"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]})", "[DONE]"}).reason,
      "insufficient_system_resource");
}

// As vLLM (now and before 0.10), TGI, and servers that name the event send them.
TEST(OpenAiCodecTest, KnowsTheErrorsOfOtherServers) {
  const std::string text = R"({"choices":[{"delta":{"content":"c"},"finish_reason":"stop"}]})";
  const CallResult older =
      Judge({text, R"({"object":"error","message":"died","type":"ServerError","code":500})", "[DONE]"});
  EXPECT_EQ(older.reason, "ServerError");
  EXPECT_EQ(older.message, "died");
  EXPECT_EQ(Judge({text, R"({"error":"died","error_type":"generation"})"}).reason, "generation");
  EXPECT_EQ(Judge({text, R"({"error":{"message":"died","type":"ServerError","code":500}})"}).reason, "ServerError");

  for (const auto& [data, reason, message] :
       std::vector<std::array<const char*, 3>>{{R"({"message":"died","type":"ServerError"})", "ServerError", "died"},
                                               {R"({"error":{"message":"died","code":"OOM"}})", "OOM", "died"},
                                               {"died", "error_event", "died"}}) {
    AnswerReader reader;
    reader.OnEvent(text);
    reader.OnErrorEvent(data);
    reader.OnEvent("[DONE]");
    CallResult result;
    reader.Finish(true, &result);
    EXPECT_EQ(result.end, CallEnd::kFailed);
    EXPECT_EQ(result.reason, reason);
    EXPECT_EQ(result.message, message);
  }
}

TEST(OpenAiCodecTest, AnErrorUnderStatus200IsNamed) {
  CallResult result;
  EXPECT_TRUE(ReadErrorOfSuccess(R"({"error":{"message":"no room","type":"overloaded_error"}})", &result));
  EXPECT_EQ(result.end, CallEnd::kFailed);
  EXPECT_EQ(result.reason, "overloaded_error");
  EXPECT_EQ(result.message, "no room");
  EXPECT_FALSE(ReadErrorOfSuccess(R"({"choices":[],"error":null})", &result));
  EXPECT_FALSE(ReadErrorOfSuccess("<html>", &result));
}

TEST(OpenAiCodecTest, ErrorBodiesGiveReasonAndMessage) {
  const auto read = [](int status, const char* header, const char* body) {
    CallResult result;
    ReadErrorBody(status, header, body, &result);
    return result;
  };
  const CallResult busy =
      read(503, "", R"({"error":{"message":"Server busy","type":"overloaded_error","code":"CONNECTION_QUEUE_FULL"}})");
  EXPECT_EQ(busy.end, CallEnd::kRefused);
  EXPECT_EQ(busy.reason, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(busy.message, "Server busy");
  EXPECT_EQ(read(503, "WAIT_LIMIT", "{}").reason, "WAIT_LIMIT");
  EXPECT_EQ(read(429, "", R"({"error":"slow down"})").message, "slow down");
  EXPECT_EQ(read(429, "", "").reason, "http_429");
  EXPECT_EQ(read(500, "", R"({"error":{"type":"oops <script>"}})").reason, "oops__script_");
  EXPECT_EQ(read(500, "", "").end, CallEnd::kFailed);
  EXPECT_EQ(read(422, "", R"({"detail":"no such field"})").message, "no such field");
}

TEST(OpenAiCodecTest, FindsTheFirstModel) {
  EXPECT_EQ(*FirstModel(R"({"object":"list","data":[{"id":"a"},{"id":"b"}]})"), "a");
  EXPECT_FALSE(FirstModel(R"({"data":[]})").ok());
  EXPECT_FALSE(FirstModel("<html>").ok());
}

}  // namespace
}  // namespace hadal::bench
