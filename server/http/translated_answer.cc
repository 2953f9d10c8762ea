// SPDX-License-Identifier: Apache-2.0
#include "server/http/translated_answer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/http/codec/response.h"
#include "server/service/degradation.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using Relayed = relay::RelayedCall::Progress;

}  // namespace

std::unique_ptr<TranslatedAnswer> TranslatedAnswer::Begin(Connection& connection, const TranslatedCall& call,
                                                          upstream::Upstreams* upstreams,
                                                          upstream::PassedRequest request,
                                                          std::shared_ptr<const RequestBody> body,
                                                          std::function<void()> notify) {
  std::unique_ptr<TranslatedAnswer> answer(new TranslatedAnswer(connection, call));
  const ServerContext& context = connection.context();
  service::GenerateService* const service = context.dependencies.service;
  relay::RelayedCall::Message message;
  message.bytes = static_cast<int64_t>(body->text.size());
  message.decode = [body = std::move(body), route = call.route, max_depth = context.options.max_json_depth,
                    plan = answer->plan_, service]() -> absl::StatusOr<service::DecodedRequest> {
    absl::StatusOr<CallBody> decoded =
        DecodeCallBody(body->text, route, max_depth, /*priority_from_header=*/true, *service);
    if (!decoded.ok()) return decoded.status();
    *plan = std::move(decoded->plan);
    return std::move(decoded->request);
  };
  answer->relayed_ = relay::RelayedCall::Begin({upstreams, service}, std::move(request), call.caller,
                                               std::move(message), std::move(notify));
  return answer;
}

ResponseHead TranslatedAnswer::Head() const {
  ResponseHead head;
  head.id.append(plan_->id_prefix).append(call_.id);
  head.created_unix_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  head.model = plan_->model.empty() ? relayed_->model() : plan_->model;
  head.arrival = call_.arrival;
  head.relayed_times = &times_;
  return head;
}

Headers TranslatedAnswer::OwnHeaders() const {
  return {{"x-hadal-degraded", std::string(service::RungName(service::Rung::kUpstream))},
          {"x-hadal-served-by", relayed_->served_by()}};
}

PassOnAnswer TranslatedAnswer::EndAs(PassOnEnd end, absl::Status status) const {
  PassOnAnswer answer{.end = end, .status = std::move(status)};
  if (begun_) {
    answer.code = 200;
    answer.served_by = relayed_->served_by();
  }
  return answer;
}

Relayed TranslatedAnswer::Read() {
  service::CallUpdate update;
  const Relayed progress = relayed_->Read(&update);
  if (update.empty()) return progress;
  const absl::Time now = connection_.context().dependencies.service->clock().Now();
  if (encoder_ == nullptr) {
    encoder_ = plan_->make_encoder(Head(), no_calls_);
    times_.started = call_.arrival;
    times_.first_token = now;
  }
  const service::Usage usage = update.usage;
  encoder_->Add(0, std::move(update), &out_);
  if (progress != Relayed::kComplete) return progress;
  times_.ended = now;
  encoder_->Finish(usage, &out_);
  return progress;
}

asio::awaitable<bool> TranslatedAnswer::Write(std::function<void()>& on_begin) {
  if (!std::exchange(begun_, true)) {
    on_begin();
    Headers headers = OwnHeaders();
    const bool begun = co_await connection_.BeginStream(encoder_->StreamType(), std::move(headers));
    if (!begun) co_return false;
  }
  const bool sent = co_await connection_.WriteStream(&out_);
  co_return sent;
}

asio::awaitable<void> TranslatedAnswer::SendWhole(std::function<void()>& on_begin) {
  begun_ = true;
  on_begin();
  Response response;
  response.headers = OwnHeaders();
  response.body = std::move(out_);
  co_await connection_.Send(std::move(response));
}

asio::awaitable<PassOnAnswer> TranslatedAnswer::Run(std::function<void()> on_begin) {
  while (true) {
    const Relayed progress = Read();
    const bool whole = encoder_ != nullptr && !plan_->stream;
    const bool failed = progress == Relayed::kBroken || progress == Relayed::kDeclined;
    if (failed && !begun_) {
      co_return EndAs(relayed_->invalid() ? PassOnEnd::kInvalid : PassOnEnd::kDeclined, relayed_->status());
    }
    if (progress == Relayed::kComplete && whole) {
      co_await SendWhole(on_begin);
      co_return EndAs(connection_.write_timed_out() ? PassOnEnd::kGone : PassOnEnd::kAnswered);
    }
    absl::Status status;
    if (failed) {
      status = relayed_->status();
      encoder_->Fail(status, &out_);
    }
    if (!out_.empty() && !whole) {
      const bool sent = co_await Write(on_begin);
      if (!sent || connection_.disconnected()) co_return EndAs(PassOnEnd::kGone);
    }
    if (failed || progress == Relayed::kComplete) {
      co_await connection_.EndStream(/*complete=*/!failed);
      co_return EndAs(PassOnEnd::kAnswered, std::move(status));
    }
    if (progress == Relayed::kWaiting || progress == Relayed::kStreaming) {
      co_await connection_.event().Wait();
      if (connection_.disconnected()) co_return EndAs(PassOnEnd::kGone);
    }
  }
}

}  // namespace hadal::http
