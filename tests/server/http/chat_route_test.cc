// SPDX-License-Identifier: Apache-2.0
// Chat through the whole HTTP server: shapes of answers and streams, and every ending.
#include <random>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::Holds;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::ReplyThatFails;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using nlohmann::json;

constexpr std::string_view kAsk = R"({"model":"demo","messages":[{"role":"user","content":"17 + 25"}]})";

std::string Ask(std::string_view more) {
  return std::string(R"({"model":"demo","messages":[{"role":"user","content":"17 + 25"}],)").append(more).append("}");
}

testing::ScriptedEngine::MakeScript Endless(std::chrono::microseconds delay) {
  return [delay](const request::Request&) {
    Script script;
    script.tokens = DemoEncode("ab ");
    script.endless = true;
    script.token_delay = delay;
    return script;
  };
}

TEST(ChatRouteTest, WholeAnswerHasOpenAiShape) {
  HttpFixture fixture(ServiceFixture::Says("5 + 7</think>42"));
  const HttpReply reply = fixture.Do("POST", "/v1/chat/completions", kAsk, "x-request-id: abc-1\r\n");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.Header("content-type"), "application/json");
  EXPECT_EQ(reply.Header("x-request-id"), "abc-1");
  const json body = HttpFixture::Json(reply);
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "demo");
  EXPECT_EQ(body["system_fingerprint"], "fp_test");
  EXPECT_GT(body["created"].get<int64_t>(), 1700000000);
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 14), "chatcmpl-abc-1");
  ASSERT_EQ(body["choices"].size(), 1u);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "42");
  EXPECT_EQ(choice["message"]["reasoning_content"], "5 + 7");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  const json& usage = body["usage"];
  EXPECT_EQ(usage["total_tokens"], usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>());
  EXPECT_EQ(usage["prompt_cache_hit_tokens"].get<int>() + usage["prompt_cache_miss_tokens"].get<int>(),
            usage["prompt_tokens"]);
  EXPECT_GT(usage["completion_tokens_details"]["reasoning_tokens"].get<int>(), 0);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(ChatRouteTest, StreamHasRoleDeltasFinishUsageAndDone) {
  HttpFixture fixture(ServiceFixture::Says("5 + 7</think>42"));
  const HttpReply reply =
      fixture.Do("POST", "/v1/chat/completions", Ask(R"("stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n"));
  const std::vector<json> events = HttpFixture::Events(reply.body);
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  std::string text, reasoning, finish;
  for (const json& event : events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["id"], events[0]["id"]);
    EXPECT_TRUE(event.contains("usage"));
    if (event["choices"].empty()) continue;
    EXPECT_TRUE(event["usage"].is_null());
    const json& delta = event["choices"][0]["delta"];
    if (delta.contains("content")) text += delta["content"].get<std::string>();
    if (delta.contains("reasoning_content")) {
      EXPECT_TRUE(text.empty());
      reasoning += delta["reasoning_content"].get<std::string>();
    }
    if (!event["choices"][0]["finish_reason"].is_null()) finish = event["choices"][0]["finish_reason"];
  }
  EXPECT_EQ(text, "42");
  EXPECT_EQ(reasoning, "5 + 7");
  EXPECT_EQ(finish, "stop");
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_GT(events.back()["usage"]["completion_tokens"].get<int>(), 0);
}

TEST(ChatRouteTest, WithoutTheOptionChunksHaveNoUsage) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  for (const json& event :
       HttpFixture::Events(fixture.Do("POST", "/v1/chat/completions", Ask(R"("stream":true)")).body)) {
    EXPECT_FALSE(event.contains("usage"));
    EXPECT_FALSE(event["choices"].empty());
  }
}

TEST(ChatRouteTest, ChoicesLogprobsAndTokenIds) {
  HttpFixture fixture(ServiceFixture::Says("ab</think>é"));
  const std::string fields = R"("n":2,"logprobs":true,"top_logprobs":2,"return_token_ids":true)";
  const json body = HttpFixture::Json(fixture.Do("POST", "/v1/chat/completions", Ask(fields)));
  ASSERT_EQ(body["choices"].size(), 2u);
  std::vector<int32_t> ids = DemoEncode("ab</think>é");
  ids.push_back(1);  // the stop token
  for (int i = 0; i < 2; ++i) {
    const json& choice = body["choices"][i];
    EXPECT_EQ(choice["index"], i);
    EXPECT_EQ(choice["token_ids"].get<std::vector<int32_t>>(), ids);
    const json& content = choice["logprobs"]["content"];
    ASSERT_EQ(content.size(), DemoEncode("é").size());
    EXPECT_EQ(content[0]["logprob"], -0.5);
    EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
    EXPECT_FALSE(content[0]["bytes"].empty());
    EXPECT_EQ(choice["logprobs"]["reasoning_content"].size(), DemoEncode("ab</think>").size());
  }
  EXPECT_EQ(body["prompt_token_ids"].size(), body["usage"]["prompt_tokens"].get<size_t>());

  const std::vector<json> events =
      HttpFixture::Events(fixture.Do("POST", "/v1/chat/completions", Ask(fields + R"(,"stream":true)")).body);
  std::vector<std::vector<int32_t>> streamed(2);
  std::vector<size_t> scored(2);
  for (const json& event : events) {
    const json& choice = event["choices"][0];
    const size_t index = choice["index"].get<size_t>();
    if (choice.contains("token_ids")) {
      for (const json& id : choice["token_ids"]) streamed[index].push_back(id.get<int32_t>());
    }
    if (!choice["logprobs"].is_null()) {
      scored[index] += choice["logprobs"]["content"].size();
      if (choice["logprobs"].contains("reasoning_content"))
        scored[index] += choice["logprobs"]["reasoning_content"].size();
    }
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(streamed[i], ids);
    EXPECT_EQ(scored[i], ids.size() - 1);
  }
}

TEST(ChatRouteTest, ToolCallsHaveIdsAndTheirFinishReason) {
  HttpFixture fixture(ServiceFixture::Says(
      "</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"));
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{}}}}])";
  const HttpReply reply = fixture.Do("POST", "/v1/chat/completions", Ask(tools));
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json choice = HttpFixture::Json(reply)["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls") << choice;
  EXPECT_TRUE(choice["message"]["content"].is_null());
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u);
  const json& call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "add");
  EXPECT_EQ(call["function"]["arguments"], "{\"a\": 1}");
  EXPECT_EQ(call["id"].get<std::string>().substr(0, 5), "call_");

  std::string name, arguments;
  for (const json& event :
       HttpFixture::Events(fixture.Do("POST", "/v1/chat/completions", Ask(tools + R"(,"stream":true)")).body)) {
    const json& delta = event["choices"][0]["delta"];
    if (!delta.contains("tool_calls")) continue;
    const json& function = delta["tool_calls"][0]["function"];
    if (function.contains("name")) name += function["name"].get<std::string>();
    arguments += function["arguments"].get<std::string>();
  }
  EXPECT_EQ(name, "add");
  EXPECT_EQ(arguments, "{\"a\": 1}");
}

TEST(ChatRouteTest, SimpleChatTakesAPrompt) {
  HttpFixture fixture(ServiceFixture::Says("</think>42"));
  for (const char* path : {"/v1/chat", "/chat"}) {
    const HttpReply reply = fixture.Do("POST", path, R"({"prompt":"17 + 25"})");
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(HttpFixture::Json(reply)["choices"][0]["message"]["content"], "42");
  }
  EXPECT_EQ(fixture.Do("POST", "/v1/chat/completions", R"({"prompt":"x"})").status, 400);
}

TEST(ChatRouteTest, MergesTokensWhenTheyPileUp) {
  HttpFixture fixture(ServiceFixture::Says("</think>" + std::string(400, 'x')));
  const std::vector<json> events =
      HttpFixture::Events(fixture.Do("POST", "/v1/chat/completions", Ask(R"("stream":true)")).body);
  std::string text;
  for (const json& event : events) {
    const json& delta = event["choices"][0]["delta"];
    if (delta.contains("content")) text += delta["content"].get<std::string>();
  }
  EXPECT_EQ(text, std::string(400, 'x'));
}

TEST(ChatRouteTest, FailureBeforeTheFirstByteKeepsItsStatus) {
  HttpFixture fixture([](const request::Request&) {
    Script script;
    script.status = request::MakeError(request::Reason::kInternal, "NaN in the logits");
    return script;
  });
  for (const char* more : {R"("stream":true)", R"("stream":false)"}) {
    const HttpReply reply = fixture.Do("POST", "/v1/chat/completions", Ask(more));
    EXPECT_EQ(reply.status, 500);
    EXPECT_EQ(HttpFixture::Json(reply)["error"]["code"], "INTERNAL");
    EXPECT_EQ(reply.Header("x-should-retry"), "false");
  }
}

TEST(ChatRouteTest, FailureAfterTheFirstByteIsAnEvent) {
  const HttpReply reply = ReplyThatFails("/v1/chat/completions", Ask(R"("stream":true)"), "data: ");
  EXPECT_EQ(reply.status, 200);
  const std::vector<json> events = HttpFixture::Events(reply.body);
  EXPECT_EQ(events.back()["error"]["code"], "INTERNAL");
  EXPECT_EQ(reply.body.find("[DONE]"), std::string::npos);
}

TEST(ChatRouteTest, DisconnectCancelsInEveryState) {
  // In the queue, before the first token, and in mid-stream; streaming and not.
  for (const bool stream : {false, true}) {
    const std::string body = Ask(stream ? R"("stream":true)" : R"("stream":false)");
    {
      HttpFixture fixture(Holds());
      fixture.base.engine->Pause(true);
      RawHttpClient client(fixture.port());
      client.Send(RawHttpClient::Request("POST", "/v1/chat/completions", body));
      ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));
      client.Close();
      EXPECT_TRUE(fixture.base.WaitEmpty()) << "in the queue";
    }
    {
      HttpFixture fixture(Holds());
      RawHttpClient client(fixture.port());
      client.Send(RawHttpClient::Request("POST", "/v1/chat/completions", body));
      ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.engine->running() == 1; }));
      client.Close();
      EXPECT_TRUE(fixture.base.WaitEmpty()) << "before the first token";
      EXPECT_EQ(fixture.base.engine->cancelled(), 1);
    }
  }
  HttpFixture fixture(Endless(std::chrono::milliseconds(1)));
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", "/v1/chat/completions", Ask(R"("stream":true)")));
  ASSERT_TRUE(client.WaitFor("content"));
  client.Close();
  EXPECT_TRUE(fixture.base.WaitEmpty()) << "in mid-stream";
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->active_calls() == 0; }));
}

TEST(ChatRouteTest, KeepAliveCommentsWhileARequestWaits) {
  HttpFixture::Options options;
  options.http.keep_alive_interval = absl::Milliseconds(20);
  HttpFixture fixture(Holds(), options);
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", "/v1/chat/completions", Ask(R"("stream":true)")));
  EXPECT_TRUE(client.WaitFor(": keep-alive\n\n"));
  EXPECT_EQ(client.buffer().find("data:"), std::string::npos);
}

TEST(ChatRouteTest, ASlowReaderIsDroppedAndNobodyElseWaits) {
  HttpFixture::Options options;
  options.service.max_model_len = 1 << 22;
  options.service.stream_capacity_tokens = 64;
  options.http.front.stream.slow_reader_timeout = absl::Milliseconds(300);
  HttpFixture fixture(Endless(std::chrono::microseconds(0)), options);
  RawHttpClient slow(fixture.port(), /*receive_buffer_bytes=*/2048);
  // Large events fill the buffers soon, also where tokens come slowly; else the kernel gives the connection up first.
  slow.Send(RawHttpClient::Request("POST", "/v1/chat/completions",
                                   Ask(R"("stream":true,"logprobs":true,"top_logprobs":20)")));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.engine->running() == 1; }));
  // Meanwhile another client gets its answer.
  const HttpReply other = fixture.Do("POST", "/v1/chat/completions", Ask(R"("max_tokens":20)"));
  EXPECT_EQ(other.status, 200);
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_EQ(fixture.base.engine->cancelled(), 1);
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.server->active_calls() == 0; }));
  EXPECT_EQ(MetricValue(fixture.base.metrics, "hadal_slow_readers_total"), 1);
}

TEST(ChatRouteTest, StopCancelsWhatRuns) {
  HttpFixture fixture(Holds());
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", "/v1/chat/completions", kAsk));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.engine->running() == 1; }));
  fixture.server->Stop();
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_EQ(fixture.server->open_connections(), 0);
  EXPECT_TRUE(client.WaitClosed());
}

TEST(ChatRouteTest, AStormOfBrokenOffCallsLeavesNothingBehind) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 4096;
  HttpFixture fixture(Endless(std::chrono::microseconds(200)), options);
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    RawHttpClient client(fixture.port());
    const std::string request =
        RawHttpClient::Request("POST", "/v1/chat/completions", Ask(random() % 2 ? R"("stream":true)" : R"("n":2)"));
    const size_t part = random() % 3 == 0 ? random() % request.size() : request.size();
    client.Send(std::string_view(request).substr(0, part));
    if (random() % 2) client.ReadMore(static_cast<int>(random() % 4));
  }
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(
      fixture.WaitFor([&] { return fixture.server->active_calls() == 0 && fixture.server->open_connections() == 0; }));
}

}  // namespace
}  // namespace hadal::http
