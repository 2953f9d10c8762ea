// SPDX-License-Identifier: Apache-2.0
// OpenAI's Responses API through the whole HTTP server: a scripted model answers.
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/http/codec/api.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/tool_call_scripts.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::ReplyThatFails;
using hadal::testing::ServiceFixture;
using hadal::testing::ToolCallScript;
using hadal::testing::ToolCallScripts;
using nlohmann::json;

constexpr std::string_view kResponses = "/v1/responses";
constexpr std::string_view kTools =
    R"("tools":[{"type":"function","name":"get_weather","parameters":{"type":"object"}},{"type":"function","name":"now"}])";

std::string Ask(std::string_view more = {}) {
  std::string body = R"({"input":"17 + 25")";
  if (!more.empty()) body.append(",").append(more);
  return body + "}";
}

HttpFixture::Options WithStyle(chat::ChatStyle style) {
  HttpFixture::Options options;
  options.service.chat_style = style;
  options.service.max_model_len = 4096;
  return options;
}

// The events' data; their names are their types, and they are numbered.
std::vector<json> EventsOf(std::string_view body) {
  std::vector<json> events;
  while (!body.empty()) {
    const std::string_view event = body.substr(0, body.find("\n\n"));
    body.remove_prefix(std::min(body.size(), event.size() + 2));
    constexpr std::string_view kName = "event: ", kData = "\ndata: ";
    const size_t data = event.find(kData);
    if (!event.starts_with(kName) || data == std::string_view::npos) {
      ADD_FAILURE() << event;
      continue;
    }
    events.push_back(json::parse(event.substr(data + kData.size())));
    EXPECT_EQ(events.back()["type"], std::string(event.substr(kName.size(), data - kName.size())));
    EXPECT_EQ(events.back()["sequence_number"], events.size() - 1);
  }
  return events;
}

TEST(ResponsesRouteTest, WholeResponsesHoldReasoningMessageAndCalls) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply = fixture.Do("POST", kResponses, Ask(std::string(kTools) + R"(,"metadata":{"k":"v"})"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json response = HttpFixture::Json(reply);
    EXPECT_EQ(response["object"], "response");
    EXPECT_EQ(response["status"], "completed");
    EXPECT_EQ(response["id"].get<std::string>().substr(0, 5), "resp_");
    EXPECT_EQ(response["metadata"], (json{{"k", "v"}}));
    EXPECT_EQ(response["store"], false);
    EXPECT_TRUE(response["error"].is_null());
    EXPECT_EQ(response["tools"].size(), 2u);
    const json& output = response["output"];
    ASSERT_EQ(output.size(), 4u) << response;
    EXPECT_EQ(output[0]["type"], "reasoning");
    EXPECT_EQ(output[0]["content"][0]["text"], script.reasoning);
    EXPECT_FALSE(output[0].contains("encrypted_content"));
    EXPECT_EQ(output[1]["type"], "message");
    EXPECT_EQ(output[1]["content"][0]["text"], script.content);
    for (size_t i = 0; i < script.calls.size(); ++i) {
      EXPECT_EQ(output[2 + i]["type"], "function_call");
      EXPECT_EQ(output[2 + i]["name"], script.calls[i].first);
      EXPECT_EQ(output[2 + i]["arguments"], script.calls[i].second);
      EXPECT_EQ(output[2 + i]["status"], "completed");
    }
    EXPECT_NE(output[2]["call_id"], output[3]["call_id"]);
    const json& usage = response["usage"];
    EXPECT_EQ(usage["total_tokens"], usage["input_tokens"].get<int>() + usage["output_tokens"].get<int>());
    EXPECT_GT(usage["output_tokens_details"]["reasoning_tokens"], 0);
    EXPECT_TRUE(fixture.base.WaitEmpty());
  }
}

// The events in the documented order; joined they are the whole response.
TEST(ResponsesRouteTest, StreamsNumberedEventsInOrder) {
  for (const ToolCallScript& script : ToolCallScripts()) {
    HttpFixture fixture(ServiceFixture::Says(script.output), WithStyle(script.style));
    const HttpReply reply = fixture.Do("POST", kResponses, Ask(std::string(kTools) + R"(,"stream":true)"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.body.find("[DONE]"), std::string::npos);
    const std::vector<json> events = EventsOf(reply.body);
    ASSERT_GT(events.size(), 4u);
    EXPECT_EQ(events[0]["type"], "response.created");
    EXPECT_EQ(events[1]["type"], "response.in_progress");
    EXPECT_EQ(events[1]["response"]["status"], "in_progress");
    std::vector<json> done;
    std::string text, state = "closed";
    for (size_t i = 2; i + 1 < events.size(); ++i) {
      const json& event = events[i];
      const std::string type = event["type"];
      EXPECT_EQ(event["output_index"], done.size()) << type;
      if (type == "response.output_item.added") {
        EXPECT_EQ(state, "closed");
        EXPECT_EQ(event["item"]["status"], "in_progress");
        state = event["item"]["type"] == "function_call" ? "text" : "item";
        text.clear();
      } else if (type == "response.content_part.added") {
        EXPECT_EQ(state, "item");
        state = "text";
      } else if (type.ends_with(".delta")) {
        EXPECT_EQ(state, "text") << type;
        text += event["delta"].get<std::string>();
      } else if (type == "response.content_part.done") {
        EXPECT_EQ(state, "done");
        EXPECT_EQ(event["part"]["text"], text);
      } else if (type == "response.output_item.done") {
        EXPECT_EQ(state, "done");
        done.push_back(event["item"]);
        state = "closed";
      } else {
        EXPECT_TRUE(type.ends_with(".done")) << type;
        EXPECT_EQ(event.contains("text") ? event["text"] : event["arguments"], text);
        state = "done";
      }
    }
    EXPECT_EQ(state, "closed");
    const json& end = events.back();
    EXPECT_EQ(end["type"], "response.completed");
    EXPECT_EQ(end["response"]["output"], json(done));
    const json whole = HttpFixture::Json(fixture.Do("POST", kResponses, Ask(kTools)));
    ASSERT_EQ(whole["output"].size(), done.size());
    for (size_t i = 0; i < done.size(); ++i) {
      EXPECT_EQ(whole["output"][i].value("content", json()), done[i].value("content", json()));
      EXPECT_EQ(whole["output"][i].value("arguments", ""), done[i].value("arguments", ""));
    }
    EXPECT_EQ(whole["usage"], end["response"]["usage"]);
  }
}

TEST(ResponsesRouteTest, AnAnswerThatIsCutIsIncomplete) {
  HttpFixture fixture(ServiceFixture::Says("x</think>1 2 3 4 5 6 7 8 9"));
  const json whole = HttpFixture::Json(fixture.Do("POST", kResponses, Ask(R"("max_output_tokens":6)")));
  EXPECT_EQ(whole["status"], "incomplete");
  EXPECT_EQ(whole["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(whole["output"][0]["status"], "completed");
  EXPECT_EQ(whole["output"][1]["status"], "incomplete");
  const auto events = EventsOf(fixture.Do("POST", kResponses, Ask(R"("max_output_tokens":6,"stream":true)")).body);
  EXPECT_EQ(events.back()["type"], "response.incomplete");
}

TEST(ResponsesRouteTest, ReasoningAndLogprobsWhereTheyAreIncluded) {
  HttpFixture fixture(ServiceFixture::Says("why – 因</think>42"));
  const std::string include = R"("include":["reasoning.encrypted_content","message.output_text.logprobs"])";
  const json whole = HttpFixture::Json(fixture.Do("POST", kResponses, Ask(include)));
  const json& reasoning = whole["output"][0];
  EXPECT_EQ(reasoning["content"][0]["text"], "why – 因");
  EXPECT_FALSE(whole["output"][1]["content"][0]["logprobs"].empty());
  // Clients that keep nothing but the carried form give it back; the prompt is the same.
  const auto tokens = [&](json item) {
    json body = json::parse(Ask());
    body["input"] = json::array({{{"role", "user"}, {"content", "17 + 25"}},
                                 item,
                                 whole["output"][1],
                                 {{"role", "user"}, {"content", "and 1"}}});
    return HttpFixture::Json(fixture.Do("POST", kResponses, body.dump()))["usage"]["input_tokens"];
  };
  json carried = reasoning;
  carried.erase("content");
  EXPECT_EQ(tokens(carried), tokens(reasoning));
}

TEST(ResponsesRouteTest, CountsTheTokensOfTheSameBody) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"), WithStyle(chat::ChatStyle::kDeepSeekV4));
  const std::string body = Ask(std::string(kTools) + R"(,"instructions":"Be brief.")");
  const json whole = HttpFixture::Json(fixture.Do("POST", kResponses, body));
  const json count = HttpFixture::Json(fixture.Do("POST", "/v1/responses/input_tokens", body));
  EXPECT_EQ(count, (json{{"object", "response.input_tokens"}, {"input_tokens", whole["usage"]["input_tokens"]}}));
  ExpectError(fixture.Do("POST", "/v1/responses/input_tokens", "{}"), 400, "INVALID_REQUEST");
}

TEST(ResponsesRouteTest, ErrorsAreOpenAisInTheApisWords) {
  HttpFixture fixture(ServiceFixture::Says("x</think>42"));
  const auto param = [](const HttpReply& reply) { return HttpFixture::Json(reply)["error"]["param"]; };
  const HttpReply stored = fixture.Do("POST", kResponses, Ask(R"("previous_response_id":"resp_1")"));
  ExpectError(stored, 400, "INVALID_REQUEST");
  EXPECT_EQ(param(stored), "previous_response_id");
  const HttpReply empty = fixture.Do("POST", kResponses, R"({"input":[]})");
  ExpectError(empty, 400, "INVALID_REQUEST");
  EXPECT_EQ(param(empty), "input");
  EXPECT_NE(empty.body.find("`input` is empty"), std::string::npos) << empty.body;
  const HttpReply effort = fixture.Do("POST", kResponses, Ask(R"("reasoning":{"effort":"some"})"));
  ExpectError(effort, 422, "OUT_OF_RANGE");
  EXPECT_EQ(param(effort), "reasoning.effort");
  const HttpReply orphan =
      fixture.Do("POST", kResponses, R"({"input":[{"type":"function_call_output","call_id":"c9","output":""}]})");
  EXPECT_EQ(param(orphan), "input[0].call_id") << orphan.body;
  const HttpReply name = fixture.Do("POST", kResponses, Ask(R"("tools":[{"type":"function","name":"a b"}])"));
  EXPECT_EQ(param(name), "tools[0].name");
  ExpectError(fixture.Do("GET", kResponses), 405, "METHOD_NOT_ALLOWED");
}

TEST(ResponsesRouteTest, AFailureInAStreamIsItsLastEvent) {
  const HttpReply reply = ReplyThatFails(kResponses, Ask(R"("stream":true)"), "event: response.created");
  const auto events = EventsOf(reply.body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back()["type"], "response.failed");
  EXPECT_EQ(events.back()["response"]["status"], "failed");
  EXPECT_EQ(events.back()["response"]["error"]["code"], "server_error");
  EXPECT_EQ(events.back()["response"]["error"]["message"], "broken");
}

}  // namespace
}  // namespace hadal::http
