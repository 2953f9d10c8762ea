// SPDX-License-Identifier: Apache-2.0
#include "server/engine/scheduler.h"

#include <algorithm>

namespace hadal::engine {
namespace {

EngineObserver* ObserverOrNone(EngineObserver* observer) {
  static EngineObserver none;
  return observer != nullptr ? observer : &none;
}

}  // namespace

Scheduler::Scheduler(const EngineOptions& options, const models::Model& model,
                     admission::AdmissionController* admission, int model_index)
    : options_(options),
      info_(model.info()),
      admission_(admission),
      model_index_(model_index),
      observer_(ObserverOrNone(options.observer)),
      shape_{options.block_tokens, model.kv_layout().window_tokens},
      overlapped_steps_(model.overlapped_steps()),
      windows_({.window_tokens = shape_.window_tokens,
                .blocks = options.num_window_blocks,
                .block_tokens = options.block_tokens,
                .max_batch_tokens = options.max_batch_tokens,
                .reuse = options.prefix_cache}),
      cache_({.num_blocks = options.num_blocks,
              .block_tokens = options.block_tokens,
              .fingerprint = info_.fingerprint,
              .enabled = options.prefix_cache,
              .windows = &windows_,
              .events = options.block_events}),
      shares_leases_(options.prefix_cache && !windows_.enabled()),
      now_(options.clock->Now()) {
  last_start_.fill(absl::InfinitePast());
}

Scheduler::~Scheduler() {
  EndAll([] { return request::MakeError(request::Reason::kInternal, "the engine has stopped"); });
  Publish();
}

// The more urgent first, then who started first.
bool Scheduler::WaitingOrder::operator()(const Sequence* a, const Sequence* b) const {
  const Urgency urgency_a = a->owner->urgency();
  const Urgency urgency_b = b->owner->urgency();
  return urgency_a != urgency_b ? urgency_a < urgency_b : a->order < b->order;
}

bool Scheduler::Runnable() const {
  if (ActiveSequences() > 0 || NextAside() != nullptr) return true;
  if (no_room_ && paused_requests_ > 0) return false;
  return admission_->QueuedRequests(model_index_) > 0 || NextWaiting() != nullptr;
}

absl::Time Scheduler::NextTimer() const {
  absl::Time next = std::min(next_deadline_, admission_->NextDeadline(model_index_));
  if (gather_until_ > now_) next = std::min(next, gather_until_);
  if (paused_requests_ > 0) {
    for (const auto& request : requests_) {
      if (!request->paused()) continue;
      next = std::min(next, request->paused_since + options_.stream.slow_reader_timeout);
      const absl::Time stalled = request->paused_since + kStalledReader;
      if (no_room_ && stalled > now_) next = std::min(next, stalled);
    }
  }
  return next;
}

Scheduler::Counts Scheduler::counts() const {
  Counts counts;
  counts.requests = static_cast<int32_t>(requests_.size()) - closing_;
  counts.running = static_cast<int32_t>(running_.size());
  counts.active = ActiveSequences();
  counts.waiting = static_cast<int32_t>(waiting_.size());
  counts.paused = paused_requests_;
  counts.set_aside = aside_requests_;
  counts.free_blocks = cache_.pool().free();
  counts.leased_blocks = cache_.pool().used();
  counts.cached_blocks = cache_.pool().evictable();
  counts.free_window_blocks = windows_.pool().free();
  counts.leased_window_blocks = windows_.pool().used();
  counts.cached_window_blocks = windows_.pool().evictable();
  return counts;
}

void Scheduler::PublishSequences(admission::EngineLoad& load) const {
  load.BeginSequences();
  const bool yields = MoreUrgentLately(UrgencyOf(request::Priority::kBatch, /*owed=*/true));
  for (const Sequence* sequence : running_) {
    // No request waits for a place that it could take.
    if (sequence->owner->set_aside() || (yields && Yields(*sequence->owner))) continue;
    admission::RunningSequence one;
    one.priority = sequence->owner->request->priority;
    one.blocks = sequence->owner->leased_blocks;
    one.produced = sequence->produced();
    one.max_tokens = sequence->max_tokens;
    one.context_tokens = sequence->computed;
    // The last known token is a decode row of its own.
    one.prefill_tokens = std::max(0, static_cast<int32_t>(sequence->tokens.size()) - 1 - sequence->computed);
    one.thinking = sequence->owner->request->thinking;
    one.fixed_length = sequence->owner->request->fixed_length();
    load.AddSequence(one);
  }
  load.EndSequences();
}

}  // namespace hadal::engine
