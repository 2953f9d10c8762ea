// SPDX-License-Identifier: Apache-2.0
#include "client/attempt_loop.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/load_report.h"

namespace hadal::client {
namespace {

constexpr absl::Duration kSideCallTimeout = absl::Seconds(30);

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

// A gateway that loses its server cuts the call off, and of that gRPC makes UNKNOWN (HAProxy) or INTERNAL (nginx). Here
// it is UNAVAILABLE, as without a gateway.
grpc::Status WithoutGateway(const grpc::ClientContext& context, const grpc::Status& status) {
  const bool cut =
      status.error_code() == grpc::StatusCode::UNKNOWN || status.error_code() == grpc::StatusCode::INTERNAL;
  // The server's own errors have its request id among the trailers. A page that a gateway gives instead, whose status
  // gRPC tells, would come again.
  if (!cut || !context.GetServerTrailingMetadata().empty() ||
      absl::StrContains(status.error_message(), "http2 header with status")) {
    return status;
  }
  return {grpc::StatusCode::UNAVAILABLE, absl::StrCat("the server was lost: ", status.error_message())};
}

}  // namespace

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
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
  if (cancelled_ || !race_.Alone(context.get())) return;
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
    if (cancelled_ || !race_.Alone(context.get())) return;
    rung = std::move(hedge_alarm_);
    target = call_.BeginHedge();
    if (target == nullptr) return;
    hedge = AddAttempt(target, /*hedge=*/true);
  }
  Launch(connections_->servers().at(target), hedge.get());
}

bool AttemptLoop::Claim(const grpc::ClientContext* context, bool answered) {
  std::optional<AttemptRace::Outcome> outcome;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    base::MutexLock lock(&mutex_);
    if (race_.winner() == context) return true;
    outcome = race_.Settle(context);
    if (!outcome.has_value()) return false;
    alarm = std::move(hedge_alarm_);
    Targets& targets = connections_->targets();
    if (outcome->hedge) targets.CountHedgeWon();
    const std::optional<CallKind> kind = Hedged();
    if (answered && kind.has_value() && targets.hedging().on()) {
      targets.hedging().OnAnswer(*kind, absl::Now() - outcome->began);
    }
  }
  if (alarm != nullptr) alarm->Cancel();
  for (const auto& loser : outcome->losers) loser->TryCancel();
  return true;
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
  race_.Add({.target = target, .context = context, .began = absl::Now(), .hedge = hedge});
  return context;
}

AttemptLoop::SideCall AttemptLoop::MakeSideCall() const {
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + kSideCallTimeout));
  for (const auto& [name, value] : connections_->identity()) context->AddMetadata(name, value);
  base::MutexLock lock(&mutex_);
  return {connections_->servers().at(race_.winner_target()).stub->async(), std::move(context)};
}

void AttemptLoop::AttemptDone(const grpc::ClientContext* context, const grpc::Status& ended) {
  const grpc::Status status = WithoutGateway(*context, ended);
  if (status.ok() || !ForCapacity(status)) Claim(context, status.ok());
  std::optional<AttemptRace::Attempt> attempt;
  std::shared_ptr<grpc::Alarm> alarm;
  absl::Status last;
  bool again = false, answered = false;
  {
    base::MutexLock lock(&mutex_);
    if (const std::optional<AttemptRace::Attempt> lost = race_.TakeLost(context)) {
      lost->target->Finish();
      return NoteLoad(*lost->target, *context);
    }
    if (cancelled_ && race_.winner() == nullptr) race_.Settle(context);
    attempt = race_.TakeRunning(context);
    last_ = cancelled_ ? absl::CancelledError("cancelled") : ToAbsl(status);
    if (race_.winner() == context && !cancelled_ && !status.ok() && ForCapacity(status)) {
      const AfterBreak next = BrokeOff();
      if (next != AfterBreak::kEnd) race_.Reopen();
      if (next == AfterBreak::kGoOn) call_.GotOn();
    }
    if (race_.winner() == context) {
      call_.Served(attempt->target);
      answered = true;
    } else if (Unanswered(*context, status) && MayHaveTakenEffect(*context)) {
      attempt->target->Failed();
      last_ = absl::UnavailableError(absl::StrCat(
          last_.message(), "; whether the server did what was asked is not known, so it was not asked again"));
    } else {
      PlanReturn(*attempt, status);
      again = true;
      if (!race_.empty()) return;  // the other one may still be answered
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

void AttemptLoop::PlanReturn(const AttemptRace::Attempt& attempt, const grpc::Status& status) {
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
  std::vector<std::shared_ptr<grpc::ClientContext>> attempts;
  std::shared_ptr<grpc::Alarm> alarm;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(cancelled_, true)) return;
    attempts = race_.running();
    alarm = alarm_;
  }
  for (const auto& attempt : attempts) attempt->TryCancel();
  if (alarm != nullptr) alarm->Cancel();  // rings at once
}

}  // namespace hadal::client
