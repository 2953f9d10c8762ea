// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_pipeline.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/base/check.h"
#include "server/request/refusal.h"
#include "server/service/returning_client.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

void ApplyInfo(const CallInfo& info, size_t index, CallOptions* options) {
  options->request_id = index == 0 ? info.request_id : absl::StrFormat("%s-%d", info.request_id, index);
  options->trace_id = info.trace.trace_id;
  options->tenant = info.caller.tenant;
  options->sender = SenderOf(info);
  options->priority = info.caller.priority;
  options->arrival = info.arrival;
  options->deadline = info.deadline;
  options->first_token_by = info.first_token_by;
  options->may_wait = info.may_wait;
  options->allow_degraded = info.allow_degraded;
  options->cache = info.cache;
  options->upstream_first = info.upstream_first;
}

// How a call ends for the client. An HTTP answer has room for one end: choices that were ended by a drain's time-out
// and say so as their finish reason make it complete.
absl::Status StatusFor(Protocol protocol, const CallUpdate& update) {
  const bool told = protocol == Protocol::kHttp && update.every_choice_finished &&
                    request::GetErrorDetail(update.status).reason == Reason::kInsufficientSystemResource;
  return told ? absl::OkStatus() : update.status;
}

}  // namespace

std::shared_ptr<CallPipeline> CallPipeline::Create(GenerateService* service, CallInfo info,
                                                   std::function<void()> notify) {
  if (!info.ticket.empty()) info.promise = service->OpenTicket(info.ticket, TicketOwner(info));
  return std::shared_ptr<CallPipeline>(new CallPipeline(service, std::move(info), std::move(notify)));
}

CallPipeline::CallPipeline(GenerateService* service, CallInfo info, std::function<void()> notify)
    : service_(service),
      notifier_(std::make_shared<request::Notifier>(std::move(notify))),
      allow_degraded_(info.allow_degraded),
      asks_cache_(info.cache.reads()),
      upstream_first_(info.upstream_first),
      info_(std::move(info)),
      asked_(info_.arrival) {}

absl::Status CallPipeline::Cancelled() { return MakeError(Reason::kCancelled, "the client is gone"); }

bool CallPipeline::Advance(State to) {
  if (state_ == State::kEnded) return false;
  HADAL_CHECK(static_cast<int>(to) == static_cast<int>(state_) + 1)
      << "CallPipeline: from state " << static_cast<int>(state_) << " to " << static_cast<int>(to);
  state_ = to;
  return true;
}

CallPipeline::Pending CallPipeline::EndLocked(absl::Status status) {
  state_ = State::kEnded;
  status_ = std::move(status);
  return std::exchange(pending_, {});
}

void CallPipeline::End(absl::Status status) {
  Pending freed;
  {
    base::MutexLock lock(&mutex_);
    if (state_ == State::kEnded) return;
    freed = EndLocked(std::move(status));
  }
  freed = {};  // before the front is told
  notifier_->Notify();
}

void CallPipeline::Submit(Decode decode) {
  WorkerPool::Lane lane;
  {
    base::MutexLock lock(&mutex_);
    if (!Advance(State::kDecodeQueued)) return;
    pending_.decode = std::move(decode);
    lane = lane_;
  }
  Post(&CallPipeline::DecodeOnWorker, lane);
}

void CallPipeline::Post(void (CallPipeline::*step)(), WorkerPool::Lane lane) {
  const bool posted = service_->workers().TryPost([self = shared_from_this(), step] { (self.get()->*step)(); }, lane);
  if (!posted) End(WorkersBusy());
}

void CallPipeline::DecodeOnWorker() {
  Pending pending;
  CallInfo info;
  {
    base::MutexLock lock(&mutex_);
    if (!Advance(State::kDecoding)) return;
    pending = std::exchange(pending_, {});
    info = info_;
  }
  const base::LogScope named = Named();
  absl::Status status = pending.admitted[0].ticket.CheckSlot(info.caller.priority, info.request_id);
  if (status.ok()) {
    absl::StatusOr<DecodedRequest> decoded = pending.decode();
    status = decoded.status();
    if (status.ok()) status = Prepare(*std::move(decoded), &info, &pending.admitted);
  }
  pending.decode = nullptr;  // before the front is told
  {
    base::MutexLock lock(&mutex_);
    info_.caller = std::move(info.caller);
    if (status.ok() && cancelled_) status = Cancelled();
    if (status.ok()) {
      if (!Advance(State::kAwaiting)) return;
      pending_ = std::exchange(pending, {});
    }
  }
  if (status.ok()) {
    AwaitMissing(/*on_worker=*/true);
  } else {
    pending = {};
    End(std::move(status));
  }
}

absl::Status CallPipeline::Prepare(DecodedRequest decoded, CallInfo* info, std::vector<Admitted>* admitted) {
  if (decoded.priority.has_value()) {
    if (absl::Status status = info->caller.AskFor(*decoded.priority); !status.ok()) return status;
  }
  for (size_t i = 0; i < decoded.calls.size(); ++i) {
    if (i > 0) {
      absl::StatusOr<admission::Ticket> ticket =
          service_->Admit(AdmissionOf(*info, decoded.body_bytes / static_cast<int64_t>(decoded.calls.size())));
      if (!ticket.ok() && !MayAnswer(ticket.status())) return ticket.status();
      admitted->push_back(AdmittedOf(std::move(ticket)));
    }
    absl::StatusOr<std::unique_ptr<PreparedCall>> call = std::visit(
        [&](auto& plain) {
          ApplyInfo(*info, i, &plain.options);
          return service_->Prepare(std::move(plain));
        },
        decoded.calls[i]);
    if (!call.ok()) return call.status();
    (*call)->refusal = std::move((*admitted)[i].refusal);
    (*admitted)[i].call = *std::move(call);
  }
  return absl::OkStatus();
}

void CallPipeline::AwaitMissing(bool on_worker) {
  std::shared_ptr<PendingGrammar> grammar;
  std::shared_ptr<response_cache::Lookup> lookup;
  {
    base::MutexLock lock(&mutex_);
    if (state_ == State::kEnded) return;
    for (const Admitted& admitted : pending_.admitted) {
      const PreparedCall& call = *admitted.call;
      if (call.grammar != nullptr && !call.grammar->ready()) grammar = call.grammar;
      if (call.lookup != nullptr && !call.lookup->ready()) lookup = call.lookup;
    }
    if (grammar == nullptr && lookup == nullptr) Advance(State::kStartQueued);
  }
  auto again = [self = shared_from_this()] { self->AwaitMissing(/*on_worker=*/false); };
  if (lookup != nullptr) {
    lookup->OnReady(std::move(again));
  } else if (grammar != nullptr) {
    grammar->OnReady(std::move(again));
  } else if (on_worker) {
    StartOnWorker();
  } else {
    Post(&CallPipeline::StartOnWorker, WorkerPool::Lane::kShort);
  }
}

void CallPipeline::StartOnWorker() {
  Pending pending;
  {
    base::MutexLock lock(&mutex_);
    if (!Advance(State::kStarting)) return;
    pending = std::exchange(pending_, {});
  }
  const base::LogScope named = Named();
  std::vector<std::unique_ptr<ActiveCall>> calls;
  for (Admitted& admitted : pending.admitted) {
    absl::StatusOr<std::unique_ptr<ActiveCall>> call =
        service_->Start(std::move(admitted.call), std::move(admitted.ticket), notifier_);
    if (!call.ok()) {
      calls.clear();
      pending = {};
      return End(call.status());
    }
    calls.push_back(*std::move(call));
  }
  {
    base::MutexLock lock(&mutex_);
    if (!Advance(State::kRunning)) return;
    calls_ = std::exchange(calls, {});
    call_ended_.assign(calls_.size(), false);
    if (cancelled_) {
      for (const auto& call : calls_) call->Cancel();
    }
  }
  // Who was notified before the calls were here has found nothing.
  notifier_->Notify();
}

void CallPipeline::Cancel() {
  Pending freed;
  {
    base::MutexLock lock(&mutex_);
    switch (state_) {
      case State::kEnded:
        return;
      case State::kDecoding:
      case State::kStarting:
        cancelled_ = true;
        return;
      case State::kRunning:
        for (const auto& call : calls_) call->Cancel();
        break;
      default:
        freed = EndLocked(Cancelled());
    }
  }
  freed = {};
  notifier_->Notify();
}

CallPipeline::Progress CallPipeline::progress() const {
  base::MutexLock lock(&mutex_);
  return ProgressLocked();
}

CallPipeline::Progress CallPipeline::ProgressLocked() const {
  if (state_ == State::kEnded) return Progress::kEnded;
  return state_ == State::kRunning ? Progress::kRunning : Progress::kPreparing;
}

CallPipeline::Progress CallPipeline::Read(
    absl::FunctionRef<void(size_t index, const ActiveCall& call, CallUpdate&& update)> take) {
  base::MutexLock lock(&mutex_);
  if (state_ != State::kRunning) return ProgressLocked();
  for (size_t i = 0; i < calls_.size(); ++i) {
    if (call_ended_[i]) continue;
    CallUpdate update = calls_[i]->Read();
    if (update.empty()) continue;
    if (first_update_ == absl::InfiniteFuture()) first_update_ = service_->clock().Now();
    for (const ChoiceDelta& delta : update.deltas) {
      if (delta.finish != service::Finish::kNone) finishes_.push_back(delta.finish);
    }
    if (update.done) {
      update.status = StatusFor(info_.protocol, update);
      call_ended_[i] = true;
      usage_ += update.usage;
      status_ = update.status;
    }
    take(i, *calls_[i], std::move(update));
    if (!status_.ok()) break;
  }
  const bool all_ended = std::find(call_ended_.begin(), call_ended_.end(), false) == call_ended_.end();
  if (all_ended || !status_.ok()) state_ = State::kEnded;
  return ProgressLocked();
}

const std::vector<std::unique_ptr<ActiveCall>>& CallPipeline::calls() const {
  base::MutexLock lock(&mutex_);
  return calls_;
}

Usage CallPipeline::usage() const {
  base::MutexLock lock(&mutex_);
  return usage_;
}

absl::Status CallPipeline::status() const {
  base::MutexLock lock(&mutex_);
  return status_;
}

void CallPipeline::Finish(const absl::Status& status, int code, std::string_view served_by) {
  CallInfo info;
  CallOutcome outcome{.status = status, .code = code, .served_by = std::string(served_by)};
  Pending freed;
  std::vector<std::unique_ptr<ActiveCall>> calls;
  {
    base::MutexLock lock(&mutex_);
    if (finished_) return;
    finished_ = true;
    freed = EndLocked(status);
    calls = std::exchange(calls_, {});
    info = info_;
    outcome.usage = usage_;
    outcome.finishes = std::move(finishes_);
    outcome.first_update = first_update_;
    for (size_t i = 0; i < calls.size(); ++i) {
      if (!call_ended_[i]) outcome.usage += calls[i]->usage();
      MergeTimes(calls[i]->times(), &outcome.times);
    }
    if (!calls.empty()) outcome.model = calls.front()->model().name;
    if (at_door_) outcome.refused_after = service_->clock().Now() - asked_;
    // What a call has taken that the client left in the middle is not known, nor what another server has spent on it;
    // its prompt it has had.
    const int64_t tokens = int64_t{usage_.prompt_tokens} + usage_.completion_tokens;
    const bool elsewhere = passed_on_ && OutcomeOf(status) != "shed";
    const bool all_known = !elsewhere && std::find(call_ended_.begin(), call_ended_.end(), false) == call_ended_.end();
    quota_use_.End(service_->clock().Now(), all_known ? tokens : std::max(tokens, quota_use_.charged()));
  }
  notifier_->Disconnect();
  calls.clear();
  freed = {};
  service_->Record(info, std::move(outcome));
}

}  // namespace hadal::service
