// SPDX-License-Identifier: Apache-2.0
#include "server/http/api_handler.h"

#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/admin_routes.h"
#include "server/http/call_answer.h"
#include "server/http/call_handler.h"
#include "server/http/completion_codec.h"
#include "server/http/json_writer.h"
#include "server/http/route.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;

void Record(Connection& connection, std::string_view route, absl::Time arrival, const absl::Status& status,
            int http_status) {
  service::GenerateService& service = *connection.context().dependencies.service;
  service::CallRecord record;
  record.protocol = "http";
  record.route = route;
  record.outcome = service::OutcomeOf(status);
  record.reason = status.ok() ? Reason::kNone : request::GetErrorDetail(status).reason;
  record.http_status = http_status;
  record.request_id = connection.request_id();
  record.duration = service.clock().Now() - arrival;
  service.Record(record);
}

asio::awaitable<void> Refuse(Connection& connection, std::string_view route, absl::Time arrival, absl::Status status,
                             Headers headers = {}) {
  Answer answer = ErrorAnswer(status, connection.context().options.overload_http_status);
  for (auto& header : headers) answer.headers.push_back(std::move(header));
  Record(connection, route, arrival, status, answer.status);
  co_await connection.Send(std::move(answer));
}

// 431, 414, 413 and broken requests: the reader knows what is wrong.
asio::awaitable<void> RefuseUnread(Connection& connection, absl::Time arrival) {
  Answer answer = ErrorAnswer(connection.read_error(), connection.context().options.overload_http_status);
  if (connection.target_too_long()) answer.status = 414;
  Record(connection, kUnknownRoute, arrival, connection.read_error(), answer.status);
  co_await connection.Send(std::move(answer));
}

absl::Status Tokenize(const service::GenerateService& service, const std::string& body, int max_depth, Answer* answer) {
  absl::StatusOr<TokenizeBody> decoded = DecodeTokenize(body, max_depth);
  if (!decoded.ok()) return decoded.status();
  service::TokenizeCall call;
  call.model = std::move(decoded->model);
  call.text = std::move(decoded->prompt);
  call.messages = std::move(decoded->messages);
  call.tools = std::move(decoded->tools);
  call.add_special_tokens = decoded->add_special_tokens;
  call.add_generation_prompt = decoded->add_generation_prompt;
  call.thinking = decoded->thinking;
  absl::StatusOr<service::TokenizeResult> result = service.Tokenize(call);
  if (!result.ok()) return result.status();
  std::string ids;
  AppendTokenIds(result->token_ids, &ids);
  JsonWriter json(&answer->body);
  json.BeginObject().Key("count").Int(static_cast<int64_t>(result->token_ids.size()));
  json.Key("max_model_len").Int(result->model->info.max_model_len).Key("tokens").Raw(ids).Key("token_strs");
  if (decoded->return_token_strs) {
    json.BeginArray();
    for (const int32_t id : result->token_ids) json.String(TokenText(*result->model->tokenizer, id));
    json.EndArray();
  } else {
    json.Null();
  }
  json.EndObject();
  return absl::OkStatus();
}

absl::Status Detokenize(const service::GenerateService& service, const std::string& body, int max_depth,
                        Answer* answer) {
  absl::StatusOr<DetokenizeBody> decoded = DecodeDetokenize(body, max_depth);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<std::string> text = service.Detokenize(decoded->model, decoded->tokens, decoded->skip_special_tokens);
  if (!text.ok()) return text.status();
  JsonWriter(&answer->body).BeginObject().Key("prompt").String(*text).EndObject();
  return absl::OkStatus();
}

// /tokenize and /detokenize: no queue slot is needed, the workers' bounded queue is the limit.
asio::awaitable<void> HandleTokens(Connection& connection, const RouteMatch& route, absl::Time arrival) {
  service::GenerateService& service = *connection.context().dependencies.service;
  std::string body;
  absl::Status status = co_await connection.ReadBody(&body);
  if (connection.disconnected()) co_return;
  if (!status.ok()) {
    co_await Refuse(connection, route.name, arrival, std::move(status));
    co_return;
  }
  connection.WatchDisconnect();
  Answer answer;
  const int max_depth = connection.context().options.max_json_depth;
  const bool ran = co_await RunOnWorker(connection, [&] {
    status = route.route == Route::kTokenize ? Tokenize(service, body, max_depth, &answer)
                                             : Detokenize(service, body, max_depth, &answer);
  });
  if (connection.disconnected()) co_return;
  if (!ran) status = WorkersBusy();
  if (!status.ok()) {
    co_await Refuse(connection, route.name, arrival, status);
    co_return;
  }
  Record(connection, route.name, arrival, absl::OkStatus(), 200);
  co_await connection.Send(std::move(answer));
}

// Answers that need neither body nor worker. nullopt: the route is not one of them.
std::optional<Answer> AdminAnswer(Connection& connection, const RouteMatch& match) {
  const ServerContext& context = connection.context();
  service::GenerateService& service = *context.dependencies.service;
  switch (match.route) {
    case Route::kHealthLive:
    case Route::kHealthReady:
    case Route::kHealthStartup: {
      HealthReport report;
      if (context.dependencies.health) report = context.dependencies.health();
      return HealthAnswer(report, match.route);
    }
    case Route::kMetrics: {
      if (context.dependencies.metrics == nullptr) {
        return ErrorAnswer(MakeError(Reason::kRouteNotFound, "metrics are switched off"), 503);
      }
      Answer answer;
      answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
      answer.body = context.dependencies.metrics->Expose();
      return answer;
    }
    case Route::kVersion:
      return VersionAnswer(context.options.version);
    case Route::kModels:
      return ModelsAnswer(service.ListModels());
    case Route::kModel: {
      absl::StatusOr<service::ModelTable::Entry> entry = service.FindModel(match.parameter);
      if (!entry.ok()) return ErrorAnswer(entry.status(), context.options.overload_http_status);
      return ModelAnswer(*entry->model, match.parameter);
    }
    default:
      return std::nullopt;
  }
}

bool NeedsKey(Route route) {
  return route != Route::kMetrics && route != Route::kHealthLive && route != Route::kHealthReady &&
         route != Route::kHealthStartup && route != Route::kVersion;
}

absl::StatusOr<absl::Time> ParseDeadline(std::string_view milliseconds, absl::Time arrival) {
  if (milliseconds.empty()) return absl::InfiniteFuture();
  int64_t value = 0;
  const auto parsed = std::from_chars(milliseconds.data(), milliseconds.data() + milliseconds.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != milliseconds.data() + milliseconds.size() || value < 1) {
    return MakeError(Reason::kOutOfRange,
                     "the header x-hadal-deadline-ms must be a whole number of milliseconds, 1 or more",
                     "x-hadal-deadline-ms");
  }
  return arrival + absl::Milliseconds(value);
}

}  // namespace

asio::awaitable<void> HandleRequest(Connection& connection) {
  const ServerContext& context = connection.context();
  const absl::Time arrival = context.dependencies.service->clock().Now();
  if (!connection.read_error().ok()) {
    co_await RefuseUnread(connection, arrival);
    co_return;
  }
  const RequestHead& head = connection.head();
  std::string allow;
  absl::StatusOr<RouteMatch> match = FindRoute(head.method, head.target, &allow);
  if (!match.ok()) {
    Headers headers;
    if (!allow.empty()) headers.emplace_back("allow", allow);
    co_await Refuse(connection, kUnknownRoute, arrival, match.status(), std::move(headers));
    co_return;
  }

  CallContext call;
  if (NeedsKey(match->route)) {
    const std::optional<request::Priority> wanted = service::ParsePriority(head.priority);
    if (!head.priority.empty() && !wanted.has_value()) {
      co_await Refuse(connection, match->name, arrival,
                      MakeError(Reason::kOutOfRange, "the header x-hadal-priority must be high, normal, low or batch",
                                "x-hadal-priority"));
      co_return;
    }
    absl::StatusOr<service::Caller> caller = context.dependencies.keys.Authenticate(head.authorization, wanted);
    if (!caller.ok()) {
      Headers headers;
      if (HttpStatusOf(caller.status(), 503) == 401) headers.emplace_back("www-authenticate", "Bearer");
      co_await Refuse(connection, match->name, arrival, caller.status(), std::move(headers));
      co_return;
    }
    call.caller = *std::move(caller);
    call.priority_from_header = wanted.has_value();
  }

  if (std::optional<Answer> answer = AdminAnswer(connection, *match); answer.has_value()) {
    co_await connection.Send(*std::move(answer));
    co_return;
  }
  if (match->route == Route::kTokenize || match->route == Route::kDetokenize) {
    co_await HandleTokens(connection, *match, arrival);
    co_return;
  }
  absl::StatusOr<absl::Time> deadline = ParseDeadline(head.deadline_ms, arrival);
  if (!deadline.ok()) {
    co_await Refuse(connection, match->name, arrival, deadline.status());
    co_return;
  }
  call.route = *std::move(match);
  call.arrival = arrival;
  call.deadline = *deadline;
  co_await HandleCall(connection, std::move(call));
}

}  // namespace hadal::http
