// SPDX-License-Identifier: Apache-2.0
// The server over HTTP/1.1: errors, keep-alive, limits of time and size.
#include "server/http/http_server.h"

#include <atomic>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

TEST(HttpServerTest, EachErrorHasItsStatusAndObject) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  ExpectError(fixture.Do("GET", "/nothing"), 404, "ROUTE_NOT_FOUND");
  ExpectError(fixture.Do("POST", "/v2/chat/completions", kAsk), 404, "ROUTE_NOT_FOUND");
  const HttpReply method = fixture.Do("GET", kChat);
  ExpectError(method, 405, "METHOD_NOT_ALLOWED");
  EXPECT_EQ(method.Header("allow"), "POST, OPTIONS");
  EXPECT_EQ(fixture.Do("DELETE", "/v1/models").Header("allow"), "GET, HEAD, OPTIONS");
  ExpectError(fixture.Do("POST", kChat, "{not json"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, "[]"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, ""), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, "\xff\xfe{}"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, R"({"messages":[]})"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, R"({"messages":"hi"})"), 422, "OUT_OF_RANGE");
  ExpectError(fixture.Do("POST", kChat, R"({"model":"nobody","messages":[{"role":"user","content":"x"}]})"), 404,
              "MODEL_NOT_FOUND");
  const HttpReply range = fixture.Do("POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"temperature":3})");
  ExpectError(range, 422, "OUT_OF_RANGE");
  EXPECT_EQ(HttpFixture::Json(range)["error"]["param"], "temperature");
  const HttpReply length =
      fixture.Do("POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"max_tokens":100000})");
  EXPECT_EQ(length.status, 400);
  EXPECT_EQ(HttpFixture::Json(length)["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(length.Header("x-hadal-reason"), "CONTEXT_LENGTH_EXCEEDED");
  const HttpReply schema = fixture.Do(
      "POST", kChat,
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"schema":)"
      R"({"type":"object","properties":{"age":{"type":"integer","multipleOf":0.5}}}}}})");
  ExpectError(schema, 400, "INVALID_REQUEST");
  EXPECT_EQ(HttpFixture::Json(schema)["error"]["param"], "response_format.json_schema.schema");
  EXPECT_NE(schema.body.find("#/properties/age/multipleOf"), std::string::npos) << schema.body;
  ExpectError(fixture.Do("POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"tool_choice":"required"})"),
              400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, kAsk, "x-hadal-priority: urgent\r\n"), 422, "OUT_OF_RANGE");
  ExpectError(fixture.Do("POST", kChat, kAsk, "x-hadal-deadline-ms: soon\r\n"), 422, "OUT_OF_RANGE");
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(HttpServerTest, WithoutAServiceThereAreHealthMetricsAndVersionAlone) {
  base::MetricRegistry metrics;
  std::atomic<bool> ready{false};
  HttpOptions options;
  options.port = 0;
  options.max_target_bytes = 1024;
  HttpServer::Dependencies dependencies;
  dependencies.metrics = &metrics;
  dependencies.health = [&ready] { return HealthReport{.started = true, .ready = ready.load(), .stage = "waiting"}; };
  auto server = HttpServer::Create(std::move(options), std::move(dependencies));
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->Start();
  const auto ask = [&](std::string_view method, std::string_view path, std::string_view body = {},
                       std::string_view headers = {}) {
    return RawHttpClient((*server)->port()).Do(method, path, body, headers);
  };
  EXPECT_EQ(ask("GET", "/health/live").status, 200);
  EXPECT_EQ(ask("GET", "/health/startup").status, 200);
  const HttpReply unready = ask("GET", "/health");
  EXPECT_EQ(unready.status, 503);
  EXPECT_EQ(HttpFixture::Json(unready)["stage"], "waiting");
  ready.store(true);
  // What asks a service for its load elsewhere, too.
  EXPECT_EQ(ask("GET", "/health/ready", {}, "endpoint-load-metrics-format: TEXT\r\n").status, 200);
  EXPECT_NE(ask("GET", "/metrics").body.find("\nhadal_open_connections{"), std::string::npos);
  EXPECT_EQ(ask("GET", "/version").status, 200);
  ExpectError(ask("POST", kChat, kAsk), 404, "ROUTE_NOT_FOUND");
  ExpectError(ask("GET", "/v1/models"), 404, "ROUTE_NOT_FOUND");
  ExpectError(ask("GET", "/"), 404, "ROUTE_NOT_FOUND");
  ExpectError(ask("POST", "/metrics"), 405, "METHOD_NOT_ALLOWED");
  ExpectError(ask("GET", "/" + std::string(2000, 'x')), 414, "HEADERS_TOO_LARGE");
}

TEST(HttpServerTest, JsonDepthIsBounded) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const auto nested = [](int levels) {
    return R"({"messages":[{"role":"user","content":"x"}],"metadata":)" + std::string(levels, '[') +
           std::string(levels, ']') + "}";
  };
  EXPECT_EQ(fixture.Do("POST", kChat, nested(50)).status, 200);
  ExpectError(fixture.Do("POST", kChat, nested(100)), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kChat, nested(100000)), 400, "INVALID_REQUEST");
}

TEST(HttpServerTest, NumbersBeyond64BitsHarmOnlyFieldsThatAreRead) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const auto ask = [](std::string_view fields) {
    return R"({"messages":[{"role":"user","content":"x"}],)" + std::string(fields) + "}";
  };
  EXPECT_EQ(fixture.Do("POST", kChat, ask(R"("metadata":{"id":1000000000000000019884624838656,"x":[1e999]})")).status,
            200);
  for (const char* field : {"max_tokens", "temperature", "seed", "n"}) {
    const HttpReply reply = fixture.Do("POST", kChat, ask("\"" + std::string(field) + "\":100000000000000000000000"));
    ExpectError(reply, 422, "OUT_OF_RANGE");
    EXPECT_EQ(HttpFixture::Json(reply)["error"]["param"], field);
  }
}

TEST(HttpServerTest, UnknownFieldsAndNullsAreIgnored) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const HttpReply reply = fixture.Do(
      "POST", kChat,
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"extra":1}],)"
      R"("temperature":null,"stop":null,"tools":null,"frobnicate":{"x":[1,2]},"parallel_tool_calls":true,"max_tokens":null})");
  EXPECT_EQ(reply.status, 200) << reply.body;
}

TEST(HttpServerTest, HeadersAndTargetAreBounded) {
  HttpFixture::Options options;
  options.http.max_header_bytes = 4096;
  options.http.max_target_bytes = 1024;
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  ExpectError(fixture.Do("POST", kChat, kAsk, "x-long: " + std::string(5000, 'x') + "\r\n"), 431, "HEADERS_TOO_LARGE");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "x-h" + std::to_string(i) + ": v\r\n";
  ExpectError(fixture.Do("POST", kChat, kAsk, many), 431, "HEADERS_TOO_LARGE");
  ExpectError(fixture.Do("GET", "/" + std::string(2000, 'x')), 414, "HEADERS_TOO_LARGE");
}

TEST(HttpServerTest, BrokenRequestsGet400) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  for (const char* bytes :
       {"NONSENSE\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: t\r\nbad header\r\n\r\n"}) {
    RawHttpClient client(fixture.port());
    client.Send(bytes);
    EXPECT_EQ(client.Read().status, 400) << bytes;
    EXPECT_TRUE(client.WaitClosed());
  }
}

TEST(HttpServerTest, KeepAliveAndPipelining) {
  HttpFixture fixture(ServiceFixture::Says("</think>42"));
  RawHttpClient client(fixture.port());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Do("POST", kChat, kAsk).status, 200);
  // Three requests in one write, the middle one a stream: the answers come in order.
  std::string three =
      RawHttpClient::Request("GET", "/version") +
      RawHttpClient::Request("POST", kChat, R"({"stream":true,"messages":[{"role":"user","content":"x"}]})") +
      RawHttpClient::Request("GET", "/v1/models");
  client.Send(three);
  EXPECT_NE(client.Read().body.find("version"), std::string::npos);
  EXPECT_NE(client.Read().body.find("[DONE]"), std::string::npos);
  EXPECT_NE(client.Read().body.find("\"list\""), std::string::npos);

  RawHttpClient closing(fixture.port());
  const HttpReply reply = closing.Do("GET", "/version", "", "Connection: close\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(closing.WaitClosed());

  RawHttpClient old(fixture.port());
  old.Send("GET /version HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.Read().status, 200);
  EXPECT_TRUE(old.WaitClosed());
}

TEST(HttpServerTest, Http10StreamsEndWithTheConnection) {
  HttpFixture fixture(ServiceFixture::Says("</think>42"));
  const std::string body = R"({"stream":true,"messages":[{"role":"user","content":"x"}]})";
  RawHttpClient client(fixture.port());
  client.Send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
              body);
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("transfer-encoding"), "");
  EXPECT_TRUE(reply.body.ends_with("data: [DONE]\n\n"));
}

TEST(HttpServerTest, SlowHeadsAndBodiesRunOutOfTime) {
  HttpFixture::Options options;
  options.http.request_timeout = absl::Seconds(2);  // in which `idle` is answered, under load too
  options.http.idle_timeout = absl::Milliseconds(200);
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  RawHttpClient silent(fixture.port());
  RawHttpClient undecided(fixture.port());
  undecided.Send("GET /hea");
  RawHttpClient head(fixture.port());
  head.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\n");
  RawHttpClient body(fixture.port());
  body.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
  RawHttpClient idle(fixture.port());
  EXPECT_EQ(idle.Do("GET", "/v1/models").status, 200);
  EXPECT_TRUE(silent.WaitClosed());
  EXPECT_TRUE(undecided.WaitClosed());
  EXPECT_EQ(head.Read().status, 408);
  EXPECT_EQ(body.Read().status, 408);
  EXPECT_TRUE(idle.WaitClosed());
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0; }));
}

TEST(HttpServerTest, CreateTellsWhatIsWrong) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  HttpServer::Dependencies dependencies;
  dependencies.service = fixture.base.service.get();
  HttpOptions options;
  options.front.host = "not-an-address";
  EXPECT_FALSE(HttpServer::Create(options, dependencies).ok());
  options.front.host = "127.0.0.1";
  options.port = fixture.port();
  const absl::Status taken = HttpServer::Create(options, dependencies).status();
  EXPECT_NE(taken.message().find(std::to_string(fixture.port())), absl::string_view::npos) << taken;
}

}  // namespace
}  // namespace hadal::http
