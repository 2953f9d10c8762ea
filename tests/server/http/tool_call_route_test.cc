// SPDX-License-Identifier: Apache-2.0
// Tools through the whole HTTP server, for every generation that has them: a scripted model calls, the client is told.
#include <set>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"
#include "tests/support/tool_call_scripts.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::MetricValue;
using hadal::testing::ServiceFixture;
using hadal::testing::ToolCallScript;
using hadal::testing::ToolCallScripts;
using nlohmann::json;

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}},)"
    R"({"type":"function","function":{"name":"now"}}])";

constexpr std::string_view kGiven = "hadal_tool_calls_total{outcome=\"given\"}";
constexpr std::string_view kMalformed = "hadal_tool_calls_total{outcome=\"malformed\"}";

HttpFixture::Options WithStyle(chat::ChatStyle style) {
  HttpFixture::Options options;
  options.service.chat_style = style;
  options.service.max_model_len = 4096;
  return options;
}

std::string Ask(std::string_view more) {
  return R"({"messages":[{"role":"user","content":"Weather?"}],)" + std::string(more) + "}";
}

TEST(ToolCallRouteTest, WholeAnswersHoldReasoningContentAndCalls) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply = fixture.Do("POST", "/v1/chat/completions", Ask(kTools));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json choice = HttpFixture::Json(reply)["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
    EXPECT_EQ(choice["message"]["reasoning_content"], script.reasoning);
    EXPECT_EQ(choice["message"]["content"], script.content);
    const json& calls = choice["message"]["tool_calls"];
    ASSERT_EQ(calls.size(), script.calls.size());
    for (size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(calls[i]["index"], i);
      EXPECT_EQ(calls[i]["type"], "function");
      EXPECT_EQ(calls[i]["function"]["name"], script.calls[i].first);
      EXPECT_EQ(calls[i]["function"]["arguments"], script.calls[i].second);
    }
    EXPECT_NE(calls[0]["id"], calls[1]["id"]);
    EXPECT_TRUE(fixture.base.WaitEmpty());
    EXPECT_TRUE(fixture.WaitFor([&] { return MetricValue(fixture.base.metrics, kGiven) == 2; }));
  }
}

// Name and id come once, with the first delta of a call; the arguments of all deltas joined are those of the whole
// answer.
TEST(ToolCallRouteTest, StreamedDeltasJoinToTheWholeAnswer) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply =
        fixture.Do("POST", "/v1/chat/completions",
                   Ask(std::string(kTools) + R"(,"stream":true,"stream_options":{"include_usage":true})"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    std::string reasoning, content, finish;
    std::vector<std::pair<std::string, std::string>> calls;
    std::set<std::string> ids;
    json usage;
    for (const json& event : HttpFixture::Events(reply.body)) {
      if (event["choices"].empty()) {
        usage = event["usage"];
        continue;
      }
      const json& choice = event["choices"][0];
      const json& delta = choice["delta"];
      // One event carries one kind of text.
      EXPECT_LE(delta.contains("reasoning_content") + delta.contains("tool_calls") +
                    (delta.contains("content") && !delta["content"].get<std::string>().empty()),
                1)
          << delta;
      reasoning += delta.value("reasoning_content", "");
      content += delta.value("content", "");
      for (const json& call : delta.value("tool_calls", json::array())) {
        if (call["function"].contains("name")) {
          EXPECT_EQ(call["index"], calls.size());
          EXPECT_EQ(call["type"], "function");
          EXPECT_TRUE(ids.insert(call["id"]).second);
          calls.emplace_back(call["function"]["name"], "");
        } else {
          EXPECT_FALSE(call.contains("id"));
          EXPECT_FALSE(call.contains("type"));
        }
        ASSERT_EQ(call["index"], calls.size() - 1);
        calls.back().second += call["function"]["arguments"].get<std::string>();
      }
      if (!choice["finish_reason"].is_null()) finish = choice["finish_reason"];
    }
    EXPECT_EQ(reasoning, script.reasoning);
    EXPECT_EQ(content, script.content);
    EXPECT_EQ(calls, script.calls);
    EXPECT_EQ(finish, "tool_calls");
    EXPECT_GT(usage["completion_tokens_details"]["reasoning_tokens"].get<int>(), 0);
    EXPECT_LT(usage["completion_tokens_details"]["reasoning_tokens"], usage["completion_tokens"]);
  }
}

TEST(ToolCallRouteTest, WithoutToolsTheMarkupStaysText) {
  const ToolCallScript script = ToolCallScripts().back();
  for (const std::string& more :
       {std::string(R"("max_tokens":2000)"), std::string(kTools) + R"(,"tool_choice":"none")"}) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const json choice = HttpFixture::Json(fixture.Do("POST", "/v1/chat/completions", Ask(more)))["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_FALSE(choice["message"].contains("tool_calls"));
    EXPECT_EQ(choice["message"]["content"], script.output.substr(script.output.find("One moment.")));
  }
}

TEST(ToolCallRouteTest, MalformedCallsStayTextAndAreCounted) {
  const std::string text = "Sure.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\nnow please";
  HttpFixture fixture(ServiceFixture::Says("hm</think>" + text), WithStyle(chat::ChatStyle::kDeepSeekV4));
  const json choice = HttpFixture::Json(fixture.Do("POST", "/v1/chat/completions", Ask(kTools)))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["message"]["content"], text);
  EXPECT_TRUE(fixture.WaitFor([&] { return MetricValue(fixture.base.metrics, kMalformed) == 1; }));
  EXPECT_EQ(MetricValue(fixture.base.metrics, kGiven), 0);
}

// The prompt that a request becomes, as text.
std::string PromptOf(chat::ChatStyle style, const std::string& body, std::string_view path = "/v1/chat/completions") {
  std::vector<int32_t> prompt;
  HttpFixture fixture(
      [&](const request::Request& request) {
        prompt = request.prompt;
        return testing::Script{.tokens = testing::DemoEncode("ok"), .stop_token = 1};
      },
      WithStyle(style));
  const HttpReply reply = fixture.Do("POST", path, body);
  EXPECT_EQ(reply.status, 200) << reply.body;
  return testing::DemoTokenizer()->Decode(prompt, /*skip_special_tokens=*/false);
}

TEST(ToolCallRouteTest, AToolLoopGoesBackIntoThePrompt) {
  const std::string loop =
      R"({"thinking":{"type":"enabled"},"tools":[{"type":"function","function":{"name":"add","strict":false,"parameters":{"a":1.0}}}],)"
      R"("messages":[{"role":"user","content":"2+3?"},{"role":"assistant","content":null,"reasoning_content":"Use add.",)"
      R"("tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{\"a\": 2}"}}]},)"
      R"({"role":"tool","tool_call_id":"c1","content":"5"}]})";
  const std::string v4 = PromptOf(chat::ChatStyle::kDeepSeekV4, loop);
  EXPECT_NE(v4.find("\n{\"name\": \"add\", \"strict\": false, \"parameters\": {\"a\": 1.0}}\n"), v4.npos) << v4;
  EXPECT_NE(v4.find("<｜User｜>2+3?<｜Assistant｜><think>Use add.</think>\n\n<｜DSML｜tool_calls>\n"), v4.npos) << v4;
  EXPECT_TRUE(v4.ends_with("<｜User｜><tool_result>5</tool_result><｜Assistant｜><think>")) << v4;
  const std::string v32 = PromptOf(chat::ChatStyle::kDeepSeekV32, loop);
  EXPECT_TRUE(v32.ends_with("<function_results>\n<result>5</result>\n</function_results>\n\n<think>")) << v32;
  const std::string v31 = PromptOf(chat::ChatStyle::kDeepSeekV31, loop);
  EXPECT_TRUE(v31.ends_with("<｜tool▁output▁begin｜>5<｜tool▁output▁end｜>")) << v31;
}

TEST(ToolCallRouteTest, ThinkingEffortAndPrefixReachThePrompt) {
  using chat::ChatStyle;
  const auto v4 = [](std::string_view more) { return PromptOf(ChatStyle::kDeepSeekV4, Ask(more)); };
  EXPECT_TRUE(v4(R"("thinking":{"type":"disabled"})").ends_with("<｜Assistant｜></think>"));
  EXPECT_TRUE(v4(R"("chat_template_kwargs":{"thinking":false})").ends_with("<｜Assistant｜></think>"));
  EXPECT_TRUE(v4(R"("reasoning_effort":"none")").ends_with("<｜Assistant｜></think>"));
  EXPECT_TRUE(v4(R"("model":"deepseek-chat")").ends_with("<｜Assistant｜></think>"));
  EXPECT_TRUE(v4(R"("reasoning_effort":"high")").ends_with("sentence｜><｜User｜>Weather?<｜Assistant｜><think>"));
  EXPECT_NE(v4(R"("reasoning_effort":"max")").find("sentence｜>Reasoning Effort: Absolute maximum"), std::string::npos);
  const std::string prefix =
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"A","reasoning_content":"r","prefix":true}]})";
  EXPECT_TRUE(PromptOf(ChatStyle::kDeepSeekV4, prefix, "/beta/chat/completions").ends_with("<think>r</think>A"));
  EXPECT_TRUE(PromptOf(ChatStyle::kDeepSeekV31, prefix, "/beta/v1/chat/completions").ends_with("<think>r</think>A"));
}

TEST(ToolCallRouteTest, RefusesWhatAGenerationCannotDo) {
  HttpFixture fixture(ServiceFixture::Says("x"), WithStyle(chat::ChatStyle::kDeepSeekV2));
  const HttpReply tools = fixture.Do("POST", "/v1/chat/completions", Ask(kTools));
  EXPECT_EQ(tools.status, 400);
  EXPECT_EQ(HttpFixture::Json(tools)["error"]["param"], "tools");
  const HttpReply reminder =
      fixture.Do("POST", "/v1/chat/completions",
                 R"({"messages":[{"role":"latest_reminder","content":"r"},{"role":"user","content":"q"}]})");
  EXPECT_EQ(reminder.status, 400);
  EXPECT_NE(reminder.body.find("latest_reminder"), std::string::npos) << reminder.body;
}

}  // namespace
}  // namespace hadal::http
