// SPDX-License-Identifier: Apache-2.0
#include "client/attempt_loop.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/requests.h"

namespace hadal::client {
namespace {

// A server that does not say its load by then is chosen by this client's calls alone.
constexpr absl::Duration kLoadTimeout = absl::Seconds(5);

constexpr absl::Duration kSideCallTimeout = absl::Seconds(30);

// For a sign of life.
constexpr absl::Duration kMaxKeepAliveTimeout = absl::Seconds(20);

// gRPC's own 4 MiB are fewer than the tokens of a long text.
constexpr int kMaxAnswerBytes = 64 << 20;

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), std::numeric_limits<int>::max()));
}

Refusal RefusalOf(const grpc::ClientContext& context, const grpc::Status& status) {
  Refusal refusal;
  int64_t pushback_ms = 0;
  if (absl::SimpleAtoi(TrailerOf(context, "grpc-retry-pushback-ms"), &pushback_ms)) {
    refusal.final = pushback_ms < 0;
    refusal.after = absl::Milliseconds(pushback_ms);
  } else {
    // gRPC's own: a message that is too large does not become smaller.
    refusal.final = status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  }
  refusal.ticket = TrailerOf(context, "x-hadal-ticket");
  return refusal;
}

bool ForCapacity(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
}

// Nothing came back, not even a refusal: the connection could not be made, or broke.
bool Unanswered(const grpc::ClientContext& context, const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE && context.GetServerTrailingMetadata().empty();
}

// What a call of GetLoad needs until it is answered.
struct LoadQuestion {
  grpc::ClientContext context;
  v1::GetLoadRequest request;
  v1::GetLoadResponse response;
};

// The threads of gRPC's callbacks end with the last channel that has made a call. It waits for them, so it must not go
// on one of them, where the last reference to Connections may well be dropped: a channel that stays, and has made a
// call, keeps them.
void KeepCallbackThreads() {
  // Used by nobody, but in sight of leak checkers.
  [[gnu::used]] static const auto* const kept = [] {
    const auto* const channel =
        new std::shared_ptr<grpc::Channel>(grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials()));
    const std::unique_ptr<v1::Inference::Stub> stub = v1::Inference::NewStub(*channel);
    auto question = std::make_shared<LoadQuestion>();
    question->context.set_deadline(std::chrono::system_clock::time_point());  // it has passed: nothing is connected
    stub->async()->GetLoad(&question->context, &question->request, &question->response,
                           [question](const grpc::Status&) {});
    return channel;
  }();
}

}  // namespace

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::string TrailerOf(const grpc::ClientContext& context, const char* name) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto it = trailers.find(name);
  return it == trailers.end() ? "" : std::string(it->second.data(), it->second.size());
}

Connections::Connections(const std::vector<std::string>& addresses, const RetryOptions& retry,
                         const std::shared_ptr<grpc::ChannelCredentials>& credentials, Metadata identity, int max_calls,
                         absl::Duration keep_alive)
    : targets_(addresses, retry), window_(max_calls), identity_(std::move(identity)) {
  KeepCallbackThreads();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // gRPC's own would send no ticket
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(keep_alive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(std::min(keep_alive, kMaxKeepAliveTimeout)));
  // gRPC by itself stops after two where nothing is sent: whoever waits in a long queue would not be told that its
  // server has gone.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  for (const auto& target : targets_.all()) {
    Server& server = servers_[target.get()];
    server.channel = grpc::CreateCustomChannel(target->address(), credentials, arguments);
    server.stub = v1::Inference::NewStub(server.channel);
    server.batches = v1::Batches::NewStub(server.channel);
  }
}

void Connections::RefreshLoads() {
  if (servers_.size() == 1) return;
  for (const auto& [target, server] : servers_) {
    if (!target->ShouldAskForLoad()) continue;
    auto question = std::make_shared<LoadQuestion>();
    question->context.set_deadline(absl::ToChronoTime(absl::Now() + kLoadTimeout));
    for (const auto& [name, value] : identity_) question->context.AddMetadata(name, value);
    server.stub->async()->GetLoad(&question->context, &question->request, &question->response,
                                  [self = shared_from_this(), target = target, question](const grpc::Status& status) {
                                    if (status.ok()) target->Report(RequestsOf(question->response));
                                  });
  }
}

AttemptLoop::AttemptLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline)
    : connections_(std::move(connections)),
      metadata_(std::move(metadata)),
      call_(&connections_->targets(), deadline),
      last_(absl::UnavailableError("no server may be called before the deadline: all circuits are open")) {}

void AttemptLoop::Start() {
  connections_->RefreshLoads();
  bool turn = false;
  {
    base::MutexLock lock(&mutex_);  // whose turn comes finds the alarm
    turn = connections_->window().Enter(this, [self = shared_from_this()] {
      std::shared_ptr<grpc::Alarm> alarm;
      {
        base::MutexLock lock(&self->mutex_);
        alarm = self->alarm_;
      }
      if (alarm != nullptr) alarm->Cancel();  // rings at once
    });
    if (!turn) {
      const absl::Duration wait = cancelled_ ? absl::ZeroDuration() : call_.deadline() - absl::Now();
      SetAlarm(wait, [this] { StopWaiting(); });
    }
  }
  if (turn) Begin();
}

void AttemptLoop::StopWaiting() {
  if (!connections_->window().Withdraw(this)) return Begin();
  bool cancelled = false;
  {
    base::MutexLock lock(&mutex_);
    cancelled = cancelled_;
  }
  End(cancelled
          ? absl::CancelledError("cancelled")
          : absl::DeadlineExceededError(absl::StrCat(
                "the call waited for one of max_calls = ", connections_->window().max_calls(), " of this client")));
}

void AttemptLoop::Begin() {
  std::shared_ptr<grpc::ClientContext> context;
  {
    base::MutexLock lock(&mutex_);
    if (!cancelled_) target_ = call_.Begin();
    if (!cancelled_ && target_ != nullptr) context = context_ = MakeContext();
  }
  if (context != nullptr) {
    begun_ = false;
    return Launch(connections_->servers().at(target_), context.get());
  }
  const std::optional<absl::Duration> wait = call_.Wait();
  base::MutexLock lock(&mutex_);
  if (wait.has_value() && !cancelled_) {
    SetAlarm(*wait, [this] { Begin(); });
  } else {
    // Not on this stack: End runs the caller's code, and Start may be under a lock of the caller's.
    SetAlarm(absl::ZeroDuration(),
             [this, cancelled = cancelled_] { Finish(cancelled ? absl::CancelledError("cancelled") : last_); });
  }
}

void AttemptLoop::SetAlarm(absl::Duration wait, std::function<void()> then) {
  alarm_ = std::make_shared<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + wait), [self = shared_from_this(), then = std::move(then)](bool) {
    std::shared_ptr<grpc::Alarm> rung;  // it holds this function, and this function the loop
    {
      base::MutexLock lock(&self->mutex_);
      rung = std::move(self->alarm_);
    }
    rung = nullptr;
    then();
  });
}

std::shared_ptr<grpc::ClientContext> AttemptLoop::MakeContext() {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(call_.deadline()));
  for (const Metadata* metadata : {&connections_->identity(), &metadata_}) {
    for (const auto& [name, value] : *metadata) context->AddMetadata(name, value);
  }
  if (const std::string ticket = call_.TakeTicket(); !ticket.empty()) context->AddMetadata("x-hadal-ticket", ticket);
  context->AddMetadata("x-stainless-retry-count", absl::StrCat(call_.attempts() - 1));
  return context;
}

AttemptLoop::SideCall AttemptLoop::MakeSideCall() const {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + kSideCallTimeout));
  for (const auto& [name, value] : connections_->identity()) context->AddMetadata(name, value);
  return {connections_->servers().at(target_).stub->async(), std::move(context)};
}

void AttemptLoop::AttemptDone(const grpc::Status& status) {
  std::shared_ptr<grpc::ClientContext> context;
  bool cancelled = false;
  {
    base::MutexLock lock(&mutex_);
    context = std::move(context_);
    cancelled = cancelled_;
  }
  last_ = cancelled ? absl::CancelledError("cancelled") : ToAbsl(status);
  if (status.ok() || cancelled || begun_ || !ForCapacity(status)) {
    call_.Served();
    target_->Finish();
    OnTrailers(*context);
    return Finish(last_);
  }
  if (Unanswered(*context, status)) {
    if (MayHaveTakenEffect(*context)) {
      target_->Failed();
      target_->Finish();
      return Finish(absl::UnavailableError(absl::StrCat(
          last_.message(), "; whether the server did what was asked is not known, so it was not asked again")));
    }
    call_.Failed();
  } else {
    call_.Refused(RefusalOf(*context, status));
  }
  Begin();
}

bool AttemptLoop::WasSent(const grpc::ClientContext& context) {
  // An address, once the call has a connection; before that the name that was given, or nothing.
  const std::string peer = context.peer();
  return absl::StartsWith(peer, "ipv4:") || absl::StartsWith(peer, "ipv6:") || absl::StartsWith(peer, "unix");
}

void AttemptLoop::Finish(absl::Status status) {
  connections_->window().Leave();
  End(std::move(status));
}

void AttemptLoop::Cancel() {
  std::shared_ptr<grpc::ClientContext> context;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(cancelled_, true)) return;
    context = context_;
    alarm = alarm_;
  }
  if (context != nullptr) context->TryCancel();
  if (alarm != nullptr) alarm->Cancel();  // rings at once
}

}  // namespace hadal::client
