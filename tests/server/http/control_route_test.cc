// SPDX-License-Identifier: Apache-2.0
// /v1/chat/completions/{id}/control through the whole HTTP server: a scripted model thinks as long as it is let.
#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/http/codec/route.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kChat;
using hadal::testing::RawHttpClient;
using nlohmann::json;

constexpr std::string_view kEnd = R"({"action":"reasoning_end"})";
constexpr std::string_view kThink =
    R"({"messages":[{"role":"user","content":"17 + 25"}],"stream":true,"reasoning_control":true})";

// Notes whether the request's constraint forces a token, as it does once the reasoning is to end.
class ThinkingServer {
 public:
  explicit ThinkingServer(HttpFixture::Options options = {})
      : fixture([this](const request::Request& request) { return Begin(request); }, std::move(options)) {}

  // The response's id as the client reads it; the model has begun to think.
  std::string IdOf(RawHttpClient& client) {
    EXPECT_TRUE(client.WaitFor("reasoning_content"));
    const size_t begin = client.buffer().find("chatcmpl-");
    return client.buffer().substr(begin, client.buffer().find('"', begin) - begin);
  }
  bool Closes() {
    const auto mask = constraint_->Mask();
    return mask.ok() && *mask != nullptr;
  }

  const std::shared_ptr<std::atomic<int>> allowed = std::make_shared<std::atomic<int>>(3);
  HttpFixture fixture;

 private:
  hadal::testing::Script Begin(const request::Request& request) {
    if (request.grammar != nullptr) constraint_ = request.grammar->Start();
    hadal::testing::Script script;
    script.tokens = hadal::testing::DemoEncode("one two three</think>42 and more");
    script.allowed = allowed;
    return script;
  }

  std::unique_ptr<models::TokenConstraint> constraint_;
};

std::string PathOf(std::string_view id) { return absl::StrCat("/v1/chat/completions/", std::string(id), "/control"); }

TEST(ControlRouteTest, EndsTheThinkingOfARunningRequest) {
  ThinkingServer server;
  HttpFixture& fixture = server.fixture;
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", kChat, kThink));
  const std::string id = server.IdOf(client);
  EXPECT_FALSE(server.Closes());
  const HttpReply reply = fixture.Do("POST", PathOf(id), kEnd);
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(HttpFixture::Json(reply),
            (json{{"id", id}, {"object", "chat.completion.control"}, {"action", "reasoning_end"}, {"success", true}}));
  EXPECT_TRUE(server.Closes());
  // Once more changes nothing; in llama.cpp's form it is the same.
  const json body{{"id", id}, {"action", "reasoning_end"}};
  EXPECT_EQ(fixture.Do("POST", "/v1/chat/completions/control", body.dump()).status, 200);
  // It answers: there is nothing to end.
  server.allowed->store(8);
  ASSERT_TRUE(client.WaitFor("\"content\":\"4"));
  ExpectError(fixture.Do("POST", PathOf(id), kEnd), 409, "NOT_THINKING");
  server.allowed->store(100);
  EXPECT_EQ(client.Read().status, 200);
  ExpectError(fixture.Do("POST", PathOf(id), kEnd), 404, "REQUEST_NOT_FOUND");
}

TEST(ControlRouteTest, OnlyRequestsThatAskedForItAndAreOnesOwn) {
  HttpFixture::Options options;
  options.keys = "secret acme\nother rival\n";
  ThinkingServer server(options);
  HttpFixture& fixture = server.fixture;
  constexpr std::string_view kOwn = "Authorization: Bearer secret\r\n", kOther = "Authorization: Bearer other\r\n";
  RawHttpClient client(fixture.port()), plain(fixture.port());
  client.Send(RawHttpClient::Request("POST", kChat, kThink, kOwn));
  plain.Send(RawHttpClient::Request("POST", kChat,
                                    R"({"messages":[{"role":"user","content":"17 + 25"}],"stream":true})", kOwn));
  const std::string id = server.IdOf(client), uncontrolled = server.IdOf(plain);
  ExpectError(fixture.Do("POST", PathOf(id), kEnd), 401, "UNAUTHENTICATED");
  ExpectError(fixture.Do("POST", PathOf(id), kEnd, kOther), 404, "REQUEST_NOT_FOUND");
  ExpectError(fixture.Do("POST", PathOf(uncontrolled), kEnd, kOwn), 404, "REQUEST_NOT_FOUND");
  EXPECT_FALSE(server.Closes());
  EXPECT_EQ(fixture.Do("POST", PathOf(id), kEnd, kOwn).status, 200);
}

TEST(ControlRouteTest, WhatIsWrongIsNamed) {
  ThinkingServer server;
  HttpFixture& fixture = server.fixture;
  const HttpReply unknown = fixture.Do("POST", PathOf("chatcmpl-none"), kEnd);
  ExpectError(unknown, 404, "REQUEST_NOT_FOUND");
  EXPECT_NE(unknown.body.find("reasoning_control"), std::string::npos) << unknown.body;
  const HttpReply action = fixture.Do("POST", PathOf("x"), R"({"action":"stop"})");
  ExpectError(action, 422, "OUT_OF_RANGE");
  EXPECT_EQ(HttpFixture::Json(action)["error"]["param"], "action");
  ExpectError(fixture.Do("POST", PathOf("x"), "{}"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", PathOf("x"), "x"), 400, "INVALID_REQUEST");
  const HttpReply nameless = fixture.Do("POST", "/v1/chat/completions/control", kEnd);
  ExpectError(nameless, 400, "INVALID_REQUEST");
  EXPECT_EQ(HttpFixture::Json(nameless)["error"]["param"], "id");
  ExpectError(fixture.Do("GET", PathOf("x")), 405, "METHOD_NOT_ALLOWED");
  ExpectError(fixture.Do("POST", "/v1/chat/completions/x%zz/control", kEnd), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", "/v1/chat/completions/x/other", kEnd), 404, "ROUTE_NOT_FOUND");
}

}  // namespace
}  // namespace hadal::http
