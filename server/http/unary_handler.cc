// SPDX-License-Identifier: Apache-2.0
#include "server/http/unary_handler.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "server/base/log_scope.h"
#include "server/http/control_route.h"
#include "server/http/ollama_models.h"
#include "server/http/recorded_response.h"
#include "server/http/render_route.h"
#include "server/http/token_routes.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;

// The body's lease stands for the response afterwards, which can be larger and is kept as long as the client takes to
// read it.
absl::Status Answer(UnaryAnswer answer, const UnaryContext& context, RequestBody* body, Response* response) {
  absl::Status status = answer(context, body, response);
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

UnaryAnswer UnaryAnswerOf(Route route) {
  switch (route) {
    case Route::kTokenize:
      return &Tokenize;
    case Route::kDetokenize:
      return &Detokenize;
    case Route::kCountTokens:
      return &CountTokens;
    case Route::kInputTokens:
      return &InputTokens;
    case Route::kRenderChat:
    case Route::kRenderPlain:
    case Route::kRenderMessages:
    case Route::kRenderResponses:
      return &Render;
    case Route::kControl:
      return &EndThinking;
    case Route::kOllamaShow:
      return &ShowOllamaModel;
    default:
      return nullptr;
  }
}

asio::awaitable<void> HandleUnary(Connection& connection, UnaryAnswer answer, const RouteMatch& match,
                                  service::CallInfo info) {
  const ServerContext& server = connection.context();
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
  const UnaryContext context{.service = server.dependencies.service,
                             .route = match.route,
                             .parameter = match.parameter,
                             .request_id = std::string(connection.request_id()),
                             .tenant = info.caller.tenant,
                             .max_json_depth = server.options.max_json_depth};
  const auto lane = service::WorkerPool::LaneFor(static_cast<int64_t>(body.text.size()));
  const bool ran = co_await RunOnWorker(connection, lane, [&] {
    const base::LogScope named(info.request_id, info.trace.trace_id);
    status = Answer(answer, context, &body, &response);
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
