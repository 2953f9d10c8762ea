// SPDX-License-Identifier: Apache-2.0
// Anthropic's API through the whole HTTP server: a scripted model answers, the client is told in that API's words.
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/http/codec/api.h"
#include "server/http/codec/route.h"
#include "server/request/refusal.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/tool_call_scripts.h"

namespace hadal::http {
namespace {

using hadal::testing::FullHttpFixture;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::ReplyThatFails;
using hadal::testing::ServiceFixture;
using hadal::testing::ToolCallScript;
using hadal::testing::ToolCallScripts;
using nlohmann::json;

constexpr std::string_view kMessages = "/v1/messages";
constexpr std::string_view kTools =
    R"("tools":[{"name":"get_weather","input_schema":{"type":"object"}},{"name":"now"}])";

std::string Ask(std::string_view more = {}) {
  std::string body = R"({"max_tokens":300,"messages":[{"role":"user","content":"17 + 25"}])";
  if (!more.empty()) body.append(",").append(more);
  return body + "}";
}

HttpFixture::Options WithStyle(chat::ChatStyle style) {
  HttpFixture::Options options;
  options.service.chat_style = style;
  options.service.max_model_len = 4096;
  return options;
}

// (name, data) of each event.
std::vector<std::pair<std::string, json>> EventsOf(std::string_view body) {
  std::vector<std::pair<std::string, json>> events;
  while (!body.empty()) {
    const std::string_view event = body.substr(0, body.find("\n\n"));
    body.remove_prefix(std::min(body.size(), event.size() + 2));
    constexpr std::string_view kName = "event: ", kData = "\ndata: ";
    const size_t data = event.find(kData);
    if (event.substr(0, kName.size()) != kName || data == std::string_view::npos) {
      ADD_FAILURE() << event;
      continue;
    }
    events.emplace_back(event.substr(kName.size(), data - kName.size()),
                        json::parse(event.substr(data + kData.size())));
    EXPECT_EQ(events.back().first, events.back().second["type"]);
  }
  return events;
}

// An error in this API's shape.
void ExpectAnthropicError(const HttpReply& reply, int status, std::string_view type, std::string_view code) {
  EXPECT_EQ(reply.status, status) << reply.body;
  const json body = HttpFixture::Json(reply);
  ASSERT_EQ(body.value("type", ""), "error") << reply.body;
  EXPECT_EQ(body["error"]["type"], std::string(type));
  EXPECT_EQ(body["error"]["details"]["error_code"], std::string(code));
  EXPECT_EQ(reply.Header("x-hadal-reason"), std::string(code));
  EXPECT_FALSE(reply.Header("request-id").empty());
}

TEST(MessagesRouteTest, WholeMessagesHoldThinkingTextAndToolUse) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply = fixture.Do("POST", kMessages, Ask(kTools));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json message = HttpFixture::Json(reply);
    EXPECT_EQ(message["type"], "message");
    EXPECT_EQ(message["role"], "assistant");
    EXPECT_EQ(message["model"], "demo");
    EXPECT_EQ(message["id"].get<std::string>().substr(0, 4), "msg_");
    EXPECT_EQ(message["stop_reason"], "tool_use");
    EXPECT_TRUE(message["stop_sequence"].is_null());
    const json& content = message["content"];
    ASSERT_EQ(content.size(), 4u) << message;
    EXPECT_EQ(content[0]["type"], "thinking");
    EXPECT_EQ(content[0]["thinking"], script.reasoning);
    EXPECT_EQ(content[0]["signature"].get<std::string>().substr(0, 7), "hadal1-");
    EXPECT_EQ(content[1], (json{{"type", "text"}, {"text", script.content}}));
    for (size_t i = 0; i < script.calls.size(); ++i) {
      EXPECT_EQ(content[2 + i]["type"], "tool_use");
      EXPECT_EQ(content[2 + i]["name"], script.calls[i].first);
      EXPECT_EQ(content[2 + i]["input"], json::parse(script.calls[i].second));
    }
    EXPECT_NE(content[2]["id"], content[3]["id"]);
    const json& usage = message["usage"];
    EXPECT_GT(usage["input_tokens"], 0);
    EXPECT_EQ(usage["cache_read_input_tokens"], 0);
    EXPECT_GT(usage["output_tokens"], usage["output_tokens_details"]["thinking_tokens"]);
    EXPECT_TRUE(fixture.base.WaitEmpty());
  }
}

// The events in the documented order, and joined they are the whole message.
TEST(MessagesRouteTest, StreamsNamedEventsInOrder) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply = fixture.Do("POST", kMessages, Ask(std::string(kTools) + R"(,"stream":true)"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.Header("content-type").substr(0, 17), "text/event-stream");
    const auto events = EventsOf(reply.body);
    ASSERT_GT(events.size(), 4u);
    EXPECT_EQ(events[0].first, "message_start");
    EXPECT_TRUE(events[0].second["message"]["content"].empty());
    EXPECT_TRUE(events[0].second["message"]["stop_reason"].is_null());
    EXPECT_GT(events[0].second["message"]["usage"]["input_tokens"], 0);
    std::vector<json> blocks;
    bool open = false;
    for (size_t i = 1; i + 2 < events.size(); ++i) {
      const auto& [name, data] = events[i];
      if (name == "content_block_start") {
        EXPECT_FALSE(open);
        EXPECT_EQ(data["index"], blocks.size());
        blocks.push_back(data["content_block"]);
        open = true;
        continue;
      }
      ASSERT_TRUE(open) << name;
      EXPECT_EQ(data["index"], blocks.size() - 1);
      json& block = blocks.back();
      if (name == "content_block_stop") {
        open = false;
        continue;
      }
      ASSERT_EQ(name, "content_block_delta");
      const json& delta = data["delta"];
      if (delta["type"] == "thinking_delta")
        block["thinking"] = block["thinking"].get<std::string>() + delta["thinking"].get<std::string>();
      if (delta["type"] == "signature_delta") block["signature"] = delta["signature"];
      if (delta["type"] == "text_delta")
        block["text"] = block["text"].get<std::string>() + delta["text"].get<std::string>();
      if (delta["type"] == "input_json_delta")
        block["json"] = block.value("json", "") + delta["partial_json"].get<std::string>();
    }
    EXPECT_FALSE(open);
    const json& end = events[events.size() - 2].second;
    EXPECT_EQ(end["type"], "message_delta");
    EXPECT_EQ(end["delta"]["stop_reason"], "tool_use");
    EXPECT_GT(end["usage"]["output_tokens"], 0);
    EXPECT_EQ(events.back().first, "message_stop");

    const json whole = HttpFixture::Json(fixture.Do("POST", kMessages, Ask(kTools)));
    ASSERT_EQ(blocks.size(), whole["content"].size());
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i]["type"] == "tool_use") {
        EXPECT_EQ(json::parse(blocks[i]["json"].get<std::string>()), whole["content"][i]["input"]);
      } else {
        EXPECT_EQ(blocks[i], whole["content"][i]);
      }
    }
    EXPECT_EQ(end["usage"], whole["usage"]);
  }
}

TEST(MessagesRouteTest, StopReasonsAreTheApis) {
  const auto reason = [](std::string text, std::string_view fields) {
    HttpFixture fixture(ServiceFixture::Says(std::move(text)));
    return HttpFixture::Json(fixture.Do("POST", kMessages, Ask(fields)));
  };
  EXPECT_EQ(reason("x</think>42", "")["stop_reason"], "end_turn");
  const json stopped = reason("x</think>1 END 2 HALT", R"("stop_sequences":["HALT","END"])");
  EXPECT_EQ(stopped["stop_reason"], "stop_sequence");
  EXPECT_EQ(stopped["stop_sequence"], "END");
  EXPECT_EQ(stopped["content"][1]["text"], "1 ");
  const json cut = reason("x</think>1 2 3 4 5 6 7 8 9", R"("max_tokens":4)");
  EXPECT_EQ(cut["stop_reason"], "max_tokens");
  EXPECT_EQ(cut["usage"]["output_tokens"], 4);
}

TEST(MessagesRouteTest, OmittedThinkingKeepsItsBlock) {
  HttpFixture fixture(ServiceFixture::Says("secret</think>42"));
  const std::string ask = Ask(R"("thinking":{"type":"enabled","display":"omitted"})");
  const HttpReply whole = fixture.Do("POST", kMessages, ask);
  EXPECT_EQ(whole.body.find("secret"), std::string::npos);
  const json content = HttpFixture::Json(whole)["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["thinking"], "");
  // It comes back as it was sent.
  json again = json::parse(Ask());
  again["messages"].push_back({{"role", "assistant"}, {"content", content}});
  again["messages"].push_back({{"role", "user"}, {"content", "and 1"}});
  EXPECT_EQ(fixture.Do("POST", kMessages, again.dump()).status, 200);
  const HttpReply stream =
      fixture.Do("POST", kMessages, Ask(R"("stream":true,"thinking":{"type":"enabled","display":"omitted"})"));
  EXPECT_EQ(stream.body.find("secret"), std::string::npos);
  EXPECT_NE(stream.body.find("signature_delta"), std::string::npos);
}

// Calls whose arguments are not JSON, because the model ran out of tokens, are given all the same.
TEST(MessagesRouteTest, InputIsAnObjectWhateverTheModelWrote) {
  HttpFixture fixture(
      ServiceFixture::Says("x</think>y<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{\"a\": [1, "),
      WithStyle(chat::ChatStyle::kDeepSeekV31));
  const json message = HttpFixture::Json(fixture.Do("POST", kMessages, Ask(kTools)));
  const json& use = message["content"].back();
  ASSERT_EQ(use["type"], "tool_use") << message;
  EXPECT_EQ(use["input"], (json{{"INVALID_JSON", "{\"a\": [1, "}}));
}

TEST(MessagesRouteTest, CountsTheTokensOfTheSameBody) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"), WithStyle(chat::ChatStyle::kDeepSeekV4));
  const std::string fields = std::string(kTools) + R"(,"system":"Be brief.","output_config":{"effort":"low"})";
  const json message = HttpFixture::Json(fixture.Do("POST", kMessages, Ask(fields)));
  const HttpReply count = fixture.Do("POST", "/v1/messages/count_tokens", Ask(fields));
  EXPECT_EQ(HttpFixture::Json(count), (json{{"input_tokens", message["usage"]["input_tokens"]}}));
  ExpectAnthropicError(fixture.Do("POST", "/v1/messages/count_tokens", "{}"), 400, "invalid_request_error",
                       "INVALID_REQUEST");
}

TEST(MessagesRouteTest, ErrorsAreInTheApisShapeAndWords) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"));
  const auto param = [](const HttpReply& reply) {
    return HttpFixture::Json(reply)["error"]["details"].value("param", "");
  };
  const HttpReply hot = fixture.Do("POST", kMessages, Ask(R"("temperature":3)"));
  ExpectAnthropicError(hot, 400, "invalid_request_error", "OUT_OF_RANGE");  // the API knows no 422
  EXPECT_NE(hot.body.find("`temperature` is 3; it must be from 0 to 2"), std::string::npos);
  const HttpReply stop = fixture.Do("POST", kMessages, Ask(R"("stop_sequences":[""])"));
  ExpectAnthropicError(stop, 400, "invalid_request_error", "INVALID_REQUEST");
  EXPECT_EQ(param(stop), "stop_sequences");
  EXPECT_NE(stop.body.find("`stop_sequences` holds an empty string"), std::string::npos) << stop.body;
  const HttpReply name = fixture.Do("POST", kMessages, Ask(R"("tools":[{"name":"a b"}])"));
  EXPECT_EQ(param(name), "tools[0].name") << name.body;
  const HttpReply orphan = fixture.Do(
      "POST", kMessages,
      R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t9"}]}]})");
  EXPECT_EQ(param(orphan), "messages[0].content[0].tool_use_id") << orphan.body;
  ExpectAnthropicError(fixture.Do("POST", kMessages, Ask(R"("model":"nobody")")), 404, "not_found_error",
                       "MODEL_NOT_FOUND");
  ExpectAnthropicError(fixture.Do("GET", kMessages), 405, "invalid_request_error", "METHOD_NOT_ALLOWED");
  ExpectAnthropicError(fixture.Do("GET", "/v1/messages/batches"), 404, "not_found_error", "ROUTE_NOT_FOUND");
  ExpectAnthropicError(fixture.Do("POST", kMessages, "{"), 400, "invalid_request_error", "INVALID_REQUEST");
  EXPECT_EQ(HttpFixture::Json(fixture.Do("POST", kChat, "{}"))["error"]["code"], "INVALID_REQUEST");
}

TEST(MessagesRouteTest, KeysComeInEitherHeader) {
  HttpFixture::Options options;
  options.keys = "secret acme\n";
  HttpFixture fixture(ServiceFixture::Says("x</think>42"), options);
  EXPECT_EQ(fixture.Do("POST", kMessages, Ask(), "x-api-key: secret\r\nanthropic-version: 2023-06-01\r\n").status, 200);
  EXPECT_EQ(fixture.Do("POST", "/anthropic/v1/messages?beta=true", Ask(), "Authorization: Bearer secret\r\n").status,
            200);
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-api-key: secret\r\n").status, 200);
  ExpectAnthropicError(fixture.Do("POST", kMessages, Ask()), 401, "authentication_error", "UNAUTHENTICATED");
  ExpectAnthropicError(fixture.Do("POST", kMessages, Ask(), "x-api-key: secret\r\nAuthorization: Bearer other\r\n"),
                       401, "authentication_error", "UNAUTHENTICATED");
}

TEST(MessagesRouteTest, ARefusalIsAnOverloadedErrorWithItsHint) {
  FullHttpFixture fixture;
  const HttpReply reply = fixture.Do("POST", kMessages, Ask());
  ExpectAnthropicError(reply, 503, "overloaded_error", "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(reply.Header("x-should-retry"), "true");
  EXPECT_GE(std::stoi(reply.Header("retry-after-ms")), 1000);
  EXPECT_NE(reply.body.find("服务器繁忙"), std::string::npos);
}

TEST(MessagesRouteTest, AFailureInAStreamIsItsLastEvent) {
  const HttpReply reply = ReplyThatFails(kMessages, Ask(R"("stream":true)"), "event: message_start");
  ASSERT_EQ(reply.status, 200);
  const auto events = EventsOf(reply.body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().first, "error");
  EXPECT_EQ(events.back().second["error"]["type"], "api_error");
}

TEST(ApiTest, TargetsBelongToTheirApi) {
  for (const char* target : {"/v1/messages", "/messages?beta=true", "/anthropic/v1/messages", "/v1/messages/batches",
                             "/anthropic/v1/models", "/beta/v1/messages/count_tokens"}) {
    EXPECT_EQ(ApiOf(target), Api::kAnthropic) << target;
  }
  for (const char* target : {"", "/", "/v1/chat/completions", "/v1/messages2", "/anthropic", "/page/messages"}) {
    EXPECT_EQ(ApiOf(target), Api::kOpenAi) << target;
  }
}

TEST(ApiTest, FieldsHaveTheApisNames) {
  const auto own = [](std::string_view param, std::string_view message) {
    const absl::Status status =
        InWordsOf(Api::kAnthropic, request::MakeError(request::Reason::kOutOfRange, message, param));
    return std::make_pair(request::GetErrorDetail(status).param, std::string(status.message()));
  };
  EXPECT_EQ(own("stop", "`stop` holds 17"),
            std::make_pair(std::string("stop_sequences"), std::string("`stop_sequences` holds 17")));
  EXPECT_EQ(own("tools[3].function.parameters", "`tools[3].function.parameters` at #/x").second,
            "`tools[3].input_schema` at #/x");
  EXPECT_EQ(own("response_format.json_schema.schema", "").first, "output_config.format.schema");
  EXPECT_EQ(own("stop_token_ids", "").first, "stop_token_ids");
  // What can be retried keeps its hint.
  const absl::Status busy = request::MakeBusy(request::Reason::kGrammarQueueFull, "x", absl::Seconds(2));
  EXPECT_TRUE(request::GetErrorDetail(InWordsOf(Api::kAnthropic, busy)).retry_after.has_value());
}

}  // namespace
}  // namespace hadal::http
