// SPDX-License-Identifier: Apache-2.0
#include "server/http/token_routes.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/http/completion_codec.h"
#include "server/http/json_writer.h"
#include "server/http/messages_codec.h"
#include "server/http/recorded_response.h"
#include "server/http/render_route.h"
#include "server/http/response_encoder.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;

absl::Status Tokenize(const service::GenerateService& service, RequestBody* body, int max_depth, Response* response) {
  absl::StatusOr<TokenizeBody> decoded = DecodeTokenize(body->text, max_depth);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  service::TokenizeCall call;
  call.model = std::move(decoded->model);
  call.text = std::move(decoded->prompt);
  call.messages = std::move(decoded->messages);
  call.tools = std::move(decoded->tools);
  call.add_special_tokens = decoded->add_special_tokens;
  call.add_generation_prompt = decoded->add_generation_prompt;
  call.thinking = decoded->thinking;
  call.template_arguments_json = std::move(decoded->template_arguments_json);
  call.documents_json = std::move(decoded->documents_json);
  call.parse_special_tokens = decoded->parse_special_tokens;
  absl::StatusOr<service::TokenizeResult> result = service.Tokenize(call);
  if (!result.ok()) return result.status();
  std::string ids;
  AppendTokenIds(result->token_ids, &ids);
  JsonWriter json(&response->body);
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

absl::Status Detokenize(const service::GenerateService& service, RequestBody* body, int max_depth, Response* response) {
  absl::StatusOr<DetokenizeBody> decoded = DecodeDetokenize(body->text, max_depth);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<std::string> text = service.Detokenize(decoded->model, decoded->tokens, decoded->skip_special_tokens);
  if (!text.ok()) return text.status();
  JsonWriter(&response->body).BeginObject().Key("prompt").String(*text).EndObject();
  return absl::OkStatus();
}

// As many as a call of the same body would take as its prompt.
absl::Status CountTokens(const service::GenerateService& service, RequestBody* body, int max_depth,
                         Response* response) {
  absl::StatusOr<MessagesBody> decoded = DecodeMessages(body->text, max_depth, /*counting=*/true);
  std::string().swap(body->text);
  if (!decoded.ok()) return decoded.status();
  absl::StatusOr<service::TokenizeResult> result = service.TokenizeChat(decoded->call);
  if (!result.ok()) return result.status();
  JsonWriter(&response->body)
      .BeginObject()
      .Key("input_tokens")
      .Int(static_cast<int64_t>(result->token_ids.size()))
      .EndObject();
  return absl::OkStatus();
}

absl::Status RunTokenRoute(service::GenerateService& service, Route route, std::string_view request_id,
                           RequestBody* body, int max_depth, Response* response) {
  switch (route) {
    case Route::kTokenize:
      return Tokenize(service, body, max_depth, response);
    case Route::kDetokenize:
      return Detokenize(service, body, max_depth, response);
    case Route::kCountTokens:
      return CountTokens(service, body, max_depth, response);
    default:
      return Render(service, route, request_id, body, max_depth, response);
  }
}

// The body is freed as soon as it has been parsed. Its lease then stands for the response, which can be larger and is
// kept as long as the client takes to read it.
absl::Status Convert(service::GenerateService& service, Route route, std::string_view request_id, RequestBody* body,
                     int max_depth, Response* response) {
  absl::Status status = RunTokenRoute(service, route, request_id, body, max_depth, response);
  if (status.ok()) status = body->lease.Resize(static_cast<int64_t>(response->body.capacity()));
  return status;
}

// Runs `job` on a worker and waits for it on the connection's thread; false when the workers' queue is full. The job is
// left out when the client has gone before it began.
asio::awaitable<bool> RunOnWorker(Connection& connection, service::WorkerPool::Lane lane, std::function<void()> job) {
  struct State {
    std::atomic<bool> abandoned{false};
    bool done = false;  // on the connection's thread
  };
  const auto state = std::make_shared<State>();
  // The event moves on into the posted handler: when that has run, the worker holds nothing of this thread any more.
  const bool posted = connection.context().dependencies.service->workers().TryPost(
      [state, event = connection.shared_event(), job = std::move(job)]() mutable {
        if (!state->abandoned.load()) job();
        const asio::any_io_executor executor = event->executor();
        asio::post(executor, [state, event = std::move(event)] {
          state->done = true;
          event->Set();
        });
      },
      lane);
  if (!posted) co_return false;
  while (!state->done) {
    co_await connection.event().Wait();
    if (connection.disconnected()) state->abandoned.store(true);
  }
  co_return true;
}

}  // namespace

asio::awaitable<void> HandleTokens(Connection& connection, Route route, service::CallInfo info) {
  service::GenerateService& service = *connection.context().dependencies.service;
  RequestBody body;
  absl::Status status = co_await connection.ReadBody(service::SenderOf(info), &body);
  if (connection.disconnected()) {
    RecordGone(connection, info);
    co_return;
  }
  if (!status.ok()) {
    co_await Refuse(connection, std::move(info), std::move(status));
    co_return;
  }
  connection.WatchDisconnect();
  Response response;
  const int max_depth = connection.context().options.max_json_depth;
  const auto lane = service::WorkerPool::LaneFor(static_cast<int64_t>(body.text.size()));
  const bool ran = co_await RunOnWorker(connection, lane, [&] {
    status = Convert(service, route, connection.request_id(), &body, max_depth, &response);
  });
  if (!ran) status = service::WorkersBusy();
  if (connection.disconnected()) {
    RecordGone(connection, info);
  } else if (!status.ok()) {
    co_await Refuse(connection, std::move(info), std::move(status));
  } else {
    co_await SendRecorded(connection, std::move(info), absl::OkStatus(), std::move(response));
  }
}

}  // namespace hadal::http
