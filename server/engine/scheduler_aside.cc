// SPDX-License-Identifier: Apache-2.0
// Aside: when all places of the batch are taken, a request of class batch leaves its own to a more urgent one and goes
// on later. It keeps its blocks, so nothing is computed twice, unless others need them.
#include <algorithm>
#include <optional>

#include "server/engine/scheduler.h"

namespace hadal::engine {

using request::Priority;

namespace {

int32_t HeldPlaces(const ActiveRequest& request) {
  return static_cast<int32_t>(std::count_if(request.choices.begin(), request.choices.end(), [](const auto& sequence) {
    return sequence->state == SequenceState::kRunning;
  }));
}

}  // namespace

bool Scheduler::Yields(const ActiveRequest& request) const {
  if (request.request->priority != Priority::kBatch || request.aged || request.suspended() || request.ended)
    return false;
  // There are windows for one batch only, so they must be given back, too.
  return !windows_.enabled() || std::none_of(request.choices.begin(), request.choices.end(), [](const auto& sequence) {
    return sequence->state == SequenceState::kRunning && (sequence->non_preemptible || sequence->scoring());
  });
}

int32_t Scheduler::YieldingSequences() const {
  return static_cast<int32_t>(
      std::count_if(running_.begin(), running_.end(), [this](const Sequence* s) { return Yields(*s->owner); }));
}

void Scheduler::LimitBatch(BatchPlan& plan) {
  batch_rows_ = BatchRows();
  int32_t rows = batch_rows_ < options_.max_batch_size ? YieldingSequences() : 0;
  while (rows > batch_rows_) {
    ActiveRequest& last = *LastYielding();
    if (HeldPlaces(last) >= rows) break;  // the only one goes on
    rows -= SetAside(last, plan);
  }
}

ActiveRequest* Scheduler::LastYielding() const {
  ActiveRequest* last = nullptr;
  for (const Sequence* sequence : running_) {
    if (Yields(*sequence->owner) && (last == nullptr || sequence->owner->order > last->order)) last = sequence->owner;
  }
  return last;
}

int32_t Scheduler::SetAsideUntil(int32_t most, int32_t active, BatchPlan& plan) {
  while (active > most) {
    ActiveRequest* const last = LastYielding();
    if (last == nullptr) break;
    active -= SetAside(*last, plan);
  }
  return active;
}

int32_t Scheduler::SetAside(ActiveRequest& request, BatchPlan& plan) {
  // Rows of this plan; what runs already is not affected.
  std::erase_if(plan.entries, [&](const PlanEntry& entry) {
    if (entry.sequence->owner != &request || entry.dropped) return false;
    entry.sequence->scheduled = entry.start;
    plan.tokens -= entry.count;
    plan.decode_context_tokens -= entry.start;
    --plan.decode_entries;
    if (entry.samples) {
      --entry.sequence->pending_samples;
      --plan.sample_rows;
    }
    return true;
  });
  request.aside_since = now_;
  ++aside_requests_;
  const int32_t places = HeldPlaces(request);
  observer_->OnSetAside(places);
  for (const auto& sequence : request.choices) {
    if (windows_.enabled() && sequence->state == SequenceState::kRunning) Preempt(*sequence, plan);
  }
  return places;
}

ActiveRequest* Scheduler::NextAside() const {
  if (aside_requests_ == 0) return nullptr;
  ActiveRequest* first = nullptr;
  for (const auto& request : requests_) {
    if (!request->set_aside() || request->paused()) continue;
    if (first == nullptr || request->order < first->order) first = request.get();
  }
  return first;
}

Priority Scheduler::MostUrgentWaiting(bool start_new) const {
  Priority most = Priority::kBatch;
  if (const Sequence* waiting = NextWaiting(); waiting != nullptr) most = waiting->owner->request->priority;
  if (!start_new) return most;
  const std::optional<admission::QueueTurn> turn = admission_->NextTurn(model_index_, /*by_age=*/false);
  return turn.has_value() ? std::min(most, turn->priority) : most;
}

std::optional<admission::QueueTurn> Scheduler::AgedAside(bool start_new) const {
  const ActiveRequest* const request = NextAside();
  const Priority passed = request == nullptr ? Priority::kBatch : MostUrgentWaiting(start_new);
  const int ranks = static_cast<int>(Priority::kBatch) - static_cast<int>(passed);
  if (ranks == 0 || now_ - request->aside_since <= ranks * admission_->options().order.class_step) return std::nullopt;
  return admission::QueueTurn{.priority = Priority::kBatch, .passed = passed};
}

void Scheduler::ResumeAged(int32_t& active, BatchPlan& plan) {
  ActiveRequest& request = *NextAside();
  if (active + HeldPlaces(request) > options_.max_batch_size) return;
  request.aged = true;
  active += Resume(request, plan);
}

void Scheduler::ResumeAside(bool start_new, int32_t active, int32_t of_batch, BatchPlan& plan) {
  if (aside_requests_ == 0 || MostUrgentWaiting(start_new) != Priority::kBatch) return;
  while (ActiveRequest* const request = NextAside()) {
    const int32_t places = options_.max_batch_size - KeptPlaces(request->urgency());
    if (active > 0 && active + HeldPlaces(*request) > places) break;
    if (of_batch > 0 && of_batch + HeldPlaces(*request) > batch_rows_) break;
    const int32_t resumed = Resume(*request, plan);
    active += resumed;
    of_batch += resumed;
  }
}

int32_t Scheduler::Resume(ActiveRequest& request, BatchPlan& plan) {
  request.aside_since = absl::InfiniteFuture();
  --aside_requests_;
  // Behind those whose rows are planned: this plan has no rows of these yet.
  const auto others = std::stable_partition(running_.begin(), running_.end(),
                                            [&](const Sequence* sequence) { return sequence->owner != &request; });
  const auto moved = static_cast<int32_t>(running_.end() - others);
  started_from_ -= static_cast<size_t>(moved);
  for (const auto& sequence : request.choices) {
    if (sequence->state == SequenceState::kRunning && sequence->remaining() == 1) EnsureBlock(*sequence, plan);
  }
  return moved;
}

}  // namespace hadal::engine
