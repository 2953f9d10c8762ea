// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/base/network.h"
#include "server/batches/batch_service.h"
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
    std::function<void(int, base::Peer)> adopt_http2;
    batches::BatchService* batches = nullptr;
    tls::Terminator* tls = nullptr;
    upstream::Upstreams* upstreams = nullptr;
  };

  explicit HttpFixture(ScriptedEngine::MakeScript script) : HttpFixture(std::move(script), Options()) {}
  HttpFixture(ScriptedEngine::MakeScript script, Options options);
  ~HttpFixture() { server->Stop(); }

  int port() const { return server->port(); }
  HttpReply Do(std::string_view method, std::string_view path, std::string_view body = {},
               std::string_view headers = {});
  static nlohmann::json Json(const HttpReply& reply);
  // The JSON events of a stream; [DONE] and comments are left out.
  static std::vector<nlohmann::json> Events(std::string_view body);
  bool WaitFor(const std::function<bool()>& condition, int timeout_ms = RawHttpClient::kPatienceMs);

  ServiceFixture base;
  std::unique_ptr<http::HttpServer> server;
};

// A server whose queue is full: one request waits, the only one that may, and the engine takes none.
class FullHttpFixture : public HttpFixture {
 public:
  explicit FullHttpFixture(Options options = Options());

 private:
  RawHttpClient waiting_;
};

inline constexpr std::string_view kChat = "/v1/chat/completions";
inline constexpr std::string_view kAsk = R"({"messages":[{"role":"user","content":"17 + 25"}]})";

// Requests that run until they are cancelled.
ScriptedEngine::MakeScript Holds();

// The reply to a stream that fails with INTERNAL, "broken", once the client has read `begun` of it.
HttpReply ReplyThatFails(std::string_view path, std::string_view body, std::string_view begun);

// An error object with that status and code; all four members are there.
void ExpectError(const HttpReply& reply, int status, std::string_view code);

}  // namespace hadal::testing
