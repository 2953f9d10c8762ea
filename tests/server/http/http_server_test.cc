// SPDX-License-Identifier: Apache-2.0
// The connection layer: limits, refusals, keep-alive, health under load, keys, drain.
#include "server/http/http_server.h"

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using nlohmann::json;

constexpr std::string_view kChat = "/v1/chat/completions";
constexpr std::string_view kAsk = R"({"messages":[{"role":"user","content":"17 + 25"}]})";

testing::ScriptedEngine::MakeScript Holds() {
  return [](const request::Request&) {
    Script script;
    script.hold = true;
    return script;
  };
}

// An error object with that status and code; all four members are there.
void ExpectError(const HttpReply& reply, int status, std::string_view code) {
  EXPECT_EQ(reply.status, status) << reply.body;
  const json body = HttpFixture::Json(reply);
  ASSERT_TRUE(body.contains("error")) << reply.head << reply.body;
  EXPECT_EQ(body["error"]["code"], std::string(code));
  EXPECT_TRUE(body["error"]["message"].is_string());
  EXPECT_TRUE(body["error"]["type"].is_string());
  EXPECT_TRUE(body["error"].contains("param"));
  EXPECT_EQ(reply.Header("x-hadal-reason"), std::string(code));
  EXPECT_FALSE(reply.Header("x-should-retry").empty());
}

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
  ExpectError(fixture.Do("POST", kChat, R"({"messages":[{"role":"user","content":"x"}],"max_tokens":100000})"), 400,
              "CONTEXT_LENGTH_EXCEEDED");
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

TEST(HttpServerTest, UnknownFieldsAndNullsAreIgnored) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const HttpReply reply = fixture.Do(
      "POST", kChat,
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"extra":1}],)"
      R"("temperature":null,"stop":null,"tools":null,"frobnicate":{"x":[1,2]},"parallel_tool_calls":true,"max_tokens":null})");
  EXPECT_EQ(reply.status, 200) << reply.body;
}

TEST(HttpServerTest, QueueFullIsRefusedBeforeTheBodyIsRead) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 1;
  HttpFixture fixture(Holds(), options);
  fixture.base.engine->Pause(true);
  RawHttpClient waiting(fixture.port());
  waiting.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));

  RawHttpClient client(fixture.port());
  client.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n");  // and no body
  const HttpReply reply = client.Read();
  ExpectError(reply, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(reply.Header("x-should-retry"), "true");
  EXPECT_GE(std::stoi(reply.Header("retry-after")), 1);
  EXPECT_LE(std::stoi(reply.Header("retry-after")), 30);
  EXPECT_GE(std::stoi(reply.Header("retry-after-ms")), 1000);
  EXPECT_NE(reply.body.find("服务器繁忙"), std::string::npos);
  EXPECT_EQ(reply.Header("connection"), "");  // the body is small: the connection is kept
  client.Send(std::string(100000, 'x'));
  EXPECT_EQ(client.Do("GET", "/v1/models").status, 200);

  // A large announced body ends the connection, but the answer arrives although the body is being sent.
  RawHttpClient large(fixture.port());
  large.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n");
  large.Send(std::string(4000000, 'x'));
  const HttpReply closing = large.Read();
  ExpectError(closing, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(closing.Header("connection"), "close");
}

TEST(HttpServerTest, OverloadStatusCanBe429) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 1;
  options.http.overload_http_status = 429;
  HttpFixture fixture(Holds(), options);
  fixture.base.engine->Pause(true);
  RawHttpClient waiting(fixture.port());
  waiting.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));
  const HttpReply reply = fixture.Do("POST", kChat, kAsk);
  ExpectError(reply, 429, "CONNECTION_QUEUE_FULL");
  EXPECT_FALSE(reply.Header("retry-after").empty());
}

TEST(HttpServerTest, LoadingAndDrainingStay503) {
  HttpFixture::Options options;
  options.service.ready = false;
  options.http.overload_http_status = 429;
  HttpFixture loading(ServiceFixture::Says("x"), options);
  ExpectError(loading.Do("POST", kChat, kAsk), 503, "MODEL_LOADING");
  EXPECT_EQ(loading.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(loading.Do("GET", "/health/ready").status, 503);
  EXPECT_EQ(loading.Do("GET", "/health").status, 503);
  const HttpReply startup = loading.Do("GET", "/health/startup");
  EXPECT_EQ(startup.status, 503);
  EXPECT_EQ(HttpFixture::Json(startup)["stage"], "loading");
  EXPECT_EQ(HttpFixture::Json(startup)["progress"], 0.5);

  HttpFixture draining(ServiceFixture::Says("x"));
  RawHttpClient idle(draining.port());
  ASSERT_EQ(idle.Do("GET", "/v1/models").status, 200);
  draining.base.admission->BeginDrain();
  draining.server->BeginDrain();
  EXPECT_TRUE(idle.WaitClosed());
  const HttpReply refused = draining.Do("POST", kChat, kAsk);
  ExpectError(refused, 503, "DRAINING");
  EXPECT_EQ(refused.Header("connection"), "close");
  EXPECT_TRUE(draining.server->WaitIdle(absl::Seconds(1)));
}

TEST(HttpServerTest, BodyTooLargeIsRefusedBeforeItIsReadWhole) {
  HttpFixture::Options options;
  options.http.front.max_body_bytes = 1000;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient announced(fixture.port());
  announced.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
  ExpectError(announced.Read(), 413, "BODY_TOO_LARGE");

  RawHttpClient chunked(fixture.port());
  chunked.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 3; ++i) chunked.Send("190\r\n" + std::string(400, ' ') + "\r\n");  // no end in sight
  ExpectError(chunked.Read(), 413, "BODY_TOO_LARGE");
  EXPECT_TRUE(fixture.base.WaitEmpty());

  RawHttpClient good(fixture.port());
  good.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : kAsk) good.Send(std::string("1\r\n") + c + "\r\n");
  good.Send("0\r\n\r\n");
  EXPECT_EQ(good.Read().status, 200);
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
    EXPECT_TRUE(client.WaitClosed(8000));
  }
}

TEST(HttpServerTest, ContinueIsSentAfterAdmissionOnly) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>42"), options);
  const std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: " +
                           std::to_string(kAsk.size()) + "\r\n\r\n";
  RawHttpClient client(fixture.port());
  client.Send(head);
  ASSERT_TRUE(client.WaitFor("HTTP/1.1 100 Continue\r\n\r\n"));
  client.Send(kAsk);
  EXPECT_EQ(client.Read().status, 200);

  fixture.base.engine->Pause(true);
  RawHttpClient waiting(fixture.port());
  waiting.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));
  RawHttpClient refused(fixture.port());
  refused.Send(head);
  const HttpReply reply = refused.Read();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.Header("connection"), "close");
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
  options.http.request_timeout = absl::Milliseconds(200);
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
  EXPECT_TRUE(silent.WaitClosed(3000));
  EXPECT_TRUE(undecided.WaitClosed(3000));
  EXPECT_EQ(head.Read(3000).status, 408);
  EXPECT_EQ(body.Read(3000).status, 408);
  EXPECT_TRUE(idle.WaitClosed(3000));
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0; }));
}

TEST(HttpServerTest, ConnectionsAreBoundedAndHealthStillAnswers) {
  HttpFixture::Options options;
  options.http.max_connections = 4;
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    ASSERT_EQ(clients.back()->Do("GET", "/v1/models").status, 200);
  }
  const HttpReply refused = fixture.Do("GET", "/v1/models");
  ExpectError(refused, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(refused.Header("connection"), "close");
  EXPECT_EQ(fixture.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(fixture.Do("GET", "/metrics").status, 200);
  clients.clear();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Do("GET", "/v1/models").status == 200; }));
}

TEST(HttpServerTest, HealthAndMetricsAnswerWhileIoThreadAndWorkersAreBusy) {
  HttpFixture::Options options;
  options.service.worker_threads = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  // The only worker is held, and the I/O thread has calls that wait for it.
  std::atomic<bool> release{false};
  ASSERT_TRUE(fixture.base.service->workers().TryPost([&] {
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(fixture.port()));
    clients.back()->Send(RawHttpClient::Request("POST", kChat, kAsk));
  }
  for (int i = 0; i < 20; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(fixture.Do("GET", i % 2 ? "/health/live" : "/metrics").status, 200);
    // Generous, for machines under load; the goal is 10 ms.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(500));
  }
  release.store(true);
  for (auto& client : clients) EXPECT_EQ(client->Read().status, 200);
}

TEST(HttpServerTest, AFullWorkerQueueRefuses) {
  HttpFixture::Options options;
  options.service.worker_threads = 1;
  options.service.max_worker_jobs = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  std::atomic<bool> release{false}, begun{false};
  ASSERT_TRUE(fixture.base.service->workers().TryPost([&] {
    begun.store(true);
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  ASSERT_TRUE(fixture.WaitFor([&] { return begun.load(); }));
  ASSERT_TRUE(fixture.base.service->workers().TryPost([] {}));
  ExpectError(fixture.Do("POST", kChat, kAsk), 503, "CONNECTION_QUEUE_FULL");
  ExpectError(fixture.Do("POST", "/tokenize", R"({"prompt":"x"})"), 503, "CONNECTION_QUEUE_FULL");
  release.store(true);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(HttpServerTest, KeysDecideWhoMayAskAndInWhichClass) {
  std::vector<request::Priority> classes;
  HttpFixture::Options options;
  options.keys = "secret-one acme\nsecret-low guests low\n";
  HttpFixture fixture(
      [&](const request::Request& request) {
        classes.push_back(request.priority);
        return Script{};
      },
      options);
  const HttpReply missing = fixture.Do("POST", kChat, kAsk);
  ExpectError(missing, 401, "UNAUTHENTICATED");
  EXPECT_EQ(missing.Header("www-authenticate"), "Bearer");
  ExpectError(fixture.Do("POST", kChat, kAsk, "Authorization: Bearer secret-onf\r\n"), 401, "UNAUTHENTICATED");
  ExpectError(fixture.Do("POST", kChat, kAsk, "Authorization: Bearer secret-low\r\nx-hadal-priority: high\r\n"), 403,
              "PERMISSION_DENIED");
  ExpectError(fixture.Do("POST", kChat, R"({"service_tier":"priority","messages":[{"role":"user","content":"x"}]})",
                         "Authorization: Bearer secret-low\r\n"),
              403, "PERMISSION_DENIED");
  ExpectError(fixture.Do("GET", "/v1/models"), 401, "UNAUTHENTICATED");
  EXPECT_EQ(fixture.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(fixture.Do("GET", "/metrics").status, 200);

  const std::string one = "Authorization: Bearer secret-one\r\n";
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, one).status, 200);
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, one + "x-hadal-priority: high\r\n").status, 200);
  EXPECT_EQ(
      fixture.Do("POST", kChat, R"({"service_tier":"flex","messages":[{"role":"user","content":"x"}]})", one).status,
      200);
  EXPECT_EQ(fixture
                .Do("POST", kChat, R"({"service_tier":"flex","messages":[{"role":"user","content":"x"}]})",
                    one + "x-hadal-priority: batch\r\n")
                .status,
            200);
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "Authorization: Bearer secret-low\r\n").status, 200);
  fixture.base.engine->Stop();
  using request::Priority;
  EXPECT_EQ(classes, (std::vector<Priority>{Priority::kNormal, Priority::kHigh, Priority::kLow, Priority::kBatch,
                                            Priority::kLow}));
}

TEST(HttpServerTest, RequestIdsAreEchoedWhenSane) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  EXPECT_EQ(fixture.Do("GET", "/version", "", "x-request-id: trace:12/ab_c.d\r\n").Header("x-request-id"),
            "trace:12/ab_c.d");
  const std::string own = fixture.Do("GET", "/version", "", "x-request-id: a b\r\n").Header("x-request-id");
  EXPECT_EQ(own.substr(0, 4), "req-");
  EXPECT_NE(fixture.Do("GET", "/version").Header("x-request-id"), own);
}

TEST(HttpServerTest, ModelsVersionAndMetrics) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const json models = HttpFixture::Json(fixture.Do("GET", "/v1/models"));
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "demo");
  EXPECT_EQ(models["data"][0]["object"], "model");
  EXPECT_EQ(models["data"][0]["max_model_len"], 512);
  EXPECT_EQ(HttpFixture::Json(fixture.Do("GET", "/v1/models/d%65mo"))["id"], "demo");
  EXPECT_EQ(fixture.Do("GET", "/models").status, 200);
  EXPECT_EQ(fixture.Do("GET", "/beta/v1/models").status, 200);
  ExpectError(fixture.Do("GET", "/v1/models/nobody"), 404, "MODEL_NOT_FOUND");
  RawHttpClient head(fixture.port());
  head.Send(RawHttpClient::Request("HEAD", "/health/live"));
  EXPECT_EQ(head.Read(5000, /*head_only=*/true).status, 200);
  EXPECT_EQ(head.Do("GET", "/version").status, 200);  // no body was sent for HEAD

  fixture.Do("POST", kChat, kAsk);
  const HttpReply metrics = fixture.Do("GET", "/metrics");
  EXPECT_EQ(metrics.Header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(metrics.body.find("hadal_requests_total{route=\"/v1/chat/completions\",class=\"normal\",http_code=\"200\""),
            std::string::npos);
}

TEST(HttpServerTest, EveryRequestButProbesIsRecordedOnce) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  fixture.Do("POST", kChat, kAsk);
  fixture.Do("POST", kChat, "{not json");
  fixture.Do("POST", "/tokenize", R"({"prompt":"x"})");
  fixture.Do("POST", "/detokenize", R"({"tokens":[-1]})");
  fixture.Do("GET", "/v1/models");
  fixture.Do("GET", "/v1/models/nobody");
  fixture.Do("GET", "/nothing");
  fixture.Do("GET", "/health/live");
  fixture.Do("GET", "/version");
  // A client that leaves before its answer, with and without a pipeline.
  std::atomic<bool> release{false};
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(fixture.base.service->workers().TryPost([&] {
      while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }));
  }
  for (const auto& [path, body] : {std::pair{kChat, kAsk}, std::pair{std::string_view("/tokenize"), kAsk}}) {
    RawHttpClient gone(fixture.port());
    gone.Send(RawHttpClient::Request("POST", path, body));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.Empty(); })) << "a slot is kept for a client that has gone";
  release.store(true);
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0; }));
  const auto finished = [](std::string_view route, std::string_view code, std::string_view outcome,
                           std::string_view reason) {
    std::string series = "hadal_requests_total{route=\"";
    series.append(route).append("\",class=\"normal\",http_code=\"").append(code).append("\",grpc_code=\"\",outcome=\"");
    return series.append(outcome).append("\",reason=\"").append(reason).append("\"}");
  };
  std::vector<std::string> expected = {
      finished(kChat, "200", "ok", ""),
      finished(kChat, "400", "invalid", "INVALID_REQUEST"),
      finished(kChat, "499", "cancelled", "CANCELLED"),
      finished("/tokenize", "200", "ok", ""),
      finished("/tokenize", "499", "cancelled", "CANCELLED"),
      finished("/detokenize", "400", "invalid", "INVALID_REQUEST"),
      finished("/v1/models", "200", "ok", ""),
      finished("/v1/models/{id}", "404", "invalid", "MODEL_NOT_FOUND"),
      finished("unknown", "404", "invalid", "ROUTE_NOT_FOUND"),
  };
  for (const std::string& series : expected) EXPECT_EQ(MetricValue(fixture.base.metrics, series), 1) << series;
  const std::string scrape = fixture.base.metrics.Expose();
  EXPECT_EQ(scrape.find("route=\"/health"), std::string::npos);
  EXPECT_EQ(scrape.find("route=\"/version"), std::string::npos);
}

TEST(HttpServerTest, Http2ConnectionsAreHandedOnUntouched) {
  std::atomic<int> adopted{-1};
  HttpFixture::Options options;
  options.adopt_http2 = [&](int fd) { adopted.store(fd); };
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  RawHttpClient client(fixture.port());
  // The preface may come in pieces.
  client.Send(kPreface.substr(0, 1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  client.Send(kPreface.substr(1, 9));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  client.Send(kPreface.substr(10));
  ASSERT_TRUE(fixture.WaitFor([&] { return adopted.load() >= 0; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  char bytes[64];
  const ssize_t size = ::recv(adopted.load(), bytes, sizeof(bytes), MSG_DONTWAIT);
  ASSERT_GT(size, 0);
  EXPECT_EQ(std::string_view(bytes, static_cast<size_t>(size)), kPreface);
  ::close(adopted.load());
  EXPECT_TRUE(client.WaitClosed());
}

TEST(HttpServerTest, DeadlinesReachTheRequest) {
  std::atomic<int64_t> left_ms{0};
  HttpFixture fixture([&](const request::Request& request) {
    left_ms.store(absl::ToInt64Milliseconds(request.deadline - request.arrival));
    return Script{};
  });
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-hadal-deadline-ms: 2500\r\n").status, 200);
  EXPECT_EQ(left_ms.load(), 2500);
  // More milliseconds than a number holds are no deadline, not one that has passed.
  for (const std::string huge : {"9223372036854775807", "99999999999999999999"}) {
    EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-hadal-deadline-ms: " + huge + "\r\n").status, 200) << huge;
    EXPECT_GT(left_ms.load(), int64_t{1} << 60) << huge;
  }
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
