// SPDX-License-Identifier: Apache-2.0
#include "server/http/pass_on.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "server/http/codec/response.h"
#include "server/relay/passed_fields.h"
#include "server/upstream/pass_rules.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using upstream::Passage;
using Progress = Passage::Progress;

// An answer that is no stream of events is held back up to this size: it can still be refused when it breaks off, and
// has a Content-Length.
constexpr size_t kMaxHeldBytes = 64 << 10;
constexpr std::string_view kVersion1 = "/v1";

upstream::Fields FieldsOf(const Connection& connection, const service::CallInfo& info) {
  const RequestHead& head = connection.head();
  upstream::Fields fields = relay::FieldsOf(info.trace, {{"x-request-id", connection.request_id()},
                                                         {"x-hadal-priority", head.priority},
                                                         {"x-hadal-queue", head.queue},
                                                         {"x-hadal-allow-degraded", head.allow_degraded},
                                                         {"idempotency-key", head.idempotency_key},
                                                         {"anthropic-version", head.anthropic_version},
                                                         {"anthropic-beta", head.anthropic_beta}});
  for (const auto& [name, value] : head.session) fields.emplace_back(name, value);
  return fields;
}

bool EndsEvent(std::string_view tail) {
  return tail.ends_with("\n\n") || tail.ends_with("\r\n\r\n") || tail.ends_with("\r\r");
}

std::string ErrorEvent(const absl::Status& status, Api api) {
  return (api == Api::kOpenAi ? "data: " : "event: error\ndata: ") + ErrorObject(status, api) + "\n\n";
}

// One answer on its way to the client.
class Relay {
 public:
  Relay(Connection& connection, Passage& passage, std::function<void()> on_begin)
      : connection_(connection), passage_(passage), on_begin_(std::move(on_begin)) {}

  asio::awaitable<PassOn::Answer> Run();

 private:
  Headers OwnHeaders() const;
  PassOn::Answer EndAs(PassOn::End end, absl::Status status = absl::OkStatus()) const;
  // Whether what has come is to be sent on now.
  bool MayBegin(Progress progress) const;
  // Sends what has come; false when the client is gone or does not read.
  asio::awaitable<bool> Write();
  asio::awaitable<void> SendWhole();
  // Makes sure that the client does not take what it has for the whole.
  asio::awaitable<void> BreakOff(const absl::Status& status);

  Connection& connection_;
  Passage& passage_;
  const std::function<void()> on_begin_;
  std::string out_;
  std::string tail_;  // the last bytes that were sent
  bool begun_ = false;
};

// Gives a body's lease back with the call. The text is freed when the upstreams' thread lets go of it, and by then the
// budget that the lease is of may have gone with the server.
class LeasedBody {
 public:
  explicit LeasedBody(std::shared_ptr<RequestBody> body) : body_(std::move(body)) {}
  ~LeasedBody() { body_->lease.Release(); }
  LeasedBody(const LeasedBody&) = delete;
  LeasedBody& operator=(const LeasedBody&) = delete;

 private:
  const std::shared_ptr<RequestBody> body_;
};

bool IsEvents(const upstream::PassedHead& head) {
  return absl::StartsWithIgnoreCase(head.content_type, "text/event-stream");
}

Headers Relay::OwnHeaders() const {
  Headers headers = passage_.head().fields;
  headers.emplace_back("x-hadal-degraded", service::RungName(service::Rung::kUpstream));
  headers.emplace_back("x-hadal-served-by", passage_.head().served_by);
  return headers;
}

PassOn::Answer Relay::EndAs(PassOn::End end, absl::Status status) const {
  if (!begun_) return {.end = end, .status = std::move(status)};
  return {
      .end = end, .status = std::move(status), .code = passage_.head().status, .served_by = passage_.head().served_by};
}

bool Relay::MayBegin(Progress progress) const {
  return !out_.empty() &&
         (begun_ || progress == Progress::kComplete || IsEvents(passage_.head()) || out_.size() >= kMaxHeldBytes);
}

asio::awaitable<bool> Relay::Write() {
  if (!std::exchange(begun_, true)) {
    on_begin_();
    Headers headers = OwnHeaders();
    const bool begun =
        co_await connection_.BeginStream(passage_.head().content_type, std::move(headers), passage_.head().status);
    if (!begun) co_return false;
  }
  tail_.append(out_, out_.size() - std::min<size_t>(out_.size(), 4));
  tail_.erase(0, tail_.size() - std::min<size_t>(tail_.size(), 4));
  const bool sent = co_await connection_.WriteStream(&out_);
  co_return sent;
}

asio::awaitable<void> Relay::SendWhole() {
  begun_ = true;
  on_begin_();
  Response response;
  response.status = passage_.head().status;
  response.content_type = passage_.head().content_type;
  response.headers = OwnHeaders();
  response.body = std::move(out_);
  co_await connection_.Send(std::move(response));
}

asio::awaitable<void> Relay::BreakOff(const absl::Status& status) {
  connection_.CloseAfterResponse();
  if (!IsEvents(passage_.head()) || !EndsEvent(tail_)) co_return;
  std::string event = ErrorEvent(status, ApiOf(connection_.head().target));
  const bool sent = co_await connection_.WriteStream(&event);
  if (sent) co_await connection_.EndStream(/*complete=*/false);
}

asio::awaitable<PassOn::Answer> Relay::Run() {
  while (true) {
    const Progress progress = passage_.Read(&out_);
    if (progress == Progress::kDeclined) co_return EndAs(PassOn::End::kDeclined, passage_.status());
    if (progress == Progress::kBroken && !begun_ && !IsEvents(passage_.head())) {
      co_return EndAs(PassOn::End::kDeclined, passage_.status());
    }
    if (progress == Progress::kComplete && !begun_ && !IsEvents(passage_.head())) {
      co_await SendWhole();
      co_return EndAs(connection_.write_timed_out() ? PassOn::End::kGone : PassOn::End::kAnswered);
    }
    if (MayBegin(progress)) {
      const bool sent = co_await Write();
      if (!sent || connection_.disconnected()) co_return EndAs(PassOn::End::kGone);
      continue;
    }
    if (progress == Progress::kComplete) {
      co_await connection_.EndStream(/*complete=*/true);
      co_return EndAs(PassOn::End::kAnswered);
    }
    if (progress == Progress::kBroken) {
      const absl::Status status = passage_.status();
      co_await BreakOff(status);
      co_return EndAs(PassOn::End::kAnswered, status);
    }
    co_await connection_.event().Wait();
    if (connection_.disconnected()) co_return EndAs(PassOn::End::kGone);
  }
}

}  // namespace

PassOn::PassOn(const Connection& connection, Route route, const service::CallInfo& info)
    : upstreams_(connection.context().dependencies.upstreams) {
  const RequestHead& head = connection.head();
  const std::optional<int> hops =
      upstream::HopsIfAllowed(upstreams_, {head.hop, head.allow_fallback, info.allow_degraded});
  const bool translated = route == Route::kOllamaChat || route == Route::kOllamaGenerate;
  if (!hops.has_value() || (!translated && !info.route.starts_with(kVersion1))) return;
  hops_ = *hops;
  upstream::PassedRequest& request = request_.emplace();
  if (translated) {
    translated_.emplace(TranslatedCall{route, info.caller, info.request_id, info.arrival});
  } else {
    request.path = std::string(info.route.substr(kVersion1.size()));
  }
  request.key_in_x_api_key = route == Route::kMessages;
  request.fields = FieldsOf(connection, info);
  request.hop = hops_ + 1;
  request.deadline = info.deadline;
  request.first_by = std::min(info.first_token_by, info.gives_up_at);
  request.request_id = info.request_id;
  request.trace_id = info.trace.trace_id;
}

bool PassOn::MayAnswer(const absl::Status& refusal, bool waited) const {
  return request_.has_value() && upstream::IsForOthers(refusal, waited) && upstreams_->MayTake(hops_);
}

void PassOn::Keep(std::shared_ptr<RequestBody> body, const service::BodyBudget& bodies) {
  if (!request_.has_value() || bodies.bytes() > bodies.options().max_bytes / 2) return;
  body_ = std::move(body);
}

asio::awaitable<PassOn::Answer> PassOn::Run(Connection& connection, std::function<void()> on_begin) {
  std::shared_ptr<RequestBody> body = std::exchange(body_, nullptr);
  upstream::PassedRequest request = *request_;
  std::function<void()> notify = [event = connection.shared_event()] { event->PostSet(); };
  if (translated_.has_value()) {
    const std::unique_ptr<TranslatedAnswer> translated = TranslatedAnswer::Begin(
        connection, *translated_, upstreams_, std::move(request), std::move(body), std::move(notify));
    Answer answer = co_await translated->Run(std::move(on_begin));
    co_return answer;
  }
  request.body = std::shared_ptr<const std::string>(body, &body->text);
  const LeasedBody leased(std::move(body));
  const std::unique_ptr<Passage> passage = upstreams_->Begin(std::move(request), std::move(notify));
  Relay relay(connection, *passage, std::move(on_begin));
  Answer answer = co_await relay.Run();
  co_return answer;
}

}  // namespace hadal::http
