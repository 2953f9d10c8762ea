// SPDX-License-Identifier: Apache-2.0
#include "server/http/call_handler.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/http/codec/call_body.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/pass_on.h"
#include "server/http/recorded_response.h"
#include "server/request/refusal.h"
#include "server/service/call_pipeline.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using request::MakeError;
using request::Reason;
using service::CallPipeline;

// Body size that admission assumes for a chunked body.
constexpr int64_t kAssumedChunkedBytes = 4096;

// Clients may send the same id twice: inside the process a number makes it unique.
std::string UniqueId(Connection& connection) {
  return absl::StrFormat("%s-%x", connection.request_id(),
                         connection.mutable_context().next_request.fetch_add(1, std::memory_order_relaxed));
}

// One generating request, alive as long as its coroutine; on the connection's thread only.
class CallRun {
 public:
  CallRun(Connection& connection, Route route, service::CallInfo info, PassOn pass_on, bool priority_from_header);
  // Does nothing when the response has been sent.
  ~CallRun() { FinishAbandoned(); }

  asio::awaitable<void> Run();

 private:
  void Submit(std::shared_ptr<const RequestBody> body);
  Headers OwnHeaders() const;
  asio::awaitable<void> Respond();
  asio::awaitable<void> SendWhole(std::string body);
  // Sends what is in `out`, the head with the stream's `type` first; false when the client is gone or does not read.
  asio::awaitable<bool> WritePiece(std::string_view type, std::string* out);
  asio::awaitable<void> Fail(ResponseEncoder* encoder, std::string out);
  asio::awaitable<void> Refuse(absl::Status status);
  // Refuses unless another server answers. `waited`: it had been admitted.
  asio::awaitable<void> RefuseOrPassOn(absl::Status refusal, bool waited);
  void FinishAbandoned();

  Connection& connection_;
  const Route route_;
  const bool priority_from_header_;
  const std::string id_;
  const std::string sender_;
  const absl::Time arrival_;
  PassOn pass_on_;
  const std::shared_ptr<CallPipeline> pipeline_;
  // Written by the worker that decodes, read once the calls run. Shared, because that worker may outlive this object.
  const std::shared_ptr<ResponsePlan> plan_ = std::make_shared<ResponsePlan>();
  bool streaming_ = false;  // the head of a stream has been sent
};

CallRun::CallRun(Connection& connection, Route route, service::CallInfo info, PassOn pass_on, bool priority_from_header)
    : connection_(connection),
      route_(route),
      priority_from_header_(priority_from_header),
      id_(info.request_id),
      sender_(service::SenderOf(info)),
      arrival_(info.arrival),
      pass_on_(std::move(pass_on)),
      pipeline_(CallPipeline::Create(connection.context().dependencies.service, std::move(info),
                                     [event = connection.shared_event()] { event->PostSet(); })) {}

asio::awaitable<void> CallRun::Run() {
  const RequestHead& head = connection_.head();
  absl::Status status = pipeline_->CheckRoom(head.content_length.value_or(head.chunked ? kAssumedChunkedBytes : 0));
  const bool refused = !status.ok();
  if (refused && !pass_on_.MayAnswer(status, /*waited=*/false)) {
    co_await Refuse(std::move(status));
    co_return;
  }
  auto body = std::make_shared<RequestBody>();
  absl::Status read = co_await connection_.ReadBody(sender_, body.get());
  if (connection_.disconnected()) co_return;
  if (!read.ok()) {
    co_await Refuse(std::move(read));
    co_return;
  }
  pass_on_.Keep(body, connection_.context().dependencies.service->bodies());
  // A slot is taken by a body that is there: none waits for bytes.
  if (!refused) status = pipeline_->Admit(static_cast<int64_t>(body->text.size()));
  if (status.ok() || pass_on_.has_body()) connection_.WatchDisconnect();
  if (!status.ok()) {
    body.reset();
    co_await RefuseOrPassOn(std::move(status), /*waited=*/false);
    co_return;
  }
  Submit(std::move(body));
  while (pipeline_->progress() == CallPipeline::Progress::kPreparing) {
    co_await connection_.event().Wait();
    if (connection_.disconnected()) co_return;
  }
  if (pipeline_->progress() == CallPipeline::Progress::kEnded) {
    co_await RefuseOrPassOn(pipeline_->status(), /*waited=*/true);
    co_return;
  }
  co_await Respond();
}

void CallRun::Submit(std::shared_ptr<const RequestBody> body) {
  const ServerContext& context = connection_.context();
  // The pipeline destroys its function, and with it the body, once it has run.
  pipeline_->Submit([body = std::move(body), route = route_, max_depth = context.options.max_json_depth,
                     priority_from_header = priority_from_header_, plan = plan_,
                     service = context.dependencies.service]() -> absl::StatusOr<service::DecodedRequest> {
    absl::StatusOr<CallBody> decoded = DecodeCallBody(body->text, route, max_depth, priority_from_header, *service);
    if (!decoded.ok()) return decoded.status();
    *plan = std::move(decoded->plan);
    return std::move(decoded->request);
  });
}

asio::awaitable<void> CallRun::Respond() {
  const bool stream = plan_->stream;
  const std::unique_ptr<ResponseEncoder> encoder =
      plan_->make_encoder(HeadOf(*plan_, pipeline_->calls(), id_, arrival_), pipeline_->calls());
  const auto interval = absl::ToChronoMicroseconds(connection_.context().options.keep_alive_interval);
  auto keep_alive_at = std::chrono::steady_clock::now() + interval;
  std::string out;
  while (true) {
    const CallPipeline::Progress progress =
        pipeline_->Read([&](size_t index, const service::ActiveCall&, service::CallUpdate&& update) {
          if (!update.status.ok()) return;
          pass_on_.Forget();
          encoder->Add(index, std::move(update), &out);
        });
    const bool done = progress == CallPipeline::Progress::kEnded;
    if (done && !pipeline_->status().ok()) {
      co_await Fail(encoder.get(), std::move(out));
      co_return;
    }
    if (done) encoder->Finish(pipeline_->usage(), &out);
    if (done && !stream) {
      co_await SendWhole(std::move(out));
      co_return;
    }
    if (!out.empty()) {
      const bool sent = co_await WritePiece(encoder->StreamType(), &out);
      if (!sent) co_return;
      keep_alive_at = std::chrono::steady_clock::now() + interval;
    }
    if (done) {
      pipeline_->Finish(absl::OkStatus(), 200);
      co_await connection_.EndStream(/*complete=*/true);
      co_return;
    }
    const bool woken = co_await connection_.event().Wait(stream ? keep_alive_at : AsyncEvent::TimePoint::max());
    if (connection_.disconnected()) co_return;
    if (!woken && stream) out = encoder->KeepAlive();
  }
}

// What the head of an answer says about this call.
Headers CallRun::OwnHeaders() const {
  const Calls& calls = pipeline_->calls();
  Headers headers;
  if (std::any_of(calls.begin(), calls.end(), [](const auto& call) { return call->has_partial_grammar(); })) {
    headers.emplace_back("x-hadal-grammar", "partial");
  }
  const auto degraded = std::find_if(calls.begin(), calls.end(),
                                     [](const auto& call) { return call->degraded() != service::Rung::kNone; });
  if (degraded != calls.end()) headers.emplace_back("x-hadal-degraded", service::RungName((*degraded)->degraded()));
  response_cache::CacheResult cache = response_cache::CacheResult::kNone;
  for (const auto& call : calls) cache = std::max(cache, call->cache());
  if (cache != response_cache::CacheResult::kNone) {
    headers.emplace_back("x-hadal-cache", response_cache::CacheResultName(cache));
  }
  return headers;
}

asio::awaitable<void> CallRun::SendWhole(std::string body) {
  Response whole;
  whole.headers = OwnHeaders();
  pipeline_->Finish(absl::OkStatus(), 200);
  whole.body = std::move(body);
  co_await connection_.Send(std::move(whole));
  if (connection_.write_timed_out()) connection_.context().dependencies.service->CountSlowReader();
}

asio::awaitable<bool> CallRun::WritePiece(std::string_view type, std::string* out) {
  if (!streaming_) {
    streaming_ = true;
    Headers headers = OwnHeaders();
    const bool begun = co_await connection_.BeginStream(type, std::move(headers));
    if (!begun) co_return false;
  }
  const bool sent = co_await connection_.WriteStream(out);
  co_return sent;
}

// A call has failed. A stream that has begun is ended with the error as its last event, after what other calls gave.
asio::awaitable<void> CallRun::Fail(ResponseEncoder* encoder, std::string out) {
  const absl::Status status = pipeline_->status();
  if (!streaming_) {
    co_await RefuseOrPassOn(status, /*waited=*/true);
    co_return;
  }
  encoder->Fail(status, &out);
  pipeline_->Finish(status, 200);  // the calls, which the encoder reads, are gone now
  const bool sent = co_await connection_.WriteStream(&out);
  if (sent) co_await connection_.EndStream(/*complete=*/false);
}

asio::awaitable<void> CallRun::Refuse(absl::Status status) {
  Response response =
      ErrorResponse(status, connection_.context().options.overload_http_status, ApiOf(connection_.head().target));
  pipeline_->Finish(status, response.status);
  co_await connection_.Send(std::move(response));
}

asio::awaitable<void> CallRun::RefuseOrPassOn(absl::Status refusal, bool waited) {
  if (!pass_on_.has_body() || !pass_on_.MayAnswer(refusal, waited)) {
    co_await Refuse(std::move(refusal));
    co_return;
  }
  absl::Status quota = pipeline_->PassOn(pass_on_.body_bytes());
  if (!quota.ok()) {
    co_await Refuse(std::move(quota));
    co_return;
  }
  std::function<void()> on_begin = [this, &refusal] {
    streaming_ = true;
    service::GenerateService& service = *connection_.context().dependencies.service;
    service.CountDegraded(service::Rung::kUpstream);
    service.Withdraw(refusal);
  };
  const PassOn::Answer answer = co_await pass_on_.Run(connection_, std::move(on_begin));
  if (answer.end == PassOn::End::kDeclined) {
    co_await Refuse(std::move(refusal));
  } else if (answer.end == PassOn::End::kInvalid) {
    co_await Refuse(answer.status);
  } else if (answer.end == PassOn::End::kAnswered) {
    pipeline_->Finish(answer.status, answer.code, answer.served_by);
  }
}

// The client is gone or does not read.
void CallRun::FinishAbandoned() {
  const absl::Status status = connection_.write_timed_out() ? MakeError(Reason::kSlowReader, "the client does not read")
                                                            : connection_.disconnect_status();
  pipeline_->Finish(status, streaming_ ? 200 : 499);
}

}  // namespace

asio::awaitable<void> HandleCall(Connection& connection, Route route, service::CallInfo info,
                                 bool priority_from_header) {
  const base::ActiveCount::Scope active(&connection.mutable_context().active_calls);
  info.request_id = UniqueId(connection);
  PassOn pass_on(connection, route, info);
  info.upstream_first = pass_on.open();
  CallRun run(connection, route, std::move(info), std::move(pass_on), priority_from_header);
  co_await run.Run();
}

}  // namespace hadal::http
