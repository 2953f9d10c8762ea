// SPDX-License-Identifier: Apache-2.0
// Retire: what was cancelled, stopped, expired or not read ends, and everything it held goes back.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/scheduler.h"
#include "server/request/refusal.h"

namespace hadal::engine {

using request::FinishReason;
using request::Reason;

namespace {

absl::Status CancelledStatus() {
  return request::MakeError(Reason::kCancelled, "the caller has cancelled the request");
}
absl::Status ExpiredStatus(absl::string_view where) {
  return request::MakeError(Reason::kDeadlineExpired, absl::StrCat("the request's deadline passed ", where));
}

}  // namespace

void Scheduler::Retire(absl::Time now, bool consumers_changed) {
  now_ = now;
  cache_.SetLimit(admission_->BlockLimit(model_index_));
  RetireQueued(now, consumers_changed);
  RetireRunning(now, consumers_changed);
  RemoveEnded();
}

void Scheduler::RetireQueued(absl::Time now, bool consumers_changed) {
  for (admission::QueuedRequest& queued : admission_->RemoveExpired(model_index_, now, consumers_changed)) {
    if (!queued.refusal.ok()) {
      const absl::Status refusal = queued.refusal;
      CloseQueued(std::move(queued), refusal, now);
      continue;
    }
    // A front cancels what its client gives up at the deadline: that is a missed deadline, too.
    const bool cancelled = queued.request->stream->cancelled() && queued.request->StartBy() > now;
    CloseQueued(std::move(queued), cancelled ? CancelledStatus() : ExpiredStatus("in the queue"), now);
  }
}

void Scheduler::CloseQueued(admission::QueuedRequest queued, const absl::Status& status, absl::Time now) {
  RequestFacts facts;
  facts.priority = queued.request->priority;
  facts.reason = request::GetErrorDetail(status).reason;
  facts.stage = Stage::kQueue;
  facts.queue_time = facts.total_time = now - queued.request->arrival;
  queued.ticket.Release();  // before the stream says that it is over
  for (int32_t choice = 0; choice < queued.request->n; ++choice) {
    queued.request->stream->EndChoice(
        {choice, facts.reason == Reason::kCancelled ? FinishReason::kCancelled : FinishReason::kError, -1});
  }
  queued.request->stream->Close(status, {});
  observer_->OnEnded(facts);
}

void Scheduler::EndQueued(absl::FunctionRef<absl::Status()> status) {
  if (admission_->QueuedRequests(model_index_) == 0) return;
  for (admission::QueuedRequest& queued : admission_->DrainQueue(model_index_))
    CloseQueued(std::move(queued), status(), now_);
}

void Scheduler::RetireRunning(absl::Time now, bool consumers_changed) {
  const bool deadline_reached = now >= next_deadline_;
  if (!consumers_changed && !deadline_reached && paused_requests_ == 0) return;
  if (deadline_reached) next_deadline_ = absl::InfiniteFuture();
  for (const auto& owned : requests_) {
    ActiveRequest& request = *owned;
    if (request.ended) continue;
    if (request.request->deadline <= now) {
      EndRequest(request, ExpiredStatus("while it ran"), FinishReason::kError);
      continue;
    }
    if (request.stream().cancelled()) {
      EndRequest(request, CancelledStatus(), FinishReason::kCancelled);
      continue;
    }
    if (deadline_reached) next_deadline_ = std::min(next_deadline_, request.request->deadline);
    for (const int32_t choice : request.stream().TakeStoppedChoices()) {
      if (choice < 0 || choice >= static_cast<int32_t>(request.choices.size())) continue;
      Sequence& sequence = *request.choices[choice];
      if (sequence.state != SequenceState::kEnded) EndChoice(sequence, FinishReason::kStop, -1);
    }
    if (!request.ended) UpdatePaused(request, now);
  }
}

void Scheduler::UpdatePaused(ActiveRequest& request, absl::Time now) {
  if (!request.paused()) return;  // Plan notices a full stream
  if (request.stream().Writable()) {
    request.paused_since = absl::InfiniteFuture();
    --paused_requests_;
  } else if (now - request.paused_since >= options_.stream.slow_reader_timeout) {
    EndRequest(request,
               request::MakeError(Reason::kSlowReader, absl::StrCat("the client has not read its stream for ",
                                                                    absl::FormatDuration(now - request.paused_since))),
               FinishReason::kCancelled);
  }
}

void Scheduler::EndSequence(Sequence& sequence, FinishReason reason, int32_t stop_token) {
  if (sequence.state == SequenceState::kWaiting) waiting_.erase(&sequence);
  sequence.state = SequenceState::kEnded;
  ended_since_removal_ = true;
  ReleaseBlocks(sequence);
  ActiveRequest& request = *sequence.owner;
  --request.open_choices;
  if (request.open_choices > 0) SuspendLease(request);
  outbox_.push_back({Outgoing::Kind::kEnd, &request, {}, {sequence.choice, reason, stop_token}, {}});
  request.cut_short = request.cut_short || reason == FinishReason::kInsufficientSystemResource;
  observer_->OnChoiceEnded(reason);
  if (reason == FinishReason::kStop || reason == FinishReason::kLength) {
    admission_->RecordOutputLength(model_index_, *request.request, sequence.produced(), sequence.length_mark);
  }
}

void Scheduler::EndChoice(Sequence& sequence, FinishReason reason, int32_t stop_token) {
  EndSequence(sequence, reason, stop_token);
  if (sequence.owner->open_choices == 0) CloseRequest(*sequence.owner, absl::OkStatus());
}

void Scheduler::EndRequest(ActiveRequest& request, const absl::Status& status, FinishReason reason) {
  if (request.ended) return;
  for (const auto& sequence : request.choices) {
    if (sequence->state != SequenceState::kEnded) EndSequence(*sequence, reason, -1);
  }
  CloseRequest(request, status);
}

void Scheduler::CloseRequest(ActiveRequest& request, const absl::Status& status) {
  request.ended = true;
  ++closing_;
  if (request.paused()) --paused_requests_;
  if (request.set_aside()) --aside_requests_;
  request.paused_since = request.aside_since = absl::InfiniteFuture();
  outbox_.push_back({Outgoing::Kind::kClose, &request, {}, {}, status});
}

void Scheduler::ReleaseBlocks(Sequence& sequence) {
  cache_.Release(sequence.blocks);
  if (windows_.enabled()) windows_.Release(sequence.window);
}

void Scheduler::RemoveEnded() {
  if (!ended_since_removal_) return;
  ended_since_removal_ = false;
  std::erase_if(running_, [](const Sequence* sequence) { return sequence->state != SequenceState::kRunning; });
}

Stage Scheduler::StageOf(const ActiveRequest& request) const {
  return request.first_token == absl::InfiniteFuture() ? Stage::kPrefill : Stage::kDecode;
}

void Scheduler::EndAll(absl::FunctionRef<absl::Status()> status) {
  for (const auto& request : requests_) EndRequest(*request, status(), FinishReason::kError);
  RemoveEnded();
}

void Scheduler::EndAllInsufficient() {
  for (const auto& request : requests_) {
    if (StageOf(*request) == Stage::kDecode) {
      EndRequest(*request, absl::OkStatus(), FinishReason::kInsufficientSystemResource);
    } else {
      // Nothing has been sent: the client can go to another replica.
      EndRequest(*request, admission_->EndedBy(Reason::kDraining), FinishReason::kInsufficientSystemResource);
    }
  }
  RemoveEnded();
}

void Scheduler::FailStep(const BatchPlan& plan, const absl::Status& status, BatchPlan& next) {
  for (const PlanEntry& entry : plan.entries) {
    if (!entry.dropped && !entry.sequence->owner->ended) {
      EndRequest(*entry.sequence->owner, status, FinishReason::kError);
    }
  }
  DropEnded(next);
  RemoveEnded();
}

}  // namespace hadal::engine
