// SPDX-License-Identifier: Apache-2.0
#include "server/http/pass_on.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::FullHttpFixture;
using hadal::testing::Holds;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::RawHttpClient;
using hadal::testing::ScriptedServer;
using hadal::testing::ServiceFixture;
using hadal::testing::UpstreamFixture;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = ScriptedServer::Connection;

constexpr char kEvents[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string Chunk(const std::string& text) { return absl::StrFormat("%x\r\n%s\r\n", text.size(), text); }

// Answers every request with that JSON.
ScriptedServer::Script Answers(const std::string& body) {
  return [body](Connection& connection) {
    while (!connection.ReadRequest().empty()) connection.Answer(200, body);
  };
}

// A server of which the queue is full, and the upstreams that it has.
class FullServer {
 public:
  explicit FullServer(const std::vector<std::string>& targets, HttpFixture::Options options = {},
                      const std::function<void(upstream::UpstreamOptions&)>& change = {})
      : upstreams(targets, change), http(With(std::move(options), upstreams)) {}

  HttpReply Ask(std::string_view headers = {}, std::string_view path = kChat) {
    return http.Do("POST", path, kAsk, headers);
  }

  UpstreamFixture upstreams;
  FullHttpFixture http;

 private:
  static HttpFixture::Options With(HttpFixture::Options options, UpstreamFixture& upstreams) {
    options.upstreams = upstreams.upstreams.get();
    return options;
  }
};

TEST(PassOnTest, WhatAFullServerWouldRefuseAnotherOneAnswers) {
  ScriptedServer other(Answers(R"({"answer": "far"})"));
  HttpFixture::Options options;
  options.keys = "client-secret tenant\n";
  UpstreamFixture upstreams({other.url() + ",name=far,key-file=" + UpstreamFixture::KeyFile("sk-ours")});
  options.upstreams = upstreams.upstreams.get();
  options.service.ready = false;  // MODEL_LOADING
  HttpFixture http(Holds(), options);
  const HttpReply reply = http.Do("POST", kChat, kAsk,
                                  "Authorization: Bearer client-secret\r\nx-request-id: r1\r\nCookie: a=b\r\n"
                                  "traceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body, R"({"answer": "far"})");
  EXPECT_EQ(reply.Header("content-type"), "application/json");
  EXPECT_EQ(reply.Header("content-length"), std::to_string(reply.body.size()));
  EXPECT_EQ(reply.Header("x-hadal-degraded"), "upstream");
  EXPECT_EQ(reply.Header("x-hadal-served-by"), "far");
  EXPECT_EQ(reply.Header("x-request-id"), "r1");
  const std::string asked = other.last_request();
  EXPECT_THAT(asked, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-hadal-hop: 1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nx-request-id: r1\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\ntraceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n"));
  EXPECT_THAT(asked, HasSubstr("\r\nAuthorization: Bearer sk-ours\r\n"));
  EXPECT_THAT(asked, Not(HasSubstr("client-secret")));
  EXPECT_THAT(asked, Not(HasSubstr("Cookie")));
  EXPECT_THAT(asked, EndsWith("\r\n\r\n" + std::string(kAsk)));
  const std::string metrics = http.base.metrics.Expose();
  EXPECT_THAT(metrics, HasSubstr("hadal_degraded_total{rung=\"upstream\"} 1"));
  EXPECT_THAT(metrics, Not(HasSubstr("sk-ours")));
  EXPECT_EQ(http.Do("POST", kChat, kAsk).status, 401) << "only who may ask this server";
}

TEST(PassOnTest, EveryGeneratingRouteIsPassedOnUnderItsName) {
  ScriptedServer other(Answers("{}"));
  FullServer full({other.url() + ",key-file=" + UpstreamFixture::KeyFile("sk-ours")});
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/beta/chat/completions"}) {
    EXPECT_EQ(full.Ask({}, path).status, 200) << path;
    EXPECT_THAT(other.last_request(), HasSubstr("\r\nAuthorization: Bearer sk-ours\r\n")) << path;
  }
  EXPECT_THAT(other.last_request(), HasSubstr("POST /v1/chat/completions"));
  EXPECT_EQ(full.Ask("anthropic-version: 2023-06-01\r\n", "/v1/messages").status, 200);
  EXPECT_THAT(other.last_request(), HasSubstr("POST /v1/messages HTTP/1.1\r\n"));
  EXPECT_THAT(other.last_request(), HasSubstr("\r\nx-api-key: sk-ours\r\n"));
  EXPECT_THAT(other.last_request(), HasSubstr("\r\nanthropic-version: 2023-06-01\r\n"));
}

TEST(PassOnTest, ARequestStaysHereWhenItsClientOrItsHopsForbid) {
  ScriptedServer other(Answers("{}"));
  FullServer full({other.url()});
  for (const char* headers : {"x-hadal-allow-fallback: 0\r\n", "x-hadal-allow-degraded: 0\r\n", "x-hadal-hop: 1\r\n",
                              "x-hadal-hop: many\r\n", "x-hadal-hop: -1\r\n"}) {
    ExpectError(full.Ask(headers), 503, "CONNECTION_QUEUE_FULL");
  }
  ExpectError(full.Ask("x-hadal-allow-fallback: no\r\n"), 422, "OUT_OF_RANGE");
  ExpectError(full.Ask("x-hadal-allow-degraded: false\r\n"), 422, "OUT_OF_RANGE");
  EXPECT_EQ(other.accepted(), 0);
  EXPECT_EQ(full.Ask("x-hadal-allow-fallback: 1\r\n").status, 200);
}

TEST(PassOnTest, AnOperatorMayAskForConsent) {
  ScriptedServer other(Answers("{}"));
  FullServer full({other.url()}, {}, [](upstream::UpstreamOptions& options) { options.opt_in = true; });
  ExpectError(full.Ask(), 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(full.Ask("x-hadal-allow-fallback: 1\r\n").status, 200);
  EXPECT_EQ(other.accepted(), 1);
}

TEST(PassOnTest, WhereNoUpstreamMayBeAskedTheBodyIsNotRead) {
  ScriptedServer other([](Connection& connection) { connection.ReadRequest(), connection.WaitClosed(); });
  FullServer full({other.url() + ",max-in-flight=1"});
  RawHttpClient occupant(full.http.port());
  occupant.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(full.http.WaitFor([&] { return other.accepted() == 1; }));
  RawHttpClient client(full.http.port());
  client.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n");  // and no body
  ExpectError(client.Read(), 503, "CONNECTION_QUEUE_FULL");
}

TEST(PassOnTest, AnUpstreamThatFailsLeavesOurOwnRefusal) {
  const ScriptedServer::Script scripts[] = {
      [](Connection& c) { c.ReadRequest(), c.Answer(500, "{}"); },
      [](Connection& c) { c.ReadRequest(), c.Answer(503, "{}", "Retry-After: 77\r\n"); },
      [](Connection& c) { c.ReadRequest(), c.Answer(400, "{}"); },
      [](Connection& c) { c.ReadRequest(); },
      [](Connection& c) {  // half of a JSON answer
        c.ReadRequest();
        c.Send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
      },
  };
  for (const ScriptedServer::Script& script : scripts) {
    ScriptedServer other(script);
    FullServer full({other.url()});
    const HttpReply reply = full.Ask();
    ExpectError(reply, 503, "CONNECTION_QUEUE_FULL");
    EXPECT_NE(reply.Header("retry-after"), "77");
    EXPECT_GE(std::stoi(reply.Header("retry-after-ms")), 1000);
    EXPECT_EQ(reply.Header("x-hadal-served-by"), "");
    EXPECT_EQ(other.accepted(), 1);
  }
}

TEST(PassOnTest, AStreamThatBreaksOffBehindAnEventEndsWithAnError) {
  ScriptedServer other([](Connection& c) { c.ReadRequest(), c.Send(std::string(kEvents) + Chunk("data: 1\n\n")); });
  FullServer full({other.url()});
  const HttpReply reply = full.Ask();
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("data: 1\n\ndata: {\"error\":{"));
  EXPECT_THAT(reply.body, HasSubstr("UPSTREAM_FAILED"));
  const HttpReply message = full.Ask({}, "/v1/messages");
  EXPECT_THAT(message.body, HasSubstr("data: 1\n\nevent: error\ndata: {\"type\":\"error\""));
  const std::string metrics = full.http.base.metrics.Expose();
  EXPECT_THAT(metrics, HasSubstr("outcome=\"error\",reason=\"UPSTREAM_FAILED\"} 1"));
}

TEST(PassOnTest, AStreamThatBreaksOffInsideAnEventHasNoEnd) {
  ScriptedServer other([](Connection& c) { c.ReadRequest(), c.Send(std::string(kEvents) + Chunk("data: {\"a\":")); });
  FullServer full({other.url()});
  RawHttpClient client(full.http.port());
  client.Send(RawHttpClient::Request("POST", kChat, kAsk));
  EXPECT_TRUE(client.WaitClosed());
  EXPECT_THAT(client.buffer(), HasSubstr("data: {\"a\":"));
  EXPECT_THAT(client.buffer(), Not(HasSubstr("\r\n0\r\n\r\n"))) << "the client must see that something is missing";
  EXPECT_THAT(client.buffer(), Not(HasSubstr("error")));
}

TEST(PassOnTest, AClientThatLeavesTakesTheTransferWithIt) {
  ScriptedServer other([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(std::string(kEvents) + Chunk("data: 1\n\n"));
    connection.WaitClosed();
  });
  FullServer full({other.url()});
  RawHttpClient client(full.http.port());
  client.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(client.WaitFor("data: 1\n\n"));
  client.Close();
  EXPECT_TRUE(full.http.WaitFor([&] { return other.open() == 0; }));
  EXPECT_TRUE(full.http.WaitFor([&] {
    return full.http.base.metrics.Expose().find("outcome=\"cancelled\",reason=\"CANCELLED\"} 1") != std::string::npos;
  }));
}

// The upstreams' thread has the body until it hears of the end, and the budget of bodies may be gone by then.
TEST(PassOnTest, TheServerMayEndBeforeItsUpstreams) {
  ScriptedServer other([](Connection& connection) { connection.ReadRequest(), connection.WaitClosed(); });
  for (int i = 0; i < 30; ++i) {
    FullServer full({other.url()});
    RawHttpClient client(full.http.port());
    client.Send(RawHttpClient::Request("POST", kChat, kAsk));
    ASSERT_TRUE(full.http.WaitFor([&] { return other.accepted() == i + 1; }));
    if (i % 2 == 0) client.Close();
  }
}

TEST(PassOnTest, LargeAnswersKeepTheirBytes) {
  std::string json = "{\"text\": \"";
  for (int i = 0; i < 300'000; ++i) json.push_back(static_cast<char>('a' + i % 26));
  json += "\"}";
  ScriptedServer other(Answers(json));
  FullServer full({other.url()});
  EXPECT_EQ(full.Ask().body, json);
}

TEST(PassOnTest, TheFixedTextAnswersWhileNoUpstreamMayBeAsked) {
  ScriptedServer other([](Connection& c) { c.ReadRequest(), c.Answer(429, "{}", "Retry-After: 60\r\n"); });
  HttpFixture::Options options;
  options.service.degradation.answer = "busy";
  FullServer full({other.url()}, options);
  ExpectError(full.Ask(), 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(full.Ask().Header("x-hadal-degraded"), "static");
  EXPECT_EQ(other.accepted(), 1) << "it has asked to be left alone";
}

TEST(PassOnTest, WhatComesToAServerThatDrainsIsRefused) {
  ScriptedServer other(Answers("{}"));
  UpstreamFixture upstreams({other.url()});
  HttpFixture::Options options;
  options.upstreams = upstreams.upstreams.get();
  HttpFixture http(Holds(), options);
  http.base.admission->BeginDrain();
  ExpectError(http.Do("POST", kChat, kAsk), 503, "DRAINING");
  EXPECT_EQ(other.accepted(), 0);
}

TEST(PassOnTest, AKeysLimitsHoldForWhatIsPassedOn) {
  ScriptedServer other([](Connection& connection) { connection.ReadRequest(), connection.WaitClosed(); });
  HttpFixture::Options options;
  options.keys = "k tenant requests=1\n";
  UpstreamFixture upstreams({other.url()});
  options.upstreams = upstreams.upstreams.get();
  options.service.ready = false;
  HttpFixture http(Holds(), options);
  RawHttpClient first(http.port());
  first.Send(RawHttpClient::Request("POST", kChat, kAsk, "Authorization: Bearer k\r\n"));
  ASSERT_TRUE(http.WaitFor([&] { return other.accepted() == 1; }));
  ExpectError(http.Do("POST", kChat, kAsk, "Authorization: Bearer k\r\n"), 429, "TENANT_QUOTA");
}

}  // namespace
}  // namespace hadal::http
