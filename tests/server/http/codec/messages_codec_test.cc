// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/messages_codec.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/http/codec/thinking_signature.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;

constexpr int kDepth = 64;

absl::StatusOr<MessagesBody> Decode(const std::string& fields) {
  return DecodeMessages(R"({"max_tokens":9,)" + fields + "}", kDepth);
}
absl::StatusOr<MessagesBody> DecodeTurns(const std::string& turns) { return Decode("\"messages\":[" + turns + "]"); }

TEST(MessagesCodecTest, ReadsEveryField) {
  const auto body = Decode(
      R"("model":"m","system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}],)"
      R"("messages":[{"role":"user","content":"x"}],"stream":true,"temperature":0.5,"top_p":0.9,"top_k":40,"seed":7,)"
      R"("stop_sequences":["S","T"],"metadata":{"user_id":"u"},"service_tier":"auto","cache_salt":"salt",)"
      R"("thinking":{"type":"enabled","budget_tokens":2000,"display":"omitted"},)"
      R"("output_config":{"effort":"max","format":{"type":"json_schema","schema":{"type": "object"}}},)"
      R"("tools":[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true},)"
      R"({"type":"web_search_20250305","name":"web_search"},{"type":"custom","name":"g"}],)"
      R"("tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"container":null,"mcp_servers":[])");
  ASSERT_OK(body);
  const service::ChatCall& call = body->call;
  EXPECT_EQ(call.options.model, "m");
  EXPECT_EQ(call.options.stopping.max_tokens, 9);
  EXPECT_EQ(call.options.stopping.stop, (std::vector<std::string>{"S", "T"}));
  EXPECT_EQ(call.options.sampling.temperature, 0.5f);
  EXPECT_EQ(call.options.sampling.top_p, 0.9f);
  EXPECT_EQ(call.options.sampling.top_k, 40);
  EXPECT_EQ(call.options.sampling.seed, 7u);
  EXPECT_EQ(call.options.user, "u");
  EXPECT_EQ(call.options.cache_salt, "salt");
  EXPECT_EQ(call.options.response_format.schema_json, R"({"type":"object"})");
  EXPECT_EQ(call.thinking, true);
  EXPECT_EQ(call.max_thinking_tokens, 2000);
  EXPECT_EQ(call.reasoning_effort, chat::ReasoningEffort::kMax);
  EXPECT_TRUE(body->response.stream);
  EXPECT_TRUE(body->response.omit_thinking);
  ASSERT_EQ(call.messages.size(), 2u);
  EXPECT_EQ(call.messages[0].role, "system");
  EXPECT_EQ(call.messages[0].content, "a\nb");
  EXPECT_EQ(call.message_paths, (std::vector<std::string>{"system", "messages[0]"}));
  ASSERT_EQ(call.tools.size(), 2u) << "tools that the server would run are left out";
  EXPECT_EQ(call.tools[0].name, "f");
  EXPECT_EQ(call.tools[0].parameters_json, R"({"type":"object"})");
  EXPECT_EQ(call.tools[1].name, "g");
  EXPECT_EQ(call.strict_tools, (std::vector<bool>{true, false}));
  EXPECT_EQ(call.tool_choice, service::ToolChoice::kNamed);
  EXPECT_EQ(call.tool_name, "f");
  EXPECT_FALSE(call.parallel_tool_calls);
}

TEST(MessagesCodecTest, ToolChoicesAndThinking) {
  const std::string head = R"("messages":[{"role":"user","content":"x"}],"tools":[{"name":"f"}],)";
  EXPECT_EQ(Decode(head + R"("tool_choice":{"type":"any"})")->call.tool_choice, service::ToolChoice::kRequired);
  EXPECT_EQ(Decode(head + R"("tool_choice":{"type":"auto"})")->call.tool_choice, service::ToolChoice::kAuto);
  EXPECT_TRUE(Decode(head + R"("tool_choice":{"type":"none"})")->call.tools.empty());
  EXPECT_FALSE(Decode(head + R"("top_k":1)")->call.thinking.has_value());
  EXPECT_EQ(Decode(head + R"("thinking":{"type":"disabled"})")->call.thinking, false);
  EXPECT_EQ(Decode(head + R"("thinking":{"type":"adaptive"})")->call.thinking, true);
}

// A whole round of tools, as agents send it back.
TEST(MessagesCodecTest, BlocksBecomeMessages) {
  ThinkingSignature signature;
  signature.Add("Use f.");
  const auto body = DecodeTurns(
      R"({"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]},)"
      R"({"role":"user","content":"three"},)"
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"Use f.","signature":")" +
      signature.Text() +
      R"("},{"type":"redacted_thinking","data":"zzz"},{"type":"text","text":"Look"},{"type":"text","text":"ing."},)"
      R"({"type":"tool_use","id":"t1","name":"f","input":{"a": [1, "x"]}},{"type":"tool_use","id":"t2","name":"g"}]},)"
      R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r1"}]},)"
      R"({"type":"tool_result","tool_use_id":"t2","is_error":true},{"type":"text","text":"go on"}]},)"
      R"({"role":"assistant","content":"So"})");
  ASSERT_OK(body);
  const std::vector<chat::ChatMessage>& messages = body->call.messages;
  ASSERT_EQ(messages.size(), 6u);
  EXPECT_EQ(messages[0].content, "one\ntwo\nthree") << "turns of one role are one";
  EXPECT_EQ(messages[1].reasoning_content, "Use f.");
  EXPECT_EQ(messages[1].content, "Looking.");
  ASSERT_EQ(messages[1].tool_calls.size(), 2u);
  EXPECT_EQ(messages[1].tool_calls[0].id, "t1");
  EXPECT_EQ(messages[1].tool_calls[0].arguments, R"({"a":[1,"x"]})");
  EXPECT_EQ(messages[1].tool_calls[1].arguments, "{}");
  EXPECT_EQ(messages[2].role, "tool");
  EXPECT_EQ(messages[2].tool_call_id, "t1");
  EXPECT_EQ(messages[2].content, "r1");
  EXPECT_EQ(messages[3].tool_call_id, "t2");
  EXPECT_EQ(messages[4].role, "user");
  EXPECT_EQ(messages[4].content, "go on");
  EXPECT_TRUE(messages[5].prefix) << "a last turn of the assistant is continued";
  EXPECT_FALSE(messages[1].prefix);
  EXPECT_EQ(body->call.message_paths[2], "messages[3].content[0]");
  ASSERT_OK(service::Validate(body->call));
}

TEST(MessagesCodecTest, EachErrorNamesItsField) {
  for (const auto& [turns, param] : std::vector<std::pair<std::string, std::string>>{
           {"5", "messages[0]"},
           {R"({"content":"x"})", "messages[0].role"},
           {R"({"role":"tool","content":"x"})", "messages[0].role"},
           {R"({"role":"user"})", "messages[0].content"},
           {R"({"role":"user","content":5})", "messages[0].content"},
           {R"({"role":"user","content":[{"type":"image","source":{}}]})", "messages[0].content[0]"},
           {R"({"role":"user","content":[{"type":"text"}]})", "messages[0].content[0].text"},
           {R"({"role":"user","content":[{"text":"x"}]})", "messages[0].content[0].type"},
           {R"({"role":"user","content":[{"type":"thinking","thinking":"x"}]})", "messages[0].content[0]"},
           {R"({"role":"user","content":[{"type":"tool_result"}]})", "messages[0].content[0].tool_use_id"},
           {R"({"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"t"}]})",
            "messages[0].content[1]"},
           {R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image"}]}]})",
            "messages[0].content[0].content[0]"},
           {R"({"role":"assistant","content":[{"type":"tool_use","name":"f"}]})", "messages[0].content[0].id"},
           {R"({"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":"x"}]})",
            "messages[0].content[0].input"},
           {R"({"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"hadal1-00"}]})",
            "messages[0].content[0].signature"},
       }) {
    EXPECT_EQ(request::GetErrorDetail(DecodeTurns(turns).status()).param, param) << turns;
  }
  const std::string head = R"("messages":[{"role":"user","content":"x"}],)";
  for (const auto& [fields, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("max_tokens":"5")", "max_tokens"},
           {R"("system":5)", "system"},
           {R"("system":[{"type":"image"}])", "system[0]"},
           {R"("stop_sequences":{})", "stop_sequences"},
           {R"("stop_sequences":[5])", "stop_sequences[0]"},
           {R"("metadata":5)", "metadata"},
           {R"("service_tier":"priority")", "service_tier"},
           {R"("thinking":true)", "thinking"},
           {R"("thinking":{"type":"maybe"})", "thinking.type"},
           {R"("thinking":{"type":"enabled","display":"loud"})", "thinking.display"},
           {R"("output_config":{"format":{"type":"xml"}})", "output_config.format.type"},
           {R"("output_config":{"format":{"type":"json_schema"}})", "output_config.format.schema"},
           {R"("tools":[{"description":"x"}])", "tools[0].name"},
           {R"("tools":[{"name":"f","input_schema":"x"}])", "tools[0].input_schema"},
           {R"("tool_choice":"auto")", "tool_choice"},
           {R"("tool_choice":{"type":"tool"})", "tool_choice.name"},
           {R"("tool_choice":{"type":"perhaps"})", "tool_choice.type"},
           {R"("guided_grammar":"root ::= x")", "guided_grammar"},
       }) {
    EXPECT_EQ(request::GetErrorDetail(Decode(head + fields).status()).param, param) << fields;
  }
}

TEST(MessagesCodecTest, MaxTokensIsNeededUnlessTokensAreCounted) {
  const std::string body = R"({"messages":[{"role":"user","content":"x"}]})";
  EXPECT_EQ(request::GetErrorDetail(DecodeMessages(body, kDepth).status()).param, "max_tokens");
  EXPECT_OK(DecodeMessages(body, kDepth, /*counting=*/true));
}

TEST(ThinkingSignatureTest, OwnSignaturesFitTheirTextAlone) {
  ThinkingSignature pieces, whole;
  pieces.Add("a");
  pieces.Add("b");
  whole.Add("ab");
  EXPECT_EQ(pieces.Text(), whole.Text());
  EXPECT_EQ(whole.Text(), "hadal1-089c4407b545986a") << "the same on every replica and in every release";
  EXPECT_TRUE(SignatureFits(whole.Text(), "ab"));
  EXPECT_FALSE(SignatureFits(whole.Text(), "ab "));
  EXPECT_FALSE(SignatureFits("hadal1-", "ab"));
  EXPECT_TRUE(SignatureFits("EqQBCgIYAhIM", "another server's")) << "it says nothing here";
  EXPECT_TRUE(SignatureFits("", "none"));
}

}  // namespace
}  // namespace hadal::http
