// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/block_event_queue.h"

namespace hadal::kv_events {

void BlockEventList::Append(const BlockEventList& more) {
  events.insert(events.end(), more.events.begin(), more.events.end());
  tokens.insert(tokens.end(), more.tokens.begin(), more.tokens.end());
}

void BlockEventList::Clear() {
  events.clear();
  tokens.clear();
}

void BlockEventQueue::OnStored(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) {
  round_.events.push_back({BlockEventList::Kind::kStored, node, parent, salt, tokens.size()});
  round_.tokens.insert(round_.tokens.end(), tokens.begin(), tokens.end());
}

void BlockEventQueue::OnRemoved(uint64_t node) { round_.events.push_back({BlockEventList::Kind::kRemoved, node}); }

void BlockEventQueue::OnReset() {
  round_.Clear();
  round_.events.push_back({BlockEventList::Kind::kReset});
}

bool BlockEventQueue::EndRound() {
  if (round_.events.empty() && !lost_) return true;
  bool was_empty = false, overflow = false;
  {
    base::MutexLock lock(&mutex_);
    was_empty = waiting_.events.empty();
    if (lost_ && was_empty) {
      lost_ = false;
      round_.Clear();
      return false;
    }
    if (!lost_ && waiting_.events.size() + round_.events.size() > limit_) lost_ = overflow = true;
    if (!lost_ && was_empty) {
      std::swap(waiting_, round_);
    } else if (!lost_) {
      waiting_.Append(round_);
    }
  }
  round_.Clear();
  if (overflow) on_overflow_();
  if (was_empty && !lost_) notify_();
  return true;
}

BlockEventList BlockEventQueue::Take() {
  BlockEventList taken;
  base::MutexLock lock(&mutex_);
  std::swap(taken, waiting_);
  return taken;
}

}  // namespace hadal::kv_events
