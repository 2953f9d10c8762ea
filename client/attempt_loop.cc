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
#include "client/fast_open.h"
#include "client/load_report.h"

namespace hadal::client {
namespace {

// A server that does not say its load by then is asked only where there is no other.
constexpr absl::Duration kLoadTimeout = absl::Seconds(5);

constexpr absl::Duration kConnectingPause = absl::Milliseconds(50);

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
  refusal.held = TrailerOf(context, "x-hadal-promise") != "none";
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

// What the server said of its load at the end of a call, which it no more counts: Finish comes before this.
void NoteLoad(Target& target, const grpc::ClientContext& context) {
  const std::optional<double> requests = RequestsOfReport(TrailerOf(context, kLoadReportTrailer));
  if (requests.has_value()) target.Report(*requests);
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

// gRPC 1.51 forgets a connection whose channel goes while it is being made: it would stay open for good. So the channel
// stays until that is over, which gRPC bounds.
void LetGo(std::shared_ptr<grpc::Channel> channel) {
  if (channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_CONNECTING) return;
  auto alarm = std::make_shared<grpc::Alarm>();
  grpc::Alarm* const set = alarm.get();
  set->Set(absl::ToChronoTime(absl::Now() + kConnectingPause),
           [alarm = std::move(alarm), channel = std::move(channel)](bool) mutable {
             const std::shared_ptr<grpc::Alarm> rung = std::move(alarm);  // it holds this function, which held it
             LetGo(std::move(channel));
           });
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
                         absl::Duration keep_alive, bool tcp_fast_open)
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
  if (tcp_fast_open) UseFastOpen(&arguments);
  for (const auto& target : targets_.all()) {
    Server& server = servers_[target.get()];
    server.channel = grpc::CreateCustomChannel(target->address(), credentials, arguments);
    server.stub = v1::Inference::NewStub(server.channel);
    server.batches = v1::Batches::NewStub(server.channel);
  }
}

Connections::~Connections() {
  for (const auto& [target, server] : servers_) LetGo(server.channel);
}

void Connections::ConnectAhead() {
  for (const auto& [target, server] : servers_) server.channel->GetState(/*try_to_connect=*/true);
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
                                    // It takes no calls either: it hangs, or cannot be reached.
                                    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
                                      target->Report(kUnfit);
                                    }
                                  });
  }
}

AttemptLoop::AttemptLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline)
    : connections_(std::move(connections)),
      metadata_(std::move(metadata)),
      deadline_(deadline),
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
      const absl::Duration wait = cancelled_ ? absl::ZeroDuration() : deadline_ - absl::Now();
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
  Target* target = nullptr;
  {
    base::MutexLock lock(&mutex_);
    if (!cancelled_) target = call_.Begin();
    if (target != nullptr) {
      context = AddAttempt(target, /*hedge=*/false);
    } else if (const std::optional<absl::Duration> wait = call_.Wait(); wait.has_value() && !cancelled_) {
      return SetAlarm(*wait, [this] { Begin(); });
    } else {
      // Not on this stack: End runs the caller's code, and Start may be under a lock of the caller's.
      return SetAlarm(absl::ZeroDuration(),
                      [this, why = cancelled_ ? absl::CancelledError("cancelled") : last_] { Finish(why); });
    }
  }
  Launch(connections_->servers().at(target), context.get());
  if (connections_->targets().hedging().on()) HedgeLater(context);
}

void AttemptLoop::HedgeLater(const std::shared_ptr<grpc::ClientContext>& context) {
  const std::optional<CallKind> kind = Hedged();
  if (!kind.has_value() || connections_->servers().size() == 1) return;
  const absl::Duration delay = connections_->targets().hedging().Delay(*kind);
  if (delay == absl::InfiniteDuration()) return;
  base::MutexLock lock(&mutex_);
  if (winner_ != nullptr || cancelled_ || attempts_.size() != 1 || attempts_[0].context != context) return;
  hedge_alarm_ = std::make_shared<grpc::Alarm>();
  hedge_alarm_->Set(absl::ToChronoTime(absl::Now() + delay), [self = shared_from_this(), context](bool rang) {
    if (rang) self->Hedge(context);
  });
}

void AttemptLoop::Hedge(const std::shared_ptr<grpc::ClientContext>& context) {
  std::shared_ptr<grpc::ClientContext> hedge;
  std::shared_ptr<grpc::Alarm> rung;  // holds the function that holds this
  Target* target = nullptr;
  {
    base::MutexLock lock(&mutex_);
    if (winner_ != nullptr || cancelled_ || attempts_.size() != 1 || attempts_[0].context != context) return;
    rung = std::move(hedge_alarm_);
    target = call_.BeginHedge();
    if (target == nullptr) return;
    hedge = AddAttempt(target, /*hedge=*/true);
  }
  Launch(connections_->servers().at(target), hedge.get());
}

bool AttemptLoop::Claim(const grpc::ClientContext* context, bool answered) {
  std::vector<std::shared_ptr<grpc::ClientContext>> losers;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    base::MutexLock lock(&mutex_);
    if (winner_ == context) return true;
    absl::Time began = absl::InfiniteFuture();
    bool known = false, hedge = false;
    for (const Attempt& attempt : attempts_) {
      began = std::min(began, attempt.began);
      if (attempt.context.get() != context) continue;
      known = true;
      hedge = attempt.hedge;
    }
    if (!known) return false;
    losers = Settle(context);
    alarm = std::move(hedge_alarm_);
    Targets& targets = connections_->targets();
    if (hedge) targets.CountHedgeWon();
    const std::optional<CallKind> kind = Hedged();
    if (answered && kind.has_value() && targets.hedging().on()) targets.hedging().OnAnswer(*kind, absl::Now() - began);
  }
  if (alarm != nullptr) alarm->Cancel();
  for (const auto& loser : losers) loser->TryCancel();
  return true;
}

std::vector<std::shared_ptr<grpc::ClientContext>> AttemptLoop::Settle(const grpc::ClientContext* context) {
  winner_ = context;
  std::vector<std::shared_ptr<grpc::ClientContext>> losers;
  std::vector<Attempt> all = std::move(attempts_);
  attempts_.clear();
  for (Attempt& attempt : all) {
    if (attempt.context.get() == context) {
      winner_target_ = attempt.target;
      attempts_.push_back(std::move(attempt));
    } else {
      losers.push_back(attempt.context);
      lost_.push_back(std::move(attempt));
    }
  }
  return losers;
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

std::shared_ptr<grpc::ClientContext> AttemptLoop::AddAttempt(Target* target, bool hedge) {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(deadline_));
  for (const Metadata* metadata : {&connections_->identity(), &metadata_}) {
    for (const auto& [name, value] : *metadata) context->AddMetadata(name, value);
  }
  if (const std::string ticket = call_.TakeTicket(target); !ticket.empty()) {
    context->AddMetadata("x-hadal-ticket", ticket);
  }
  context->AddMetadata("x-stainless-retry-count", absl::StrCat(call_.attempts() - 1));
  if (connections_->servers().size() > 1) context->AddMetadata(kLoadReportFormat, "BIN");
  attempts_.push_back({.target = target, .context = context, .began = absl::Now(), .hedge = hedge});
  return context;
}

std::optional<AttemptLoop::Attempt> AttemptLoop::Take(const grpc::ClientContext* context, std::vector<Attempt>* from) {
  const auto found =
      std::find_if(from->begin(), from->end(), [&](const Attempt& one) { return one.context.get() == context; });
  if (found == from->end()) return std::nullopt;
  std::optional<Attempt> attempt = std::move(*found);
  from->erase(found);
  return attempt;
}

AttemptLoop::SideCall AttemptLoop::MakeSideCall() const {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + kSideCallTimeout));
  for (const auto& [name, value] : connections_->identity()) context->AddMetadata(name, value);
  base::MutexLock lock(&mutex_);
  return {connections_->servers().at(winner_target_).stub->async(), std::move(context)};
}

void AttemptLoop::AttemptDone(const grpc::ClientContext* context, const grpc::Status& status) {
  if (status.ok() || !ForCapacity(status)) Claim(context, status.ok());
  std::optional<Attempt> attempt;
  std::shared_ptr<grpc::Alarm> alarm;
  absl::Status last;
  bool again = false, answered = false;
  {
    base::MutexLock lock(&mutex_);
    if (std::optional<Attempt> lost = Take(context, &lost_)) {
      lost->target->Finish();
      return NoteLoad(*lost->target, *context);
    }
    if (cancelled_ && winner_ == nullptr) Settle(context);
    attempt = Take(context, &attempts_);
    last_ = cancelled_ ? absl::CancelledError("cancelled") : ToAbsl(status);
    if (winner_ == context && !cancelled_ && !status.ok() && ForCapacity(status)) {
      const AfterBreak next = BrokeOff();
      if (next != AfterBreak::kEnd) winner_ = nullptr;
      if (next == AfterBreak::kGoOn) call_.GotOn();
    }
    if (winner_ == context) {
      call_.Served(attempt->target);
      answered = true;
    } else if (Unanswered(*context, status) && MayHaveTakenEffect(*context)) {
      attempt->target->Failed();
      last_ = absl::UnavailableError(absl::StrCat(
          last_.message(), "; whether the server did what was asked is not known, so it was not asked again"));
    } else {
      PlanReturn(*attempt, status);
      again = true;
      if (!attempts_.empty()) return;  // the other one may still be answered
    }
    alarm = std::move(hedge_alarm_);
    last = last_;
  }
  if (alarm != nullptr) alarm->Cancel();
  if (again) return Begin();
  attempt->target->Finish();
  NoteLoad(*attempt->target, *context);
  if (answered) OnTrailers(*context);
  Finish(std::move(last));
}

void AttemptLoop::PlanReturn(const Attempt& attempt, const grpc::Status& status) {
  if (Unanswered(*attempt.context, status)) {
    call_.Failed(attempt.target);
  } else {
    call_.Refused(attempt.target, RefusalOf(*attempt.context, status));
  }
  NoteLoad(*attempt.target, *attempt.context);
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
  std::vector<Attempt> attempts;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(cancelled_, true)) return;
    attempts = attempts_;
    alarm = alarm_;
  }
  for (const Attempt& attempt : attempts) attempt.context->TryCancel();
  if (alarm != nullptr) alarm->Cancel();  // rings at once
}

}  // namespace hadal::client
