// SPDX-License-Identifier: Apache-2.0
// What every request passes: keys, ids, deadlines, routes that run nothing, and the record of it.
#include "server/http/api_handler.h"

#include <atomic>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::MetricValue;
using hadal::testing::RawHttpClient;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using nlohmann::json;

TEST(ApiHandlerTest, KeysDecideWhoMayAskAndInWhichClass) {
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

TEST(ApiHandlerTest, RequestIdsAreEchoedWhenSane) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  EXPECT_EQ(fixture.Do("GET", "/version", "", "x-request-id: trace:12/ab_c.d\r\n").Header("x-request-id"),
            "trace:12/ab_c.d");
  const std::string own = fixture.Do("GET", "/version", "", "x-request-id: a b\r\n").Header("x-request-id");
  EXPECT_EQ(own.substr(0, 4), "req-");
  EXPECT_NE(fixture.Do("GET", "/version").Header("x-request-id"), own);
}

TEST(ApiHandlerTest, ModelsVersionAndMetrics) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const json models = HttpFixture::Json(fixture.Do("GET", "/v1/models"));
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "demo");
  EXPECT_EQ(models["data"][0]["object"], "model");
  EXPECT_EQ(models["data"][0]["max_model_len"], 512);
  EXPECT_EQ(models["data"][0]["context_length"], 512);
  const json& capabilities = models["data"][0]["capabilities"];
  for (const char* offered : {"chat", "completions", "tools", "thinking", "structured_outputs"}) {
    EXPECT_EQ(capabilities[offered]["supported"], true) << offered;
  }
  for (const char* other : {"thinking_switch", "effort", "embeddings", "image_input", "audio_input"}) {
    EXPECT_EQ(capabilities[other]["supported"], false) << other;
  }
  // Anthropic's clients look for these.
  EXPECT_EQ(models["data"][0]["type"], "model");
  EXPECT_EQ(models["has_more"], false);
  EXPECT_EQ(models["last_id"], "demo");
  EXPECT_EQ(HttpFixture::Json(fixture.Do("GET", "/v1/models/d%65mo"))["id"], "demo");
  EXPECT_EQ(fixture.Do("GET", "/models").status, 200);
  EXPECT_EQ(fixture.Do("GET", "/beta/v1/models").status, 200);
  ExpectError(fixture.Do("GET", "/v1/models/nobody"), 404, "MODEL_NOT_FOUND");
  RawHttpClient head(fixture.port());
  head.Send(RawHttpClient::Request("HEAD", "/health/live"));
  EXPECT_EQ(head.ReadHead().status, 200);
  EXPECT_EQ(head.Do("GET", "/version").status, 200);  // no body was sent for HEAD

  fixture.Do("POST", kChat, kAsk);
  const HttpReply metrics = fixture.Do("GET", "/metrics");
  EXPECT_EQ(metrics.Header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(metrics.body.find("hadal_requests_total{route=\"/v1/chat/completions\",class=\"normal\",http_code=\"200\""),
            std::string::npos);
}

TEST(ApiHandlerTest, WhatIsNoTextIsNotOffered) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  for (const char* path : {"/v1/embeddings", "/v1/images/generations", "/audio/speech"}) {
    const HttpReply reply = fixture.Do("POST", path, "{}");
    ExpectError(reply, 501, "UNSUPPORTED");
    EXPECT_NE(reply.body.find("not offered: this server generates text, at /v1/chat/completions"), std::string::npos);
  }
  ExpectError(fixture.Do("POST", "/v1/embeddingsx", "{}"), 404, "ROUTE_NOT_FOUND");
}

TEST(ApiHandlerTest, EveryRequestButProbesIsRecordedOnce) {
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
  {
    RawHttpClient chat(fixture.port()), tokenize(fixture.port());
    chat.Send(RawHttpClient::Request("POST", kChat, kAsk));
    tokenize.Send(RawHttpClient::Request("POST", "/tokenize", kAsk));
    EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->active_calls() == 1; }));
    std::this_thread::sleep_for(std::chrono::seconds(1));  // nothing shows that the other one has arrived
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

TEST(ApiHandlerTest, DeadlinesReachTheRequest) {
  std::atomic<int64_t> left_ms{0}, first_ms{0};
  HttpFixture fixture([&](const request::Request& request) {
    left_ms.store(absl::ToInt64Milliseconds(request.deadline - request.arrival));
    first_ms.store(absl::ToInt64Milliseconds(request.first_token_by - request.arrival));
    return Script{};
  });
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-hadal-deadline-ms: 62500\r\n").status, 200);
  EXPECT_EQ(left_ms.load(), 62500);
  EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-llm-d-slo-ttft-ms: 60800\r\n").status, 200);
  EXPECT_EQ(first_ms.load(), 60800);
  // More milliseconds than a number holds are no deadline, not one that has passed.
  for (const std::string huge : {"9223372036854775807", "99999999999999999999"}) {
    EXPECT_EQ(fixture.Do("POST", kChat, kAsk, "x-hadal-deadline-ms: " + huge + "\r\n").status, 200) << huge;
    EXPECT_GT(left_ms.load(), int64_t{1} << 60) << huge;
  }
}

}  // namespace
}  // namespace hadal::http
