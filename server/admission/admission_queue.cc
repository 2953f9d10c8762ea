// SPDX-License-Identifier: Apache-2.0
// The queues of the controller: front ends push, engines pop.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/admission.h"
#include "server/admission/model_state.h"

namespace hadal::admission {
namespace {

using request::Reason;

int64_t DeadlineMicros(absl::Time deadline) {
  return deadline == absl::InfiniteFuture() ? INT64_MAX : absl::ToUnixMicros(deadline);
}

// Within which a request starts that does not wait: the engine has a step to end first.
constexpr absl::Duration kStartGrace = absl::Milliseconds(250);

}  // namespace

absl::Status AdmissionController::Enqueue(int model_index, std::unique_ptr<request::Request>&& request,
                                          Ticket&& ticket) {
  if (model_index < 0 || model_index >= static_cast<int>(models_.size()) || request == nullptr ||
      request->stream == nullptr || ticket.controller_ != this || !ticket.holds_slot() || !ticket.finalized_ ||
      ticket.model_index_ != model_index) {
    return request::MakeError(Reason::kInternal,
                              "Enqueue: needs a request with a stream and a ticket finalized for its model");
  }
  ModelState& model = *models_[model_index];
  const Subject subject{request->priority, request->id, static_cast<int64_t>(request->prompt.size()), ticket.retry_};
  if (ticket.evicted()) return RefuseEvicted(subject);
  State state;
  {
    base::MutexLock lock(&model.queue_mutex);
    // Under the queue's lock: the DrainQueue after BeginDrain sees every request that found the queue open here.
    state = state_.load(std::memory_order_acquire);
    if (state == State::kReady) {
      if (model.wake != nullptr) request->stream->SetProducerWake(model.wake);
      const request::Priority priority = request->priority;
      const absl::Time now = options_.clock->Now();
      absl::Time start_by = request->StartBy();
      if (!request->may_wait) start_by = std::min(start_by, now + kStartGrace);
      const int64_t deadline_us = DeadlineMicros(start_by);
      if (deadline_us < model.next_deadline_us.load(std::memory_order_relaxed)) {
        model.next_deadline_us.store(deadline_us, std::memory_order_relaxed);
      }
      ticket.charged_ =
          WeightedTokens(static_cast<int64_t>(request->prompt.size()), int64_t{request->n} * ticket.predicted_output_);
      const std::string tenant = ticket.tenant_;
      const double cost = ticket.charged_;
      model.queue.Push(priority, tenant, now, cost,
                       QueuedRequest{std::move(request), std::move(ticket), now, start_by, {}});
      model.queued.store(static_cast<int64_t>(model.queue.size()), std::memory_order_release);
    }
  }
  if (state != State::kReady) return RefuseByState(state, subject);
  // kConsumer too: the stream may have been cancelled before it knew whom to tell, or the slot been evicted meanwhile.
  if (model.wake != nullptr) model.wake->Notify(request::WakeSignal::kEnqueued | request::WakeSignal::kConsumer);
  return absl::OkStatus();
}

void AdmissionController::SetWakeSignal(int model_index, std::shared_ptr<request::WakeSignal> wake) {
  base::MutexLock lock(&models_[model_index]->queue_mutex);
  models_[model_index]->wake = std::move(wake);
}

std::optional<QueuedRequest> AdmissionController::Pop(int model_index, request::Priority priority,
                                                      const MayStart& may_start) {
  ModelState& model = *models_[model_index];
  if (model.queued.load(std::memory_order_acquire) == 0) return std::nullopt;
  base::MutexLock lock(&model.queue_mutex);
  if (model.queue.size(priority) == 0) return std::nullopt;
  QueuedRequest& next = model.queue.Head(priority);
  if (!may_start(*next.request, next.ticket)) return std::nullopt;
  const bool owed = model.queue.HeadIsOwed(priority);
  QueuedRequest head = model.queue.PopHead(priority);
  head.owed = owed;
  model.queued.store(static_cast<int64_t>(model.queue.size()), std::memory_order_release);
  if (model.queue.empty()) model.next_deadline_us.store(INT64_MAX, std::memory_order_relaxed);
  return head;
}

std::optional<QueueTurn> AdmissionController::NextTurn(int model_index, bool by_age) const {
  ModelState& model = *models_[model_index];
  if (model.queued.load(std::memory_order_acquire) == 0) return std::nullopt;
  const absl::Time now = options_.clock->Now();
  base::MutexLock lock(&model.queue_mutex);
  return model.queue.Next(now, by_age);
}

std::vector<QueuedRequest> AdmissionController::RemoveExpired(int model_index, absl::Time now,
                                                              bool look_for_cancelled) {
  std::vector<QueuedRequest> expired;
  ModelState& model = *models_[model_index];
  if (model.queued.load(std::memory_order_acquire) == 0) return expired;
  const bool deadline_reached = absl::ToUnixMicros(now) >= model.next_deadline_us.load(std::memory_order_relaxed);
  if (!deadline_reached && !look_for_cancelled) return expired;
  {
    base::MutexLock lock(&model.queue_mutex);
    absl::Time next_deadline = absl::InfiniteFuture();
    const auto is_expired = [&](const QueuedRequest& queued) {
      if (queued.request->stream->cancelled() || queued.ticket.evicted() || queued.start_by <= now) return true;
      next_deadline = std::min(next_deadline, queued.start_by);
      return false;
    };
    model.queue.Extract(is_expired, expired);
    model.next_deadline_us.store(DeadlineMicros(next_deadline), std::memory_order_relaxed);
    model.queued.store(static_cast<int64_t>(model.queue.size()), std::memory_order_release);
  }
  for (QueuedRequest& queued : expired) {
    const request::Request& request = *queued.request;
    if (request.stream->cancelled() || request.StartBy() <= now) continue;
    if (queued.ticket.evicted()) {
      queued.refusal = RefuseEvicted(SubjectOf(queued));
    } else if (!request.may_wait) {
      queued.refusal = RefuseUnstarted(queued);
    }
  }
  return expired;
}

std::vector<QueuedRequest> AdmissionController::DrainQueue(int model_index) {
  std::vector<QueuedRequest> all;
  ModelState& model = *models_[model_index];
  base::MutexLock lock(&model.queue_mutex);
  model.queue.Extract([](const QueuedRequest&) { return true; }, all);
  model.next_deadline_us.store(INT64_MAX, std::memory_order_relaxed);
  model.queued.store(0, std::memory_order_release);
  return all;
}

absl::Time AdmissionController::NextDeadline(int model_index) const {
  const int64_t next_us = models_[model_index]->next_deadline_us.load(std::memory_order_relaxed);
  return next_us == INT64_MAX ? absl::InfiniteFuture() : absl::FromUnixMicros(next_us);
}

int64_t AdmissionController::QueuedRequests(int model_index) const {
  return models_[model_index]->queued.load(std::memory_order_acquire);
}

int32_t AdmissionController::RecordOutputProgress(int model_index, const request::Request& request, int32_t recorded,
                                                  int32_t output_tokens) {
  models_[model_index]->lengths.RecordProgress(request, recorded, output_tokens);
  return LengthCurve::UpperBound(LengthCurve::BucketOf(output_tokens));
}

void AdmissionController::RecordOutputLength(int model_index, const request::Request& request, int32_t output_tokens,
                                             int32_t recorded) {
  models_[model_index]->lengths.RecordEnd(request, output_tokens, recorded);
}

}  // namespace hadal::admission
