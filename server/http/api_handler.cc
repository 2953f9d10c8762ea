// SPDX-License-Identifier: Apache-2.0
#include "server/http/api_handler.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/admin_routes.h"
#include "server/http/batch_routes.h"
#include "server/http/call_handler.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/route.h"
#include "server/http/ollama_models.h"
#include "server/http/page.h"
#include "server/http/recorded_response.h"
#include "server/http/unary_handler.h"
#include "server/request/refusal.h"
#include "server/service/call_limits.h"
#include "server/service/returning_client.h"
#include "server/service/trace_context.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;

// Bytes of a client's header that messages repeat.
constexpr size_t kShownOriginBytes = 128;
constexpr size_t kShownCodingBytes = 32;

// 431, 414, 413 and broken requests: the reader knows what is wrong.
Response UnreadResponse(const Connection& connection) {
  Response response = ErrorResponse(connection.read_error(), connection.context().options.overload_http_status,
                                    ApiOf(connection.head().target));
  if (connection.target_too_long()) response.status = 414;
  return response;
}

// What a route takes, for OPTIONS: from a browser before a page's request (preflight), or from anybody. Without a key,
// because a browser sends none here.
asio::awaitable<void> HandleOptions(Connection& connection, const service::CallInfo& info) {
  const RequestHead& head = connection.head();
  const CorsPolicy& cors = connection.context().options.cors;
  std::string allow = "GET, HEAD, POST, DELETE, OPTIONS";
  if (head.target != "*") {
    const absl::StatusOr<RouteMatch> match = FindRoute(head.method, head.target, &allow);
    if (request::GetErrorDetail(match.status()).reason != Reason::kMethodNotAllowed) {
      co_await Refuse(connection, info, match.status());
      co_return;
    }
  }
  Response response;
  response.status = 204;
  response.content_type.clear();
  response.headers.emplace_back("allow", allow);
  if (!head.origin.empty() && !head.cors_method.empty()) {
    if (!cors.Allows(head.origin)) {
      co_await Refuse(connection, info,
                      MakeError(Reason::kPermissionDenied,
                                absl::StrCat("pages of ", head.origin.substr(0, kShownOriginBytes),
                                             " may not ask this server; --cors-origin names those that may")));
      co_return;
    }
    cors.AddToPreflight(allow, head.cors_headers, &response.headers);
  }
  co_await SendRecorded(connection, info, absl::OkStatus(), std::move(response));
}

// Health, metrics and version: for machines that ask all the time, so they are not recorded. nullopt: another route.
std::optional<Response> ProbeResponse(const ServerContext& context, Route route) {
  switch (route) {
    case Route::kHealthLive:
    case Route::kHealthReady:
    case Route::kHealthStartup: {
      HealthReport report;
      if (context.dependencies.health) report = context.dependencies.health();
      return HealthResponse(report, route);
    }
    case Route::kMetrics: {
      if (context.dependencies.metrics == nullptr) {
        return ErrorResponse(MakeError(Reason::kRouteNotFound, "metrics are switched off"), 503);
      }
      Response response;
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = context.dependencies.metrics->Expose();
      return response;
    }
    case Route::kVersion:
      return VersionResponse(context.options.version);
    default:
      return std::nullopt;
  }
}

// Static, and for whoever may look: not recorded, like probes. A page that is off is a route that does not exist.
asio::awaitable<void> HandlePage(Connection& connection, const RouteMatch& match, const service::CallInfo& info) {
  const ServerContext& context = connection.context();
  absl::StatusOr<Response> response =
      context.options.ServesPage(!context.dependencies.keys.empty())
          ? PageResponse(match.parameter, connection.head().if_none_match)
          : MakeError(Reason::kRouteNotFound, "the page is off; --page=on serves it here, too");
  if (response.ok()) {
    co_await connection.Send(*std::move(response));
  } else {
    co_await Refuse(connection, info, response.status());
  }
}

bool IsAboutModels(Route route) {
  return route == Route::kModels || route == Route::kModel || route == Route::kOllamaTags ||
         route == Route::kOllamaPs || route == Route::kOllamaVersion;
}

absl::StatusOr<Response> Models(const service::GenerateService& service, const RouteMatch& match) {
  switch (match.route) {
    case Route::kModels:
      return ModelsResponse(service.ListModels());
    case Route::kOllamaTags:
    case Route::kOllamaPs:
      return OllamaModelsResponse(service.ListModels(), /*in_memory=*/match.route == Route::kOllamaPs);
    case Route::kOllamaVersion:
      return OllamaVersionResponse();
    default:
      break;
  }
  absl::StatusOr<service::ModelTable::Entry> entry = service.FindModel(match.parameter);
  if (!entry.ok()) return entry.status();
  return ModelResponse(*entry->model, match.parameter);
}

asio::awaitable<void> HandleModels(Connection& connection, const RouteMatch& match, const service::CallInfo& info) {
  absl::StatusOr<Response> response = Models(*connection.context().dependencies.service, match);
  if (response.ok()) {
    co_await SendRecorded(connection, info, absl::OkStatus(), *std::move(response));
  } else {
    co_await Refuse(connection, info, response.status());
  }
}

// Routes that ask neither a model nor a worker.
bool IsShort(Route route) { return IsAboutModels(route) || IsBatchRoute(route); }

asio::awaitable<void> HandleShort(Connection& connection, const RouteMatch& match, const service::CallInfo& info) {
  if (IsBatchRoute(match.route)) {
    co_await HandleBatchRoute(connection, match, info);
  } else {
    co_await HandleModels(connection, match, info);
  }
}

// Who asks, and in which class; and whether the body is one that we read. Fills in the caller, on failure further
// fields of the response.
absl::Status ReadCaller(const Connection& connection, service::CallInfo* info, bool* priority_from_header,
                        Headers* headers) {
  const RequestHead& head = connection.head();
  const std::optional<request::Priority> wanted = service::ParsePriority(head.priority);
  if (!head.priority.empty() && !wanted.has_value()) {
    return MakeError(Reason::kOutOfRange,
                     absl::StrCat("the header x-hadal-priority must be high, normal, low or batch, not '",
                                  head.priority.substr(0, kShownWordBytes), "'"),
                     "x-hadal-priority");
  }
  *priority_from_header = wanted.has_value();
  // Not guessed: a client that forbids it must not find its prompt elsewhere, nor take another answer for its own.
  for (const auto& [name, value] :
       {std::pair<std::string_view, const std::string&>{"x-hadal-allow-fallback", head.allow_fallback},
        {"x-hadal-allow-degraded", head.allow_degraded}}) {
    if (value.empty() || value == "0" || value == "1") continue;
    return MakeError(
        Reason::kOutOfRange,
        absl::StrCat("the header ", base::View(name), " must be 0 or 1, not '", value.substr(0, kShownWordBytes), "'"),
        name);
  }
  if (connection.lacks_certificate()) return service::MissingCertificate();
  // Where both are sent Authorization counts, as in the hosted API.
  const std::string authorization =
      head.authorization.empty() && !head.api_key.empty() ? "Bearer " + head.api_key : head.authorization;
  absl::StatusOr<service::Caller> caller = connection.context().dependencies.keys.Authenticate(authorization, wanted);
  if (!caller.ok()) {
    if (HttpStatusOf(caller.status(), 503) == 401) headers->emplace_back("www-authenticate", "Bearer");
    return caller.status();
  }
  info->caller = *std::move(caller);
  service::NoteReturnHeaders({head.idempotency_key, head.retry_count, head.client, head.ticket}, info);
  info->allow_degraded = head.allow_degraded != "0";
  const absl::StatusOr<response_cache::CacheControl> cache = response_cache::ParseCacheControl(head.cache);
  if (!cache.ok()) return cache.status();
  info->cache = *cache;
  if (!head.content_encoding.empty()) {
    headers->emplace_back("accept-encoding", "identity");
    return MakeError(Reason::kUnsupportedMediaType,
                     absl::StrCat("the body's Content-Encoding is ", head.content_encoding.substr(0, kShownCodingBytes),
                                  "; bodies are taken as they are, not compressed"));
  }
  return absl::OkStatus();
}

}  // namespace

asio::awaitable<void> HandleRequest(Connection& connection) {
  const ServerContext& context = connection.context();
  service::CallInfo info = InfoOf(connection, kUnknownRoute);
  connection.SetTraceResponse(service::TraceResponse(info.trace));
  if (!connection.read_error().ok()) {
    co_await SendRecorded(connection, info, connection.read_error(), UnreadResponse(connection));
    co_return;
  }
  const RequestHead& head = connection.head();
  if (head.method == "OPTIONS") {
    co_await HandleOptions(connection, info);
    co_return;
  }
  std::string allow;
  absl::StatusOr<RouteMatch> match = FindRoute(head.method, head.target, &allow);
  if (!match.ok()) {
    Headers headers;
    if (!allow.empty()) headers.emplace_back("allow", allow);
    co_await Refuse(connection, info, match.status(), std::move(headers));
    co_return;
  }
  if (match->route == Route::kPage) {
    co_await HandlePage(connection, *match, info);
    co_return;
  }
  info.route = match->name;
  if (std::optional<Response> response = ProbeResponse(context, match->route); response.has_value()) {
    co_await connection.Send(*std::move(response));
    co_return;
  }

  Headers headers;
  bool priority_from_header = false;
  if (absl::Status status = ReadCaller(connection, &info, &priority_from_header, &headers); !status.ok()) {
    co_await Refuse(connection, info, std::move(status), std::move(headers));
    co_return;
  }

  if (IsShort(match->route)) {
    co_await HandleShort(connection, *match, info);
    co_return;
  }
  if (const UnaryAnswer answer = UnaryAnswerOf(match->route); answer != nullptr) {
    co_await HandleUnary(connection, answer, *match, info);
    co_return;
  }
  const service::LimitHeaders limits = {.deadline_ms = head.deadline_ms,
                                        .queue = head.queue,
                                        .sdk_timeout = head.sdk_timeout,
                                        .read_timeout = head.read_timeout,
                                        .slo_ttft_ms = head.slo_ttft_ms};
  if (absl::Status status = service::ReadLimits(limits, &info); !status.ok()) {
    co_await Refuse(connection, info, std::move(status));
    co_return;
  }
  co_await HandleCall(connection, match->route, std::move(info), priority_from_header);
}

asio::awaitable<void> HandleProbe(Connection& connection) {
  if (!connection.read_error().ok()) {
    co_await connection.Send(UnreadResponse(connection));
    co_return;
  }
  const ServerContext& context = connection.context();
  std::string allow;
  const absl::StatusOr<RouteMatch> match = FindRoute(connection.head().method, connection.head().target, &allow);
  std::optional<Response> response;
  if (match.ok()) response = ProbeResponse(context, match->route);
  if (!response.has_value()) {
    const absl::Status status =
        match.ok() ? MakeError(Reason::kRouteNotFound, "this port has /health, /metrics and /version alone")
                   : match.status();
    response = ErrorResponse(status, context.options.overload_http_status);
    if (!allow.empty()) response->headers.emplace_back("allow", allow);
  }
  co_await connection.Send(*std::move(response));
}

}  // namespace hadal::http
