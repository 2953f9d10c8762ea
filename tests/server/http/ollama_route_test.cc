// SPDX-License-Identifier: Apache-2.0
// Ollama's API through the whole HTTP server: a scripted model answers, clients read lines of JSON.
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/http/codec/api.h"
#include "server/http/codec/route.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/tool_call_scripts.h"

namespace hadal::http {
namespace {

using hadal::testing::FullHttpFixture;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::ReplyThatFails;
using hadal::testing::ServiceFixture;
using hadal::testing::ToolCallScript;
using hadal::testing::ToolCallScripts;
using nlohmann::json;

constexpr std::string_view kOllamaChat = "/api/chat";
constexpr std::string_view kGenerate = "/api/generate";
constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}},
                {"type":"function","function":{"name":"now"}}])";

std::string Ask(std::string_view more = {}) {
  std::string body = R"({"model":"demo:latest","messages":[{"role":"user","content":"17 + 25"}])";
  if (!more.empty()) body.append(",").append(more);
  return body + "}";
}

std::vector<json> LinesOf(std::string_view body) {
  std::vector<json> lines;
  while (!body.empty()) {
    const size_t end = body.find('\n');
    if (end == std::string_view::npos) {
      ADD_FAILURE() << "a line without its end: " << body;
      break;
    }
    lines.push_back(json::parse(body.substr(0, end)));
    body.remove_prefix(end + 1);
  }
  return lines;
}

// An error in this API's shape, with the reason in the header.
void ExpectOllamaError(const HttpReply& reply, int status, std::string_view code) {
  EXPECT_EQ(reply.status, status) << reply.body;
  const json body = HttpFixture::Json(reply);
  EXPECT_EQ(body.size(), 1u) << reply.body;
  EXPECT_TRUE(body["error"].is_string()) << reply.body;
  EXPECT_EQ(reply.Header("x-hadal-reason"), std::string(code));
}

void ExpectCounts(const json& end) {
  for (const char* name : {"total_duration", "load_duration", "prompt_eval_duration", "eval_duration"}) {
    EXPECT_GE(end[name].get<int64_t>(), 0) << end;
  }
  EXPECT_GT(end["prompt_eval_count"], 0);
  EXPECT_GT(end["eval_count"], 0);
}

TEST(OllamaRouteTest, WholeAnswersHoldThinkingTextAndCalls) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture::Options options;
    options.service.chat_style = script.style;
    options.service.max_model_len = 4096;
    HttpFixture fixture(ServiceFixture::Says(script.output), options);
    const HttpReply reply = fixture.Do("POST", kOllamaChat, Ask(std::string(kTools) + R"(,"stream":false)"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json answer = HttpFixture::Json(reply);
    EXPECT_EQ(answer["model"], "demo:latest");
    EXPECT_TRUE(answer["created_at"].is_string());
    EXPECT_EQ(answer["done"], true);
    EXPECT_EQ(answer["done_reason"], "stop");
    ExpectCounts(answer);
    const json& message = answer["message"];
    EXPECT_EQ(message["role"], "assistant");
    EXPECT_EQ(message["thinking"], script.reasoning);
    EXPECT_EQ(message["content"], script.content);
    ASSERT_EQ(message["tool_calls"].size(), script.calls.size()) << message;
    for (size_t i = 0; i < script.calls.size(); ++i) {
      const json& function = message["tool_calls"][i]["function"];
      EXPECT_EQ(function["index"], i);
      EXPECT_EQ(function["name"], script.calls[i].first);
      EXPECT_EQ(function["arguments"], json::parse(script.calls[i].second));
    }
  }
}

// Joined, the lines are the whole answer; every call comes in one piece.
TEST(OllamaRouteTest, StreamsLinesOfJson) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture::Options options;
    options.service.chat_style = script.style;
    options.service.max_model_len = 4096;
    HttpFixture fixture(ServiceFixture::Says(script.output), options);
    const HttpReply reply = fixture.Do("POST", kOllamaChat, Ask(kTools));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.Header("content-type"), "application/x-ndjson");
    const std::vector<json> lines = LinesOf(reply.body);
    ASSERT_GE(lines.size(), 3u);
    std::string thinking, content;
    json calls = json::array();
    for (const json& line : lines) {
      EXPECT_EQ(line["done"], &line == &lines.back());
      EXPECT_EQ(line["message"]["role"], "assistant");
      thinking += line["message"].value("thinking", "");
      content += line["message"]["content"].get<std::string>();
      for (const json& call : line["message"].value("tool_calls", json::array())) calls.push_back(call);
    }
    ExpectCounts(lines.back());
    const json whole =
        HttpFixture::Json(fixture.Do("POST", kOllamaChat, Ask(std::string(kTools) + R"(,"stream":false)")))["message"];
    EXPECT_EQ(thinking, whole["thinking"]);
    EXPECT_EQ(content, whole["content"]);
    ASSERT_EQ(calls.size(), whole["tool_calls"].size());
    for (size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(calls[i]["function"], whole["tool_calls"][i]["function"]);
    EXPECT_TRUE(fixture.base.WaitEmpty());
  }
}

TEST(OllamaRouteTest, GenerateGivesTexts) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"));
  const json whole = HttpFixture::Json(fixture.Do("POST", kGenerate, R"({"prompt":"17 + 25","stream":false})"));
  EXPECT_EQ(whole["response"], "42");
  EXPECT_EQ(whole["thinking"], "x");
  EXPECT_EQ(whole["model"], "demo");
  EXPECT_FALSE(whole.contains("message"));
  ExpectCounts(whole);
  const std::vector<json> lines = LinesOf(fixture.Do("POST", kGenerate, R"({"prompt":"17 + 25"})").body);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines.front()["thinking"], "x");
  EXPECT_EQ(lines.back()["response"], "");
  EXPECT_EQ(lines.back()["done_reason"], "stop");
  // Without a template thinking is text.
  const json raw =
      HttpFixture::Json(fixture.Do("POST", kGenerate, R"({"prompt":"17 + 25","raw":true,"stream":false})"));
  EXPECT_EQ(raw["response"], "x</think>42");
}

TEST(OllamaRouteTest, ReasonsAndLogprobs) {
  HttpFixture fixture(ServiceFixture::Says("x</think>1 2 3 4 5 6 7 8 9"));
  const json cut = HttpFixture::Json(
      fixture.Do("POST", kOllamaChat, Ask(R"("stream":false,"options":{"num_predict":4},"logprobs":true)")));
  EXPECT_EQ(cut["done_reason"], "length");
  EXPECT_EQ(cut["eval_count"], 4);
  EXPECT_EQ(cut["logprobs"].size(), 4u);
  EXPECT_TRUE(cut["logprobs"][0]["top_logprobs"].empty());
  size_t scored = 0;
  for (const json& line :
       LinesOf(fixture.Do("POST", kOllamaChat, Ask(R"("options":{"num_predict":4},"logprobs":true)")).body)) {
    scored += line.value("logprobs", json::array()).size();
  }
  EXPECT_EQ(scored, 4u);
  EXPECT_EQ(HttpFixture::Json(fixture.Do("POST", kGenerate, R"({"model":"demo","stream":false})"))["done_reason"],
            "load");
  const json unloaded =
      HttpFixture::Json(fixture.Do("POST", kOllamaChat, R"({"messages":[],"keep_alive":0,"stream":false})"));
  EXPECT_EQ(unloaded["done_reason"], "unload");
  EXPECT_EQ(unloaded["message"], (json{{"role", "assistant"}, {"content", ""}}));
}

TEST(OllamaRouteTest, ModelsAreListedAndShown) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json tags = HttpFixture::Json(fixture.Do("GET", "/api/tags"));
  ASSERT_EQ(tags["models"].size(), 1u);
  EXPECT_EQ(tags["models"][0]["name"], "demo");
  EXPECT_EQ(tags["models"][0]["model"], "demo");
  EXPECT_TRUE(tags["models"][0]["details"]["families"].is_array());
  const json running = HttpFixture::Json(fixture.Do("GET", "/api/ps"))["models"][0];
  EXPECT_EQ(running["model"], "demo");
  EXPECT_EQ(running["context_length"], 512);
  EXPECT_TRUE(running["expires_at"].is_string());
  for (const char* body : {R"({"model":"demo"})", R"({"name":"demo:latest"})"}) {
    const HttpReply reply = fixture.Do("POST", "/api/show", body);
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json shown = HttpFixture::Json(reply);
    const json& info = shown["model_info"];
    EXPECT_EQ(info[info["general.architecture"].get<std::string>() + ".context_length"], 512);
    EXPECT_NE(shown["parameters"].get<std::string>().find("512"), std::string::npos);
    const json& can = shown["capabilities"];
    for (const char* name : {"completion", "tools", "thinking"}) {
      EXPECT_NE(std::find(can.begin(), can.end(), name), can.end()) << can;
    }
    EXPECT_NE(shown["template"].get<std::string>().find(".Tools"), std::string::npos);
  }
  EXPECT_TRUE(HttpFixture::Json(fixture.Do("GET", "/api/version"))["version"].is_string());
  ExpectOllamaError(fixture.Do("POST", "/api/show", R"({"model":"other"})"), 404, "MODEL_NOT_FOUND");
  ExpectOllamaError(fixture.Do("POST", "/api/show", "{}"), 400, "INVALID_REQUEST");
}

TEST(OllamaRouteTest, ErrorsAreInTheApisShapeAndWords) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"));
  const HttpReply hot = fixture.Do("POST", kOllamaChat, Ask(R"("options":{"temperature":3})"));
  ExpectOllamaError(hot, 400, "OUT_OF_RANGE");  // the API knows no 422
  EXPECT_NE(hot.body.find("`options.temperature` is 3"), std::string::npos) << hot.body;
  const HttpReply schema = fixture.Do("POST", kOllamaChat, Ask(R"("format":{"type":"nothing"})"));
  ExpectOllamaError(schema, 400, "INVALID_REQUEST");
  EXPECT_NE(schema.body.find("`format`"), std::string::npos) << schema.body;
  ExpectOllamaError(fixture.Do("POST", kOllamaChat, R"({"model":"other","messages":[{"role":"user","content":"x"}]})"),
                    404, "MODEL_NOT_FOUND");
  ExpectOllamaError(fixture.Do("GET", kOllamaChat), 405, "METHOD_NOT_ALLOWED");
  ExpectOllamaError(fixture.Do("POST", "/api/embed", "{}"), 501, "UNSUPPORTED");
  const HttpReply pull = fixture.Do("POST", "/api/pull", R"({"model":"x"})");
  ExpectOllamaError(pull, 501, "UNSUPPORTED");
  EXPECT_NE(pull.body.find("started with"), std::string::npos);
  ExpectOllamaError(fixture.Do("GET", "/api/nothing"), 404, "ROUTE_NOT_FOUND");
  const HttpReply image =
      fixture.Do("POST", kOllamaChat, R"({"messages":[{"role":"user","content":"x","images":["aGk="]}]})");
  ExpectOllamaError(image, 400, "INVALID_REQUEST");
}

TEST(OllamaRouteTest, ARefusalKeepsItsHint) {
  FullHttpFixture fixture;
  const HttpReply reply = fixture.Do("POST", kOllamaChat, Ask());
  ExpectOllamaError(reply, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_GE(std::stoi(reply.Header("retry-after")), 1);
}

TEST(OllamaRouteTest, AFailureInAStreamIsItsLastLine) {
  const std::vector<json> lines = LinesOf(ReplyThatFails(kOllamaChat, Ask(), "\"done\":false").body);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back(), (json{{"error", "broken"}}));
}

TEST(OllamaRouteTest, TargetsBelongToTheApi) {
  EXPECT_EQ(ApiOf("/api/chat"), Api::kOllama);
  EXPECT_EQ(ApiOf("/api/none?x"), Api::kOllama);
  EXPECT_EQ(ApiOf("/apis"), Api::kOpenAi);
}

}  // namespace
}  // namespace hadal::http
