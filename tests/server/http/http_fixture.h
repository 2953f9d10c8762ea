// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "nlohmann/json.hpp"
#include "server/http/http_server.h"
#include "tests/support/raw_http_client.h"
#include "tests/support/service_fixture.h"

namespace hadal::testing {

// A whole HTTP server on a free port, with a scripted engine behind it.
class HttpFixture {
 public:
  struct Options {
    ServiceFixture::Options service;
    http::HttpOptions http;
    std::string keys;  // lines of a key file
    std::function<void(int)> adopt_http2;
  };

  explicit HttpFixture(ScriptedEngine::MakeScript script) : HttpFixture(std::move(script), Options()) {}
  HttpFixture(ScriptedEngine::MakeScript script, Options options) : base(std::move(script), options.service) {
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
    server = http::HttpServer::Create(options.http, std::move(dependencies)).value();
    server->Start();
  }
  ~HttpFixture() { server->Stop(); }

  int port() const { return server->port(); }
  HttpReply Do(std::string_view method, std::string_view path, std::string_view body = {},
               std::string_view headers = {}) {
    RawHttpClient client(port());
    return client.Do(method, path, body, headers);
  }
  static nlohmann::json Json(const HttpReply& reply) { return nlohmann::json::parse(reply.body, nullptr, false); }
  // The JSON events of a stream; [DONE] and comments are left out.
  static std::vector<nlohmann::json> Events(std::string_view body) {
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
  bool WaitFor(const std::function<bool()>& condition, int timeout_ms = 5000) {
    for (int i = 0; i < timeout_ms; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  ServiceFixture base;
  std::unique_ptr<http::HttpServer> server;
};

inline constexpr std::string_view kChat = "/v1/chat/completions";
inline constexpr std::string_view kAsk = R"({"messages":[{"role":"user","content":"17 + 25"}]})";

// Requests that run until they are cancelled.
inline ScriptedEngine::MakeScript Holds() {
  return [](const request::Request&) {
    Script script;
    script.hold = true;
    return script;
  };
}

// An error object with that status and code; all four members are there.
inline void ExpectError(const HttpReply& reply, int status, std::string_view code) {
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
