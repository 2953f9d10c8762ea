// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/responses_codec.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

constexpr int kDepth = 64;

absl::StatusOr<ResponsesBody> Decode(const std::string& fields) { return DecodeResponses("{" + fields + "}", kDepth); }
absl::StatusOr<ResponsesBody> DecodeItems(const std::string& items) { return Decode("\"input\":[" + items + "]"); }

TEST(ResponsesCodecTest, ReadsEveryField) {
  const auto body = Decode(
      R"("model":"m","input":"x","instructions":"Be brief.","stream":true,"temperature":0.5,"top_p":0.9,"seed":7,)"
      R"("max_output_tokens":9,"max_thinking_tokens":4,"reasoning":{"effort":"max","summary":"auto"},)"
      R"("text":{"format":{"type":"json_schema","name":"n","schema":{"type": "object"},"strict":true},"verbosity":"low"},)"
      R"("tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"},"strict":true},)"
      R"({"type":"web_search"},{"type":"custom","name":"patch"},{"type":"function","name":"g"}],)"
      R"("tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"store":true,"user":"u",)"
      R"("include":["reasoning.encrypted_content","message.output_text.logprobs"],"service_tier":"flex",)"
      R"("previous_response_id":null,"metadata":{"k": "v"},"prompt_cache_key":"p","truncation":"auto")");
  ASSERT_OK(body);
  const service::ChatCall& call = body->call;
  EXPECT_EQ(call.options.model, "m");
  EXPECT_EQ(call.options.stopping.max_tokens, 9);
  EXPECT_EQ(call.max_thinking_tokens, 4);
  EXPECT_EQ(call.reasoning_effort, chat::ReasoningEffort::kMax);
  EXPECT_EQ(call.options.sampling.temperature, 0.5f);
  EXPECT_EQ(call.options.sampling.seed, 7u);
  EXPECT_EQ(call.options.user, "u");
  EXPECT_EQ(call.options.top_logprobs, 0);
  EXPECT_EQ(call.options.response_format.schema_json, R"({"type":"object"})");
  EXPECT_EQ(body->service_tier, "flex");
  EXPECT_TRUE(body->response.stream);
  EXPECT_TRUE(body->response.carries_reasoning);
  ASSERT_EQ(call.messages.size(), 2u);
  EXPECT_EQ(call.messages[0].role, "system");
  EXPECT_EQ(call.messages[0].content, "Be brief.");
  EXPECT_EQ(call.messages[1].content, "x");
  EXPECT_EQ(call.message_paths, (std::vector<std::string>{"instructions", "input"}));
  ASSERT_EQ(call.tools.size(), 2u) << "tools other than functions are left out";
  EXPECT_EQ(call.tools[0].parameters_json, R"({"type":"object"})");
  EXPECT_EQ(call.strict_tools, (std::vector<bool>{true, false}));
  EXPECT_EQ(call.tool_choice, service::ToolChoice::kNamed);
  EXPECT_EQ(call.tool_name, "f");
  EXPECT_FALSE(call.parallel_tool_calls);
  // What the response repeats: as it was sent, or the default.
  EXPECT_NE(body->response.echo.find(R"("metadata":{"k":"v"})"), std::string::npos);
  EXPECT_NE(body->response.echo.find(R"("temperature":0.5)"), std::string::npos);
  EXPECT_NE(Decode(R"("input":"x")")->response.echo.find(R"("tool_choice":"auto","tools":[])"), std::string::npos);
}

// A whole conversation, as agents that keep it themselves send it.
TEST(ResponsesCodecTest, ItemsBecomeMessages) {
  const auto body = DecodeItems(
      R"({"type":"message","role":"developer","content":[{"type":"input_text","text":"Be "},{"type":"input_text","text":"brief."}]},)"
      R"({"role":"user","content":"2+3?"},)"
      R"({"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"Use add."}]},)"
      R"({"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"Adding.","annotations":[]}]},)"
      R"({"type":"function_call","id":"fc_1","call_id":"c1","name":"add","arguments":"{\"a\": 2}"},)"
      R"({"type":"function_call","call_id":"c2","name":"now","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"c1","output":"5"},)"
      R"({"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"noon"}]},)"
      R"({"type":"reasoning","summary":[],"content":null,"encrypted_content":")" +
      CarriedReasoning("Say it – 说.") +
      R"("},{"type":"function_call","call_id":"c3","name":"say","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"c3","output":""},)"
      R"({"type":"reasoning","summary":[],"encrypted_content":"gAAAAAB_another_servers"})");
  ASSERT_OK(body);
  const std::vector<chat::ChatMessage>& messages = body->call.messages;
  ASSERT_EQ(messages.size(), 8u);
  EXPECT_EQ(messages[0].role, "developer");
  EXPECT_EQ(messages[0].content, "Be brief.");
  EXPECT_EQ(messages[2].reasoning_content, "Use add.");
  EXPECT_EQ(messages[2].content, "Adding.");
  ASSERT_EQ(messages[2].tool_calls.size(), 2u);
  EXPECT_EQ(messages[2].tool_calls[0].id, "c1");
  EXPECT_EQ(messages[2].tool_calls[0].arguments, R"({"a": 2})");
  EXPECT_EQ(messages[3].role, "tool");
  EXPECT_EQ(messages[3].tool_call_id, "c1");
  EXPECT_EQ(messages[4].content, "noon");
  EXPECT_EQ(messages[5].reasoning_content, "Say it – 说.");
  ASSERT_EQ(messages[5].tool_calls.size(), 1u);
  EXPECT_EQ(messages[7].reasoning_content, "") << "nobody here can read it";
  EXPECT_EQ(body->call.message_paths[3], "input[6]");
  ASSERT_OK(service::Validate(body->call));
}

TEST(ResponsesCodecTest, EachErrorNamesItsField) {
  for (const auto& [items, param] : std::vector<std::pair<std::string, std::string>>{
           {"5", "input[0]"},
           {R"({"role":"user"})", "input[0].content"},
           {R"({"content":"x"})", "input[0].role"},
           {R"({"role":"user","content":5})", "input[0].content"},
           {R"({"role":"user","content":[{"type":"input_image","image_url":"x"}]})", "input[0].content[0]"},
           {R"({"role":"user","content":[{"type":"input_text"}]})", "input[0].content[0].text"},
           {R"({"type":"item_reference","id":"x"})", "input[0]"},
           {R"({"type":"computer_call"})", "input[0]"},
           {R"({"type":"function_call","name":"f","arguments":"{}"})", "input[0].call_id"},
           {R"({"type":"function_call","call_id":"c","name":"f","arguments":{}})", "input[0].arguments"},
           {R"({"type":"function_call_output","call_id":"c"})", "input[0].output"},
           {R"({"type":"reasoning","summary":[],"content":[{"type":"image"}]})", "input[0].content[0]"},
       }) {
    EXPECT_EQ(request::GetErrorDetail(DecodeItems(items).status()).param, param) << items;
  }
  const std::string head = R"("input":"x",)";
  for (const auto& [fields, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("previous_response_id":"resp_1")", "previous_response_id"},
           {R"("conversation":"c")", "conversation"},
           {R"("prompt":{"id":"p"})", "prompt"},
           {R"("background":true)", "background"},
           {R"("max_output_tokens":0)", "max_output_tokens"},
           {R"("reasoning":5)", "reasoning"},
           {R"("reasoning":{"effort":"some"})", "reasoning_effort"},
           {R"("text":{"format":{"type":"grammar"}})", "text.format.type"},
           {R"("text":{"format":{"type":"json_schema"}})", "text.format.schema"},
           {R"("tools":[{"name":"f"}])", "tools[0].type"},
           {R"("tools":[{"type":"function"}])", "tools[0].name"},
           {R"("tools":[{"type":"function","name":"f","parameters":5}])", "tools[0].parameters"},
           {R"("tool_choice":"maybe")", "tool_choice"},
           {R"("tool_choice":{"type":"web_search"})", "tool_choice"},
           {R"("tool_choice":{"type":"function"})", "tool_choice.name"},
           {R"("tool_choice":{"type":"allowed_tools","mode":"any"})", "tool_choice.mode"},
           {R"("tool_choice":{"type":"allowed_tools","mode":"auto"})", "tool_choice.tools"},
           {R"("tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function"}]})",
            "tool_choice.tools[0].name"},
           {R"("response_format":{"type":"json_object"})", "text.format"},
           {R"("include":"x")", "include"},
           {R"("temperature":"hot")", "temperature"},
       }) {
    EXPECT_EQ(request::GetErrorDetail(Decode(head + fields).status()).param, param) << fields;
  }
  EXPECT_EQ(request::GetErrorDetail(Decode("").status()).param, "input");
  EXPECT_OK(Decode(head + R"("background":false)"));
}

TEST(ResponsesCodecTest, OnlyAllowedToolsAreKept) {
  const auto body = Decode(
      R"("input":"x","tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"g"},)"
      R"({"type":"web_search"}]},"tools":[{"type":"function","name":"f"},{"type":"function","name":"g","strict":true}])");
  ASSERT_OK(body);
  EXPECT_EQ(body->call.tool_choice, service::ToolChoice::kRequired);
  ASSERT_EQ(body->call.tools.size(), 1u);
  EXPECT_EQ(body->call.tools[0].name, "g");
  EXPECT_EQ(body->call.strict_tools, (std::vector<bool>{true}));
  // The response repeats what the request said, all tools included.
  EXPECT_NE(body->response.echo.find(R"("tools":[{"type":"function","name":"f"})"), std::string::npos);
}

}  // namespace
}  // namespace hadal::http
