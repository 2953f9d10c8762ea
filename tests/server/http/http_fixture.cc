// SPDX-License-Identifier: Apache-2.0
#include "tests/server/http/http_fixture.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/request/refusal.h"

namespace hadal::testing {
namespace {

HttpFixture::Options WithOnePlace(HttpFixture::Options options) {
  options.service.max_queue_requests = 1;
  return options;
}

}  // namespace

HttpFixture::HttpFixture(ScriptedEngine::MakeScript script, Options options)
    : base(std::move(script), options.service) {
  options.http.port = 0;
  http::HttpServer::Dependencies dependencies;
  dependencies.service = base.service.get();
  dependencies.metrics = &base.metrics;
  if (!options.keys.empty()) dependencies.keys = service::ApiKeys::Parse(options.keys, "keys").value();
  dependencies.health = [ready = options.service.ready] {
    http::HealthReport report;
    report.started = report.ready = ready;
    report.stage = ready ? "ready" : "loading";
    report.progress = ready ? 1 : 0.5;
    return report;
  };
  dependencies.adopt_http2 = options.adopt_http2;
  dependencies.batches = options.batches;
  dependencies.tls = options.tls;
  dependencies.upstreams = options.upstreams;
  server = http::HttpServer::Create(options.http, std::move(dependencies)).value();
  server->Start();
}

HttpReply HttpFixture::Do(std::string_view method, std::string_view path, std::string_view body,
                          std::string_view headers) {
  RawHttpClient client(port());
  return client.Do(method, path, body, headers);
}

nlohmann::json HttpFixture::Json(const HttpReply& reply) { return nlohmann::json::parse(reply.body, nullptr, false); }

std::vector<nlohmann::json> HttpFixture::Events(std::string_view body) {
  std::vector<nlohmann::json> events;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    const std::string_view event = body.substr(0, end);
    body.remove_prefix(end == std::string_view::npos ? body.size() : end + 2);
    if (event.substr(0, 6) == "data: " && event != "data: [DONE]") {
      events.push_back(nlohmann::json::parse(event.substr(6), nullptr, false));
    }
  }
  return events;
}

bool HttpFixture::WaitFor(const std::function<bool()>& condition, int timeout_ms) {
  for (int i = 0; i < timeout_ms; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

FullHttpFixture::FullHttpFixture(Options options)
    : HttpFixture(Holds(), WithOnePlace(std::move(options))), waiting_(port()) {
  base.engine->Pause(true);
  waiting_.Send(RawHttpClient::Request("POST", kChat, kAsk));
  EXPECT_TRUE(WaitFor([&] { return base.admission->QueuedRequests(0) == 1; }));
}

ScriptedEngine::MakeScript Holds() {
  return [](const request::Request&) {
    Script script;
    script.hold = true;
    return script;
  };
}

HttpReply ReplyThatFails(std::string_view path, std::string_view body, std::string_view begun) {
  const auto allowed = std::make_shared<std::atomic<int>>(2);
  HttpFixture fixture([&](const request::Request&) {
    Script script;
    script.tokens = DemoEncode("x</think>4");
    script.allowed = allowed;
    script.status = request::MakeError(request::Reason::kInternal, "broken");
    return script;
  });
  RawHttpClient client(fixture.port());
  client.Send(RawHttpClient::Request("POST", path, body));
  EXPECT_TRUE(client.WaitFor(begun));
  allowed->store(100);
  return client.Read();
}

void ExpectError(const HttpReply& reply, int status, std::string_view code) {
  EXPECT_EQ(reply.status, status) << reply.body;
  const nlohmann::json body = HttpFixture::Json(reply);
  ASSERT_TRUE(body.contains("error")) << reply.head << reply.body;
  EXPECT_EQ(body["error"]["code"], std::string(code));
  EXPECT_TRUE(body["error"]["message"].is_string());
  EXPECT_TRUE(body["error"]["type"].is_string());
  EXPECT_TRUE(body["error"].contains("param"));
  EXPECT_EQ(reply.Header("x-hadal-reason"), std::string(code));
  EXPECT_FALSE(reply.Header("x-should-retry").empty());
}

}  // namespace hadal::testing
