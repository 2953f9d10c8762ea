// SPDX-License-Identifier: Apache-2.0
#include "server/http/translated_answer.h"

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"
#include "tests/support/foreign_answer.h"

namespace hadal::http {
namespace {

using hadal::testing::ChatAnswer;
using hadal::testing::ChatEvent;
using hadal::testing::FullHttpFixture;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kEventStreamHead;
using hadal::testing::RawHttpClient;
using hadal::testing::ScriptedServer;
using hadal::testing::UpstreamFixture;
using nlohmann::json;
using ::testing::HasSubstr;
using Connection = ScriptedServer::Connection;

constexpr std::string_view kOllamaChat = "/api/chat";
constexpr std::string_view kGenerate = "/api/generate";
constexpr std::string_view kAskOllama = R"({"model":"demo:latest","messages":[{"role":"user","content":"17 + 25"}]})";
constexpr std::string_view kAskWhole =
    R"({"model":"demo:latest","stream":false,"messages":[{"role":"user","content":"17 + 25"}]})";

class FullServer {
 public:
  explicit FullServer(ScriptedServer::Script script)
      : other(std::move(script)), upstreams({other.url() + ",name=far"}), http(With(upstreams)) {}

  HttpReply Ask(std::string_view path, std::string_view body, std::string_view headers = {}) {
    return http.Do("POST", path, body, headers);
  }

  ScriptedServer other;
  UpstreamFixture upstreams;
  FullHttpFixture http;

 private:
  static HttpFixture::Options With(UpstreamFixture& upstreams) {
    HttpFixture::Options options;
    options.upstreams = upstreams.upstreams.get();
    return options;
  }
};

std::vector<json> LinesOf(const std::string& body) {
  std::vector<json> lines;
  for (const auto& line : absl::StrSplit(body, '\n', absl::SkipEmpty())) lines.push_back(json::parse(line));
  return lines;
}

TEST(TranslatedAnswerTest, AStreamOfEventsBecomesLinesOfJson) {
  FullServer full(ScriptedServer::Says(ChatAnswer()));
  const HttpReply reply = full.Ask(kOllamaChat, kAskOllama, "x-request-id: r1\r\nx-hadal-deadline-ms: 60000\r\n");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.Header("content-type"), "application/x-ndjson");
  EXPECT_EQ(reply.Header("x-hadal-served-by"), "far");
  EXPECT_EQ(reply.Header("x-hadal-degraded"), "upstream");
  std::string text, thinking, call;
  const std::vector<json> lines = LinesOf(reply.body);
  for (const json& line : lines) {
    EXPECT_EQ(line["model"], "demo:latest");
    text += line["message"]["content"].get<std::string>();
    thinking += line["message"].value("thinking", "");
    if (line["message"].contains("tool_calls")) call = line["message"]["tool_calls"][0]["function"].dump();
  }
  EXPECT_EQ(text, "42");
  EXPECT_EQ(thinking, "hm");
  EXPECT_EQ(json::parse(call), json::parse(R"({"index":0,"name":"f","arguments":{"x":1}})"));
  const json& end = lines.back();
  EXPECT_EQ(end["done"], true);
  EXPECT_EQ(end["done_reason"], "stop");
  EXPECT_EQ(end["prompt_eval_count"], 7);
  EXPECT_EQ(end["eval_count"], 5);
  EXPECT_GT(end["total_duration"].get<int64_t>(), 0);
  const std::string asked = full.other.last_request();
  EXPECT_THAT(asked, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-hadal-hop: 1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-request-id: r1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-hadal-deadline-ms: "));
  EXPECT_THAT(asked, HasSubstr(R"("model":"demo","stream":true)"));
  EXPECT_THAT(full.http.base.metrics.Expose(), HasSubstr("hadal_degraded_total{rung=\"upstream\"} 1"));
}

TEST(TranslatedAnswerTest, AWholeAnswerIsOneObject) {
  FullServer full(ScriptedServer::Says(ChatAnswer()));
  const HttpReply reply = full.Ask(kOllamaChat, kAskWhole);
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.Header("content-length"), std::to_string(reply.body.size()));
  EXPECT_EQ(reply.Header("x-hadal-served-by"), "far");
  const json body = HttpFixture::Json(reply);
  EXPECT_EQ(body["message"]["content"], "42");
  EXPECT_EQ(body["message"]["tool_calls"].size(), 1);
  EXPECT_EQ(body["done"], true);
}

TEST(TranslatedAnswerTest, GenerateIsAskedAsAChatOrAsPlainText) {
  FullServer full(ScriptedServer::Says(ChatAnswer()));
  const HttpReply reply = full.Ask(kGenerate, R"({"prompt":"17 + 25","stream":false,"system":"s"})");
  EXPECT_EQ(HttpFixture::Json(reply)["response"], "42") << reply.body;
  EXPECT_THAT(full.other.last_request(), HasSubstr(R"("messages":[{"role":"system","content":"s"},{"role":"user")"));
  FullServer raw(ScriptedServer::Says(absl::StrCat(
      kEventStreamHead, R"(data: {"choices":[{"index":0,"text":"42","finish_reason":"length"}]})", "\n\n")));
  const HttpReply plain = raw.Ask(kGenerate, R"({"prompt":"17 + 25","stream":false,"raw":true})");
  EXPECT_EQ(HttpFixture::Json(plain)["response"], "42") << plain.body;
  EXPECT_EQ(HttpFixture::Json(plain)["done_reason"], "length");
  EXPECT_THAT(raw.other.last_request(), HasSubstr("POST /v1/completions "));
}

TEST(TranslatedAnswerTest, OurRefusalStandsWhereTheUpstreamFailsOrCannotAnswer) {
  FullServer broken(ScriptedServer::Says(absl::StrCat(kEventStreamHead, ChatEvent(R"({"content":"4"})"))));
  // Held back, the half of an answer can still be refused; streamed, it cannot.
  HttpReply reply = broken.Ask(kOllamaChat, kAskWhole);
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.Header("x-hadal-reason"), "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(reply.Header("x-hadal-served-by"), "");
  FullServer full(ScriptedServer::Says(ChatAnswer()));
  reply = full.Ask(kOllamaChat, R"({"messages":[{"role":"user","content":"x"}],"logprobs":true})");
  EXPECT_EQ(reply.status, 503);
  reply = full.Ask(kOllamaChat, kAskOllama, "x-hadal-allow-fallback: 0\r\n");
  EXPECT_EQ(reply.status, 503);
  reply = full.Ask(kOllamaChat, kAskOllama, "x-hadal-hop: 1\r\n");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(full.other.accepted(), 0);
  reply = full.Ask(kOllamaChat, "no JSON");
  EXPECT_EQ(reply.status, 400) << "a request that is wrong is told so";
  EXPECT_EQ(full.other.accepted(), 0);
}

TEST(TranslatedAnswerTest, AStreamThatBreaksOffEndsWithAnError) {
  std::atomic<bool> go{false};
  FullServer full([&go](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, ChatEvent(R"({"content":"4"})")));
    UpstreamFixture::WaitFor([&] { return go.load(); });
  });
  RawHttpClient client(full.http.port());
  client.Send(RawHttpClient::Request("POST", kOllamaChat, kAskOllama));
  ASSERT_TRUE(client.WaitFor(R"("content":"4")"));
  go = true;
  const HttpReply reply = client.Read();
  const std::vector<json> lines = LinesOf(reply.body);
  EXPECT_TRUE(lines.back().contains("error")) << reply.body;
  // The call is recorded once its last byte is written.
  EXPECT_TRUE(full.http.WaitFor([&] {
    return full.http.base.metrics.Expose().find("outcome=\"error\",reason=\"UPSTREAM_FAILED\"} 1") != std::string::npos;
  }));
}

TEST(TranslatedAnswerTest, AClientThatLeavesTakesTheTransferWithIt) {
  FullServer full([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(absl::StrCat(kEventStreamHead, ChatEvent(R"({"content":"4"})")));
    connection.WaitClosed();
  });
  RawHttpClient client(full.http.port());
  client.Send(RawHttpClient::Request("POST", kOllamaChat, kAskOllama));
  ASSERT_TRUE(client.WaitFor(R"("content":"4")"));
  client.Close();
  EXPECT_TRUE(full.http.WaitFor([&] { return full.other.open() == 0; }));
}

}  // namespace
}  // namespace hadal::http
