// SPDX-License-Identifier: Apache-2.0
// Tools through gRPC, for every generation that has them; and filling in the middle.
#include <gtest/gtest.h>

#include "tests/server/rpc/grpc_fixture.h"
#include "tests/support/tool_call_scripts.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::GrpcFixture;
using ::hadal::testing::Script;
using ::hadal::testing::ServiceFixture;
using ::hadal::testing::ToolCallScript;
using ::hadal::testing::ToolCallScripts;

ServiceFixture::Options WithStyle(chat::ChatStyle style) {
  ServiceFixture::Options options;
  options.chat_style = style;
  options.max_model_len = 4096;
  return options;
}

v1::ChatRequest WithTools() {
  v1::ChatRequest request = GrpcFixture::Hello();
  request.mutable_stopping()->clear_max_tokens();
  for (const char* name : {"get_weather", "now"}) {
    v1::ToolDefinition* tool = request.add_tools();
    tool->set_name(name);
    tool->set_parameters_json_schema(R"({"type":"object"})");
  }
  return request;
}

TEST(ToolCallStreamTest, DeltasJoinToReasoningContentAndCalls) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    GrpcFixture fixture(ServiceFixture::Says(script.output), {.service = WithStyle(script.style)});
    const GrpcFixture::Reply reply = fixture.Chat(WithTools());
    ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
    std::string reasoning, content;
    std::vector<std::pair<std::string, std::string>> calls;
    for (const v1::GenerateResponse& message : reply.messages) {
      reasoning += message.reasoning();
      content += message.text();
      for (const v1::ToolCallDelta& delta : message.tool_calls()) {
        EXPECT_EQ(delta.id().empty(), delta.name().empty());
        if (!delta.name().empty()) calls.emplace_back(delta.name(), "");
        ASSERT_EQ(delta.index() + 1, static_cast<int>(calls.size()));
        calls.back().second += delta.arguments();
      }
    }
    EXPECT_EQ(reasoning, script.reasoning);
    EXPECT_EQ(content, script.content);
    EXPECT_EQ(calls, script.calls);
    v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
    for (const auto& message : reply.messages) {
      if (message.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) finish = message.finish_reason();
    }
    EXPECT_EQ(finish, v1::FINISH_REASON_TOOL_CALLS);
    EXPECT_GT(reply.messages.back().usage().reasoning_tokens(), 0);
  }
}

// Sends the request and gives the prompt it became, as text.
template <typename Send>
std::string PromptOf(chat::ChatStyle style, Send send) {
  std::vector<int32_t> prompt;
  GrpcFixture fixture(
      [&](const request::Request& request) {
        prompt = request.prompt;
        return Script{.tokens = testing::DemoEncode("ok"), .stop_token = 1};
      },
      {.service = WithStyle(style)});
  send(fixture);
  return testing::DemoTokenizer()->Decode(prompt, /*skip_special_tokens=*/false);
}

TEST(ToolCallStreamTest, AToolLoopAndTheEffortReachThePrompt) {
  v1::ChatRequest request = WithTools();
  request.set_reasoning_effort("max");
  v1::ChatMessage* assistant = request.add_messages();
  assistant->set_role("assistant");
  assistant->set_reasoning_content("Use now.");
  v1::ToolCall* call = assistant->add_tool_calls();
  call->set_id("c1");
  call->set_name("now");
  call->set_arguments("{}");
  v1::ChatMessage* result = request.add_messages();
  result->set_role("tool");
  result->set_tool_call_id("c1");
  result->set_content("12:00");
  const std::string prompt = PromptOf(chat::ChatStyle::kDeepSeekV4, [&](GrpcFixture& fixture) {
    const GrpcFixture::Reply reply = fixture.Chat(request);
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  });
  EXPECT_NE(prompt.find("Reasoning Effort: Absolute maximum"), prompt.npos) << prompt;
  EXPECT_NE(prompt.find("{\"name\": \"now\", \"parameters\": {\"type\": \"object\"}}"), prompt.npos) << prompt;
  EXPECT_TRUE(prompt.ends_with(
      "<think>Use now.</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>\n"
      "</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>12:00</tool_result><｜Assistant｜>"
      "<think>"))
      << prompt;
  request.mutable_messages(2)->set_tool_call_id("c2");
  GrpcFixture fixture(ServiceFixture::Says("x"), {.service = WithStyle(chat::ChatStyle::kDeepSeekV4)});
  EXPECT_EQ(fixture.Chat(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(ToolCallStreamTest, SuffixFillsInTheMiddle) {
  v1::GenerateRequest request;
  request.set_text("def f(");
  request.set_suffix("): pass");
  const std::string prompt = PromptOf(chat::ChatStyle::kDeepSeekV3, [&](GrpcFixture& fixture) {
    grpc::ClientContext context;
    auto reader = fixture.stub->Generate(&context, request);
    for (v1::GenerateResponse message; reader->Read(&message);) {
    }
    EXPECT_TRUE(reader->Finish().ok());
  });
  EXPECT_EQ(prompt, "<｜begin▁of▁sentence｜><｜fim▁begin｜>def f(<｜fim▁hole｜>): pass<｜fim▁end｜>");
}

}  // namespace
}  // namespace hadal::rpc
