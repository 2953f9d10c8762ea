// SPDX-License-Identifier: Apache-2.0
#include "client/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/client/all_fields.h"

namespace hadal::client {
namespace {

// Each option has another value than when it is left out.
void SetAll(GenerationOptions* options) {
  options->model = "m";
  options->temperature = 0.5;
  options->top_p = 0.25;
  options->seed = 3;
  options->max_tokens = 4;
  options->stop = {"s"};
  options->top_k = 5;
  options->min_p = 0.125;
  options->repetition_penalty = 1.5;
  options->frequency_penalty = -1;
  options->presence_penalty = -2;
  options->logit_bias = {{6, -100}};
  options->stop_token_ids = {7};
  options->min_tokens = 8;
  options->ignore_eos = true;
  options->n = 9;
  options->logprobs = 10;
  options->return_token_ids = true;
  options->user = "u";
  options->cache_salt = "c";
}

ChatOptions WholeChat() {
  ChatOptions options;
  SetAll(&options);
  options.json_object = true;
  options.messages = {{.role = "assistant",
                       .content = "x",
                       .reasoning = "r",
                       .prefix = true,
                       .tool_calls = {{.id = "1", .name = "f", .arguments = "{}"}}},
                      {.role = "tool", .content = "y", .tool_call_id = "1"}};
  options.thinking = 0;
  options.max_thinking_tokens = 11;
  options.reasoning_control = true;
  options.chat_template_kwargs = "{}";
  options.documents = {"{}"};
  options.tools = {{.name = "f", .description = "d", .parameters_json_schema = "{}", .strict = true}};
  options.tool_choice = ToolChoice::kNamed;
  options.tool_name = "f";
  options.parallel_tool_calls = false;
  options.reasoning_effort = "low";
  return options;
}

CompletionOptions WholeCompletion() {
  CompletionOptions options;
  SetAll(&options);
  options.json_object = true;
  options.prompt = "p";
  options.suffix = "";
  options.parse_special_tokens = false;
  options.echo_logprobs = true;
  return options;
}

// What the two options of a oneof set is looked for in two requests.
template <typename Options>
std::set<std::string> FieldsSetBy(const Options& options, const Options& other) {
  std::set<std::string> names;
  AddFieldsSetIn(RequestOf(options), &names);
  AddFieldsSetIn(RequestOf(other), &names);
  return names;
}

// Fails for a field that comes to the API until the library can set it, and this test does.
TEST(RequestsTest, EveryFieldOfAChatCanBeSet) {
  ChatOptions schema = WholeChat();
  schema.json_schema = R"({"type": "object"})";
  std::set<std::string> set = FieldsSetBy(WholeChat(), schema), all;
  AddFieldsOf(*v1::ChatRequest::descriptor(), &all);
  set.insert("hadal.v1.ChatRequest.priority");  // it is in the metadata
  EXPECT_THAT(set, ::testing::ContainerEq(all));
}

TEST(RequestsTest, EveryFieldOfACompletionCanBeSet) {
  CompletionOptions other = WholeCompletion();
  other.json_schema = R"({"type": "object"})";
  other.token_ids = {1};
  std::set<std::string> set = FieldsSetBy(WholeCompletion(), other), all;
  AddFieldsOf(*v1::GenerateRequest::descriptor(), &all);
  set.insert("hadal.v1.GenerateRequest.priority");
  EXPECT_THAT(set, ::testing::ContainerEq(all));
}

TokenizeOptions WholeTokenize() {
  TokenizeOptions options;
  options.model = "m";
  options.text = "t";
  options.messages = WholeChat().messages;
  options.add_special_tokens = false;
  options.thinking = 0;
  options.parse_special_tokens = false;
  options.chat_template_kwargs = "{}";
  options.documents = {"{}"};
  return options;
}

TEST(RequestsTest, EveryFieldOfTokenizeAndDetokenizeCanBeSet) {
  std::set<std::string> set = FieldsSetBy(WholeTokenize(), WholeTokenize()), all;
  AddFieldsOf(*v1::TokenizeRequest::descriptor(), &all);
  EXPECT_THAT(set, ::testing::ContainerEq(all));
  EXPECT_FALSE(RequestOf(WholeTokenize()).add_special_tokens() || RequestOf(WholeTokenize()).thinking());
  const DetokenizeOptions detokenize = {.model = "m", .token_ids = {1}, .skip_special_tokens = true};
  set = FieldsSetBy(detokenize, detokenize);
  all.clear();
  AddFieldsOf(*v1::DetokenizeRequest::descriptor(), &all);
  EXPECT_THAT(set, ::testing::ContainerEq(all));
}

TEST(RequestsTest, WhatIsLeftOutIsNotSet) {
  EXPECT_EQ(RequestOf(TokenizeOptions()).DebugString(), "");
  EXPECT_EQ(RequestOf(DetokenizeOptions()).DebugString(), "");
  EXPECT_EQ(RequestOf(ChatOptions()).DebugString(), "sampling {\n}\nstopping {\n}\n");
  EXPECT_EQ(RequestOf(CompletionOptions()).DebugString(), "text: \"\"\nsampling {\n}\nstopping {\n}\n");
}

TEST(RequestsTest, ValuesStayWhatTheyAre) {
  const v1::ChatRequest request = RequestOf(WholeChat());
  EXPECT_EQ(request.sampling().top_k(), 5);
  EXPECT_EQ(request.sampling().min_p(), 0.125f);
  EXPECT_EQ(request.sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(request.sampling().frequency_penalty(), -1);
  EXPECT_EQ(request.sampling().presence_penalty(), -2);
  EXPECT_EQ(request.sampling().logit_bias().at(6), -100);
  EXPECT_EQ(request.stopping().stop_token_ids(0), 7);
  EXPECT_EQ(request.stopping().min_tokens(), 8);
  EXPECT_EQ(request.n(), 9);
  EXPECT_EQ(request.logprobs(), 10);
  EXPECT_EQ(request.messages(0).tool_calls(0).arguments(), "{}");
  EXPECT_EQ(request.messages(1).tool_call_id(), "1");
  EXPECT_FALSE(request.parallel_tool_calls());
  EXPECT_FALSE(request.thinking());
  EXPECT_TRUE(request.response_format().json_object());
  const std::map<ToolChoice, v1::ToolChoice> choices = {{ToolChoice::kAuto, v1::TOOL_CHOICE_AUTO},
                                                        {ToolChoice::kNone, v1::TOOL_CHOICE_NONE},
                                                        {ToolChoice::kRequired, v1::TOOL_CHOICE_REQUIRED},
                                                        {ToolChoice::kNamed, v1::TOOL_CHOICE_NAMED}};
  for (const auto& [ours, theirs] : choices) {
    ChatOptions options;
    options.tool_choice = ours;
    EXPECT_EQ(RequestOf(options).tool_choice(), theirs);
  }
}

TEST(RequestsTest, MetadataSaysHowTheServerTreatsTheCall) {
  EXPECT_TRUE(MetadataOf(GenerationOptions())->empty());
  GenerationOptions options;
  options.priority = "high";
  options.traceparent = "00-1-2-01";
  options.tracestate = "a=b";
  options.request_id = "mine";
  options.response_cache = "max-age=60";
  options.may_queue = false;
  options.allow_degraded = false;
  options.first_token_within = absl::Milliseconds(1500);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(*MetadataOf(options),
              ::testing::UnorderedElementsAre(
                  Pair("x-hadal-priority", "high"), Pair("traceparent", "00-1-2-01"), Pair("tracestate", "a=b"),
                  Pair("x-request-id", "mine"), Pair("x-hadal-cache", "max-age=60"), Pair("x-hadal-queue", "no"),
                  Pair("x-hadal-allow-degraded", "0"), Pair("x-llm-d-slo-ttft-ms", "1500")));
}

TEST(RequestsTest, NamesWhatMetadataCannotHold) {
  for (const std::string bad : {"use\n", "caf\u00e9", "\x7f"}) {
    GenerationOptions options;
    options.response_cache = bad;
    EXPECT_EQ(MetadataOf(options).status(),
              absl::InvalidArgumentError("response_cache must be printable ASCII, since it goes into metadata"));
  }
}

}  // namespace
}  // namespace hadal::client
