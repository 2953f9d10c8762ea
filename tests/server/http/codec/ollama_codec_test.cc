// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/ollama_codec.h"

#include <string>
#include <utility>
#include <variant>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;
using service::ResponseFormat;

constexpr int kDepth = 64;

// Members of a body with one message.
std::string Asks(std::string_view more) {
  return std::string(R"({"model":"demo","messages":[{"role":"user","content":"hi"}],)").append(more).append("}");
}

service::ChatCall ChatOf(const absl::StatusOr<OllamaBody>& body) {
  EXPECT_OK(body.status());
  if (!body.ok() || !std::holds_alternative<service::ChatCall>(body->call)) {
    ADD_FAILURE() << "no chat";
    return {};
  }
  return std::get<service::ChatCall>(body->call);
}

service::GenerateCall TextOf(const absl::StatusOr<OllamaBody>& body) {
  EXPECT_OK(body.status());
  if (!body.ok() || !std::holds_alternative<service::GenerateCall>(body->call)) {
    ADD_FAILURE() << "no plain text";
    return {};
  }
  return std::get<service::GenerateCall>(body->call);
}

service::ChatCall Chat(std::string_view more) { return ChatOf(DecodeOllamaChat(Asks(more), kDepth)); }

std::string ParamOf(const absl::Status& status) { return request::GetErrorDetail(status).param; }

TEST(OllamaCodecTest, OptionsAreSamplingAndLimits) {
  const service::ChatCall call = Chat(
      R"("options":{"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"repeat_penalty":1.1,"presence_penalty":0.2,
         "frequency_penalty":0.3,"seed":7,"num_predict":9,"stop":["a","b"],"num_ctx":4096,"mirostat":0,"tfs_z":null})");
  const service::SamplingOptions& sampling = call.options.sampling;
  EXPECT_EQ(call.options.model, "demo");
  EXPECT_FLOAT_EQ(*sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(*sampling.top_p, 0.9f);
  EXPECT_EQ(*sampling.top_k, 40);
  EXPECT_FLOAT_EQ(*sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(*sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(*sampling.presence_penalty, 0.2f);
  EXPECT_FLOAT_EQ(*sampling.frequency_penalty, 0.3f);
  EXPECT_EQ(*sampling.seed, 7u);
  EXPECT_EQ(*call.options.stopping.max_tokens, 9);
  EXPECT_EQ(call.options.stopping.stop, (std::vector<std::string>{"a", "b"}));
}

TEST(OllamaCodecTest, ALimitThatIsNotPositiveIsNone) {
  for (const char* limit : {"-1", "-2", "0"}) {
    const service::ChatCall call = Chat(std::string(R"("options":{"num_predict":)") + limit + "}");
    EXPECT_FALSE(call.options.stopping.max_tokens.has_value()) << limit;
  }
}

TEST(OllamaCodecTest, ALimitBeyondTheContextIsTheContext) {
  const service::ChatCall call = Chat(R"("options":{"num_predict":1000000})");
  EXPECT_EQ(*call.options.stopping.max_tokens, 1000000);
  EXPECT_TRUE(call.options.stopping.cap_max_tokens);
}

TEST(OllamaCodecTest, StreamsUnlessTold) {
  EXPECT_TRUE(DecodeOllamaChat(Asks(R"("x":1)"), kDepth)->response.stream);
  EXPECT_FALSE(DecodeOllamaChat(Asks(R"("stream":false)"), kDepth)->response.stream);
}

TEST(OllamaCodecTest, FormatIsJsonOrASchema) {
  EXPECT_EQ(Chat(R"("format":"json")").options.response_format.kind, ResponseFormat::Kind::kJsonObject);
  EXPECT_EQ(Chat(R"("format":"")").options.response_format.kind, ResponseFormat::Kind::kText);
  EXPECT_EQ(Chat(R"("format":null)").options.response_format.kind, ResponseFormat::Kind::kText);
  const ResponseFormat format = Chat(R"("format":{"type":"object"})").options.response_format;
  EXPECT_EQ(format.kind, ResponseFormat::Kind::kJsonSchema);
  EXPECT_EQ(format.schema_json, R"({"type":"object"})");
  EXPECT_EQ(format.field, "format");
  EXPECT_REASON(DecodeOllamaChat(Asks(R"("format":"xml")"), kDepth).status(), Reason::kOutOfRange);
  EXPECT_REASON(DecodeOllamaChat(Asks(R"("format":3)"), kDepth).status(), Reason::kOutOfRange);
}

TEST(OllamaCodecTest, ThinkIsASwitchOrALevel) {
  EXPECT_EQ(Chat(R"("x":1)").thinking, std::nullopt);
  EXPECT_EQ(Chat(R"("think":false)").thinking, false);
  EXPECT_EQ(Chat(R"("think":true)").thinking, true);
  const service::ChatCall low = Chat(R"("think":"low")");
  EXPECT_EQ(low.thinking, true);
  EXPECT_EQ(low.reasoning_effort, chat::ReasoningEffort::kLow);
  EXPECT_REASON(DecodeOllamaChat(Asks(R"("think":"a lot")"), kDepth).status(), Reason::kOutOfRange);
  EXPECT_REASON(DecodeOllamaChat(Asks(R"("think":1)"), kDepth).status(), Reason::kOutOfRange);
}

TEST(OllamaCodecTest, LogprobsCountOnlyWhenAskedFor) {
  EXPECT_EQ(Chat(R"("logprobs":true)").options.top_logprobs, 0);
  EXPECT_EQ(Chat(R"("logprobs":true,"top_logprobs":3)").options.top_logprobs, 3);
  EXPECT_EQ(Chat(R"("top_logprobs":3)").options.top_logprobs, std::nullopt);
}

// Results name a tool, or an id that the calls did not have (LiteLLM), or nothing.
TEST(OllamaCodecTest, ResultsFindTheCallThatTheyAnswer) {
  const auto ids = [](std::string_view calls, std::string_view results) {
    std::string body =
        R"({"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"","thinking":"hm","tool_calls":[)";
    body.append(calls).append("]},").append(results).append("]}");
    const service::ChatCall call = ChatOf(DecodeOllamaChat(body, kDepth));
    std::vector<std::string> answered;
    for (const chat::ChatMessage& message : call.messages) {
      if (message.role == "tool") answered.push_back(message.tool_call_id);
    }
    EXPECT_EQ(call.messages[1].reasoning_content, "hm");
    return answered;
  };
  using Ids = std::vector<std::string>;
  const std::string two = R"({"function":{"name":"a","arguments":{"x":1}}},{"function":{"name":"b","arguments":{}}})";
  EXPECT_EQ(ids(two, R"({"role":"tool","tool_name":"b","content":"2"},{"role":"tool","tool_name":"a","content":"1"})"),
            (Ids{"call_1_1", "call_1_0"}));
  EXPECT_EQ(ids(two, R"({"role":"tool","content":"1"},{"role":"tool","content":"2"})"), (Ids{"call_1_0", "call_1_1"}));
  EXPECT_EQ(ids(two, R"({"role":"tool","tool_call_id":"call_9","content":"1"})"), (Ids{"call_1_0"}));
  EXPECT_EQ(ids(R"({"id":"p","function":{"name":"a"}},{"id":"q","function":{"name":"a"}})",
                R"({"role":"tool","tool_call_id":"q","content":"2"},{"role":"tool","name":"a","content":"1"})"),
            (Ids{"q", "p"}));
}

TEST(OllamaCodecTest, AResultOfNoCallIsRefused) {
  for (const char* results : {R"({"role":"tool","tool_name":"b","content":"1"})",
                              R"({"role":"tool","content":"1"},{"role":"tool","content":"2"})"}) {
    std::string body = R"({"messages":[{"role":"user","content":"x"},)";
    body.append(R"({"role":"assistant","tool_calls":[{"function":{"name":"a"}}]},)").append(results).append("]}");
    const absl::Status status = DecodeOllamaChat(body, kDepth).status();
    EXPECT_REASON(status, Reason::kInvalidRequest);
    EXPECT_EQ(ParamOf(status).substr(0, 9), "messages[") << status;
  }
}

TEST(OllamaCodecTest, CallsHaveObjectsAsArguments) {
  const service::ChatCall call = ChatOf(DecodeOllamaChat(
      R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"a","arguments":{"x": [1, 2]}}}]}]})",
      kDepth));
  EXPECT_EQ(call.messages[0].tool_calls[0].arguments, R"({"x":[1,2]})");
  const absl::Status text =
      DecodeOllamaChat(
          R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"a","arguments":"{}"}}]}]})", kDepth)
          .status();
  EXPECT_REASON(text, Reason::kOutOfRange);
  EXPECT_EQ(ParamOf(text), "messages[0].tool_calls[0].function.arguments");
}

TEST(OllamaCodecTest, ImagesAreRefusedByTheirPlace) {
  const absl::Status chat =
      DecodeOllamaChat(R"({"messages":[{"role":"user","content":"x","images":["aGk="]}]})", kDepth).status();
  EXPECT_REASON(chat, Reason::kInvalidRequest);
  EXPECT_EQ(ParamOf(chat), "messages[0].images");
  EXPECT_OK(DecodeOllamaChat(R"({"messages":[{"role":"user","content":"x","images":[]}]})", kDepth).status());
  EXPECT_EQ(ParamOf(DecodeOllamaGenerate(R"({"prompt":"x","images":["aGk="]})", kDepth).status()), "images");
}

TEST(OllamaCodecTest, GenerateIsAChatOfOneTurn) {
  const absl::StatusOr<OllamaBody> body = DecodeOllamaGenerate(
      R"({"model":"demo","prompt":"hi","system":"Be brief.","suffix":"","template":"","context":[],"options":{"seed":1}})",
      kDepth);
  const service::ChatCall call = ChatOf(body);
  ASSERT_EQ(call.messages.size(), 2u);
  EXPECT_EQ(call.messages[0].role, "system");
  EXPECT_EQ(call.messages[1].content, "hi");
  EXPECT_EQ(call.message_paths, (std::vector<std::string>{"system", "prompt"}));
  EXPECT_FALSE(body->response.message);
  EXPECT_TRUE(body->response.generates);
}

TEST(OllamaCodecTest, RawTextAndSuffixesHaveNoTemplate) {
  const service::GenerateCall raw = TextOf(
      DecodeOllamaGenerate(R"({"prompt":"def f(","raw":true,"options":{"num_predict":3},"format":"json"})", kDepth));
  EXPECT_EQ(std::get<std::string>(raw.prompt), "def f(");
  EXPECT_EQ(*raw.options.stopping.max_tokens, 3);
  EXPECT_EQ(raw.options.response_format.kind, ResponseFormat::Kind::kJsonObject);
  const service::GenerateCall fill = TextOf(DecodeOllamaGenerate(R"({"prompt":"a","suffix":"c"})", kDepth));
  EXPECT_EQ(*fill.suffix, "c");
}

TEST(OllamaCodecTest, WhatCannotBeDoneIsRefusedByName) {
  for (const auto& [body, param] : {std::pair(R"({"prompt":"x","template":"{{ .Prompt }}"})", "template"),
                                    {R"({"prompt":"x","context":[1]})", "context"},
                                    {R"({"prompt":3})", "prompt"},
                                    {R"({"prompt":"x","options":[]})", "options"},
                                    {R"({"prompt":"x","options":{"top_k":"many"}})", "options.top_k"}}) {
    EXPECT_EQ(ParamOf(DecodeOllamaGenerate(body, kDepth).status()), param) << body;
  }
}

// Clients load a model by asking nothing, and unload it by keeping it for no time.
TEST(OllamaCodecTest, NothingAskedTouchesTheModel) {
  for (const auto& [body, unload] : {std::pair(R"({"model":"demo"})", false),
                                     {R"({"prompt":"","keep_alive":-1})", false},
                                     {R"({"prompt":"","keep_alive":0})", true},
                                     {R"({"keep_alive":"0s"})", true}}) {
    const absl::StatusOr<OllamaBody> generate = DecodeOllamaGenerate(body, kDepth);
    EXPECT_EQ(*TextOf(generate).options.stopping.max_tokens, 0);
    EXPECT_FALSE(generate->response.generates);
    EXPECT_EQ(generate->response.unload, unload) << body;
  }
  const absl::StatusOr<OllamaBody> chat = DecodeOllamaChat(R"({"model":"demo","messages":[]})", kDepth);
  EXPECT_EQ(TextOf(chat).options.model, "demo");
  EXPECT_TRUE(chat->response.message);
}

}  // namespace
}  // namespace hadal::http
