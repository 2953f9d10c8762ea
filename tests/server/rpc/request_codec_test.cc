// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/request_codec.h"

#include <gtest/gtest.h>

#include "server/request/refusal.h"

namespace hadal::rpc {
namespace {

TEST(RequestCodecTest, EveryChatFieldArrives) {
  v1::ChatRequest message;
  message.set_model("m");
  message.set_n(3);
  message.set_logprobs(5);
  message.set_cache_salt("salt");
  message.set_user("u");
  message.set_thinking(false);
  message.set_return_token_ids(true);
  message.mutable_sampling()->set_temperature(0);
  message.mutable_sampling()->set_top_p(0.9f);
  message.mutable_sampling()->set_seed(42);
  (*message.mutable_sampling()->mutable_logit_bias())[7] = -3;
  message.mutable_stopping()->set_max_tokens(0);
  message.mutable_stopping()->set_min_tokens(2);
  message.mutable_stopping()->add_stop("END");
  message.mutable_stopping()->add_stop_token_ids(9);
  message.mutable_stopping()->set_ignore_eos(true);
  v1::ChatMessage* user = message.add_messages();
  user->set_role("user");
  user->set_content("hi");
  v1::ChatMessage* assistant = message.add_messages();
  assistant->set_role("assistant");
  assistant->set_prefix(true);
  assistant->set_reasoning_content("because");
  v1::ToolCall* call = assistant->add_tool_calls();
  call->set_id("1");
  call->set_name("f");
  call->set_arguments("{}");
  v1::ToolDefinition* tool = message.add_tools();
  tool->set_name("f");
  tool->set_parameters_json_schema("{}");

  message.set_reasoning_effort("xhigh");

  const service::ChatCall out = *DecodeChat(message);
  EXPECT_EQ(out.reasoning_effort, chat::ReasoningEffort::kMax);
  EXPECT_EQ(out.options.model, "m");
  EXPECT_EQ(out.options.n, 3);
  EXPECT_EQ(out.options.top_logprobs, 5);
  EXPECT_EQ(out.options.cache_salt, "salt");
  EXPECT_EQ(out.options.user, "u");
  EXPECT_EQ(out.thinking, false);
  EXPECT_TRUE(out.options.return_token_ids);
  EXPECT_EQ(out.options.sampling.temperature, 0.0f);
  EXPECT_EQ(out.options.sampling.top_p, 0.9f);
  EXPECT_EQ(out.options.sampling.top_k, std::nullopt);
  EXPECT_EQ(out.options.sampling.seed, 42u);
  ASSERT_EQ(out.options.sampling.logit_bias.size(), 1u);
  EXPECT_EQ(out.options.sampling.logit_bias[0], (std::pair<int32_t, float>(7, -3)));
  EXPECT_EQ(out.options.stopping.max_tokens, 0);
  EXPECT_EQ(out.options.stopping.min_tokens, 2);
  EXPECT_EQ(out.options.stopping.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(out.options.stopping.stop_token_ids, std::vector<int32_t>{9});
  EXPECT_TRUE(out.options.stopping.ignore_eos);
  ASSERT_EQ(out.messages.size(), 2u);
  EXPECT_TRUE(out.messages[1].prefix);
  EXPECT_EQ(out.messages[1].reasoning_content, "because");
  ASSERT_EQ(out.messages[1].tool_calls.size(), 1u);
  ASSERT_EQ(out.tools.size(), 1u);
}

TEST(RequestCodecTest, RefusesAnUnknownEffort) {
  v1::ChatRequest message;
  message.set_reasoning_effort("extreme");
  EXPECT_EQ(request::GetErrorDetail(DecodeChat(message).status()).param, "reasoning_effort");
}

// Enums are open on the wire: a number of a later version must not be taken for the default.
TEST(RequestCodecTest, RefusesUnknownNumbersByName) {
  const auto expect = [](const absl::Status& status, std::string_view param, std::string_view message) {
    const request::ErrorDetail detail = request::GetErrorDetail(status);
    EXPECT_EQ(detail.reason, request::Reason::kOutOfRange) << status;
    EXPECT_EQ(detail.param, param);
    EXPECT_EQ(std::string(status.message()), message);
  };
  v1::ChatRequest chat;
  chat.set_priority(static_cast<v1::Priority>(99));
  expect(DecodeChat(chat).status(), "priority", "`priority` is 99; it must be one that Priority names");
  chat.set_priority(v1::PRIORITY_BATCH);
  chat.set_tool_choice(static_cast<v1::ToolChoice>(9));
  expect(DecodeChat(chat).status(), "tool_choice", "`tool_choice` is 9; it must be one that ToolChoice names");
  chat.set_tool_choice(v1::TOOL_CHOICE_NAMED);
  chat.set_logprobs(20);
  EXPECT_TRUE(DecodeChat(chat).ok());
  v1::GenerateRequest generate;
  generate.set_text("x");
  generate.set_logprobs(21);
  expect(DecodeGenerate(generate).status(), "logprobs", "`logprobs` is 21; it must be from 0 to 20");
  generate.set_logprobs(0);
  generate.set_priority(static_cast<v1::Priority>(-1));
  expect(DecodeGenerate(generate).status(), "priority", "`priority` is -1; it must be one that Priority names");
}

TEST(RequestCodecTest, ReadsTheLimitOfThinking) {
  v1::ChatRequest message;
  EXPECT_EQ(DecodeChat(message)->max_thinking_tokens, std::nullopt);
  message.set_max_thinking_tokens(0);
  EXPECT_EQ(DecodeChat(message)->max_thinking_tokens, 0);
}

TEST(RequestCodecTest, ReadsWhatIsForTheTemplate) {
  v1::ChatRequest chat;
  chat.set_chat_template_kwargs(R"({"mood": "glad", "enable_thinking": false})");
  chat.add_documents(R"({"title": "A"})");
  chat.add_documents("{}");
  EXPECT_EQ(DecodeChat(chat)->template_arguments_json, chat.chat_template_kwargs());
  EXPECT_EQ(DecodeChat(chat)->documents_json, R"([{"title": "A"},{}])");
  EXPECT_EQ(DecodeChat(chat)->thinking, false);
  chat.set_thinking(true);
  EXPECT_EQ(DecodeChat(chat)->thinking, true) << "the field counts";
  v1::TokenizeRequest tokenize;
  tokenize.set_chat_template_kwargs(R"({"thinking": true})");
  tokenize.add_documents("{}");
  EXPECT_EQ(DecodeTokenize(tokenize)->thinking, true);
  EXPECT_EQ(DecodeTokenize(tokenize)->documents_json, "[{}]");
  for (const char* bad : {"[]", "{", "7"}) {
    chat.set_chat_template_kwargs(bad);
    EXPECT_EQ(request::GetErrorDetail(DecodeChat(chat).status()).param, "chat_template_kwargs") << bad;
  }
  tokenize.set_chat_template_kwargs(R"({"thinking": "yes"})");
  EXPECT_EQ(request::GetErrorDetail(DecodeTokenize(tokenize).status()).param, "chat_template_kwargs.thinking");
}

TEST(RequestCodecTest, SuffixAsksToFillInTheMiddle) {
  v1::GenerateRequest message;
  message.set_text("def f(");
  EXPECT_EQ(DecodeGenerate(message)->suffix, std::nullopt);
  message.set_suffix("");
  EXPECT_EQ(DecodeGenerate(message)->suffix, "");
  message.set_suffix("): pass");
  EXPECT_EQ(DecodeGenerate(message)->suffix, "): pass");
}

TEST(RequestCodecTest, ReadsWhatConstrainsTheOutput) {
  v1::ChatRequest chat;
  v1::ToolDefinition* tool = chat.add_tools();
  tool->set_name("f");
  tool->set_strict(true);
  chat.set_tool_choice(v1::TOOL_CHOICE_NAMED);
  chat.set_tool_name("f");
  chat.set_parallel_tool_calls(false);
  service::ChatCall out = *DecodeChat(chat);
  EXPECT_EQ(out.strict_tools, std::vector<bool>{true});
  EXPECT_EQ(out.tool_choice, service::ToolChoice::kNamed);
  EXPECT_EQ(out.tool_name, "f");
  EXPECT_FALSE(out.parallel_tool_calls);
  chat.set_tool_choice(v1::TOOL_CHOICE_REQUIRED);
  EXPECT_EQ(DecodeChat(chat)->tool_choice, service::ToolChoice::kRequired);
  chat.set_tool_choice(v1::TOOL_CHOICE_NONE);
  EXPECT_TRUE(DecodeChat(chat)->tools.empty());
  v1::GenerateRequest generate;
  generate.set_text("x");
  generate.mutable_response_format()->set_json_schema("{}");
  EXPECT_EQ(DecodeGenerate(generate)->options.response_format.schema_json, "{}");
  generate.mutable_response_format()->set_json_object(true);
  EXPECT_EQ(DecodeGenerate(generate)->options.response_format.kind, service::ResponseFormat::Kind::kJsonObject);
}

TEST(RequestCodecTest, WhatIsLeftOutStaysOpen) {
  const service::ChatCall out = *DecodeChat(v1::ChatRequest());
  EXPECT_EQ(out.options.n, 1);
  EXPECT_EQ(out.options.stopping.max_tokens, std::nullopt);
  EXPECT_EQ(out.options.top_logprobs, std::nullopt);
  EXPECT_EQ(out.thinking, std::nullopt);
  EXPECT_EQ(DecodePriority(v1::PRIORITY_UNSPECIFIED), std::nullopt);
  EXPECT_EQ(DecodePriority(static_cast<v1::Priority>(77)), std::nullopt);
}

TEST(RequestCodecTest, GenerateNeedsAPrompt) {
  const auto missing = DecodeGenerate(v1::GenerateRequest());
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(request::GetErrorDetail(missing.status()).param, "prompt");
  v1::GenerateRequest text;
  text.set_text("");
  EXPECT_TRUE(DecodeGenerate(text).ok());
  v1::GenerateRequest ids;
  ids.mutable_token_ids()->add_ids(5);
  EXPECT_EQ(std::get<std::vector<int32_t>>(DecodeGenerate(ids)->prompt), std::vector<int32_t>{5});
}

}  // namespace
}  // namespace hadal::rpc
