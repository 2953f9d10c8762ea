// SPDX-License-Identifier: Apache-2.0
#include "server/relay/openai_request.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using nlohmann::json;
using request::Reason;
using service::ChatCall;
using service::GenerateCall;

ChatCall Ask(const char* text) {
  ChatCall call;
  chat::ChatMessage message;
  message.role = "user";
  message.content = text;
  call.messages.push_back(message);
  return call;
}

template <typename Call>
json BodyOf(const Call& call) {
  const absl::StatusOr<OpenAiRequest> request = EncodeOpenAi(call, "their-model");
  EXPECT_TRUE(request.ok()) << request.status();
  return request.ok() ? json::parse(request->body) : json();
}

template <typename Call>
Reason RefusalOf(const Call& call) {
  const absl::StatusOr<OpenAiRequest> request = EncodeOpenAi(call, "m");
  EXPECT_FALSE(request.ok());
  return request::GetErrorDetail(request.status()).reason;
}

TEST(OpenAiRequestTest, APlainChatHoldsNothingThatWasNotAskedFor) {
  const json expected = json::parse(R"({"model":"their-model","stream":true,"stream_options":{"include_usage":true},
      "messages":[{"role":"user","content":"\u0000 \"hi\""}]})");
  ChatCall call = Ask("");
  call.messages[0].content = std::string("\0 \"hi\"", 6);
  EXPECT_EQ(BodyOf(call), expected);
  EXPECT_EQ(EncodeOpenAi(call, "m")->path, "/chat/completions");
}

TEST(OpenAiRequestTest, EveryFieldOfAChat) {
  ChatCall call = Ask("hi");
  call.options.sampling = {.temperature = 0.7f,
                           .top_p = 0.5f,
                           .top_k = 4,
                           .min_p = 0.25f,
                           .repetition_penalty = 1.5f,
                           .frequency_penalty = -1.0f,
                           .presence_penalty = 2.0f,
                           .seed = 18446744073709551615u,
                           .logit_bias = {{5, -100.0f}}};
  call.options.stopping = {
      .max_tokens = 9, .min_tokens = 2, .stop = {"a", "\n"}, .stop_token_ids = {1, 2}, .ignore_eos = true};
  call.options.n = 2;
  call.options.user = "u";
  call.options.cache_salt = "s";
  call.options.skip_special_tokens = false;
  call.options.response_format = {service::ResponseFormat::Kind::kJsonSchema, R"( {"type": "object"} )"};
  chat::ChatMessage assistant;
  assistant.role = "assistant";
  assistant.reasoning_content = "r";
  assistant.tool_calls.push_back({"c1", "f", "{\"x\": 1}"});
  chat::ChatMessage result;
  result.role = "tool";
  result.content = "2";
  result.tool_call_id = "c1";
  call.messages.push_back(assistant);
  call.messages.push_back(result);
  call.tools = {{"f", "does f", R"({"type":"object"})"}, {"g", "", "", R"({"name":"g","extra":1})"}};
  call.strict_tools = {true};
  call.tool_choice = service::ToolChoice::kNamed;
  call.tool_name = "f";
  call.parallel_tool_calls = false;
  call.thinking = false;
  call.reasoning_effort = chat::ReasoningEffort::kMax;
  call.max_thinking_tokens = 0;
  call.template_arguments_json = R"({"a": 1})";
  call.documents_json = R"([{"text": "t"}])";
  EXPECT_EQ(BodyOf(call), json::parse(R"({"model":"their-model","stream":true,"stream_options":{"include_usage":true},
      "temperature":0.7,"top_p":0.5,"top_k":4,"min_p":0.25,"repetition_penalty":1.5,"frequency_penalty":-1,
      "presence_penalty":2,"seed":18446744073709551615,"logit_bias":{"5":-100},"max_tokens":9,"min_tokens":2,
      "stop":["a","\n"],"stop_token_ids":[1,2],"ignore_eos":true,"n":2,"user":"u","cache_salt":"s",
      "skip_special_tokens":false,
      "response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}},
      "messages":[{"role":"user","content":"hi"},
        {"role":"assistant","content":"","reasoning_content":"r",
         "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]},
        {"role":"tool","content":"2","tool_call_id":"c1"}],
      "tools":[{"type":"function","function":{"name":"f","description":"does f","parameters":{"type":"object"},"strict":true}},
        {"type":"function","function":{"name":"g","extra":1}}],
      "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,
      "thinking":{"type":"disabled"},"reasoning_effort":"xhigh","max_thinking_tokens":0,
      "chat_template_kwargs":{"a":1},"documents":[{"text":"t"}]})"));
}

TEST(OpenAiRequestTest, PlainTextTokenIdsAndAHole) {
  GenerateCall call;
  call.prompt = "once";
  call.suffix = "end";
  call.parse_special_tokens = true;
  call.add_special_tokens = false;
  const json text = BodyOf(call);
  EXPECT_EQ(text["prompt"], "once");
  EXPECT_EQ(text["suffix"], "end");
  EXPECT_EQ(text["parse_special_tokens"], true);
  EXPECT_EQ(text["add_special_tokens"], false);
  EXPECT_EQ(EncodeOpenAi(call, "m")->path, "/completions");
  GenerateCall ids;
  ids.prompt = std::vector<int32_t>{3, 1};
  EXPECT_EQ(BodyOf(ids)["prompt"], json::parse("[3,1]"));
}

TEST(OpenAiRequestTest, WhatTheAnswerCouldNotHoldIsRefused) {
  GenerateCall call;
  call.prompt = "x";
  call.options.return_token_ids = true;
  EXPECT_EQ(RefusalOf(call), Reason::kUnsupported);
  call.options = {};
  call.options.top_logprobs = 0;
  EXPECT_EQ(RefusalOf(call), Reason::kUnsupported);
  call.options = {};
  call.options.prompt_logprobs = true;
  EXPECT_EQ(RefusalOf(call), Reason::kUnsupported);
  call.options = {};
  call.options.stopping.max_tokens = 0;
  EXPECT_EQ(RefusalOf(call), Reason::kUnsupported);
  call.options = {};
  call.options.response_format.kind = service::ResponseFormat::Kind::kRegex;
  EXPECT_EQ(RefusalOf(call), Reason::kUnsupported);
}

TEST(OpenAiRequestTest, ATextThatIsNoJsonDoesNotBreakTheBodyAroundIt) {
  const char* const broken = R"({}, "model": "stolen")";
  ChatCall call = Ask("hi");
  call.options.response_format = {service::ResponseFormat::Kind::kJsonSchema, broken};
  EXPECT_EQ(RefusalOf(call), Reason::kInvalidRequest);
  call = Ask("hi");
  call.tools = {{"f", "", broken}};
  EXPECT_EQ(RefusalOf(call), Reason::kInvalidRequest);
  call = Ask("hi");
  call.template_arguments_json = broken;
  EXPECT_EQ(RefusalOf(call), Reason::kInvalidRequest);
  call = Ask("hi");
  call.documents_json = broken;
  EXPECT_EQ(RefusalOf(call), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace hadal::relay
