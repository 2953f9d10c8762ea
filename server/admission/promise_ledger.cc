// SPDX-License-Identifier: Apache-2.0
#include "server/admission/promise_ledger.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

int64_t BucketOf(absl::Time time) { return absl::ToUnixMicros(time) / absl::ToInt64Microseconds(kForecastBucket); }

}  // namespace

PromiseLedger::Amount PromiseLedger::SumUpTo(const PerClass& amounts, request::Priority priority) {
  Amount sum;
  for (size_t i = 0; i <= static_cast<size_t>(priority); ++i) {
    sum.places += amounts[i].places;
    sum.blocks += amounts[i].blocks;
  }
  return sum;
}

PromiseLedger::Amount PromiseLedger::Held(request::Priority priority) const {
  const Amount due = SumUpTo(held_[kHeldAtDue], priority);
  const Amount whole = SumUpTo(held_[kHeldAtWhole], priority);
  const Amount crowds = SumUpTo(held_[kHeldInCrowds], priority);
  return {share_at_due_.value * due.places + share_at_whole_.value * whole.places + crowds.places,
          share_at_due_.value * due.blocks + share_at_whole_.value * whole.blocks + crowds.blocks};
}
PromiseLedger::Amount PromiseLedger::Overdue(request::Priority priority) const { return SumUpTo(overdue_, priority); }
PromiseLedger::Amount PromiseLedger::InBucket(request::Priority priority, int bucket) const {
  return SumUpTo(ring_[static_cast<size_t>((bucket_ + bucket) % kRing)], priority);
}

int PromiseLedger::ListOf(State state) {
  switch (state) {
    case State::kFree:
      return -1;
    case State::kPending:
      return 0;
    case State::kOver:
      return 2;
    default:
      return 1;
  }
}

void PromiseLedger::Link(int32_t index, State state) {
  Node& node = nodes_[index];
  List& list = by_key_[node.promise.key].of[ListOf(state)];
  node.previous = list.last;
  node.next = -1;
  (list.last >= 0 ? nodes_[list.last].next : list.first) = index;
  list.last = index;
}

void PromiseLedger::Unlink(int32_t index) {
  Node& node = nodes_[index];
  List& list = by_key_[node.promise.key].of[ListOf(node.state)];
  (node.previous >= 0 ? nodes_[node.previous].next : list.first) = node.next;
  (node.next >= 0 ? nodes_[node.next].previous : list.last) = node.previous;
}

void PromiseLedger::Owe(int32_t index, double places) {
  Node& node = nodes_[index];
  const auto rank = static_cast<size_t>(node.promise.priority);
  Amount& amount = node.bucket < bucket_ ? overdue_[rank] : ring_[static_cast<size_t>(node.bucket % kRing)][rank];
  amount.places += places - node.owed;
  amount.blocks += (places - node.owed) * static_cast<double>(node.promise.blocks);
  node.owed = places;
}

void PromiseLedger::Hold(int32_t index, int held_in, double places) {
  Node& node = nodes_[index];
  const auto add = [&](int to, double more) {
    if (to < 0) return;
    Amount& amount = held_[static_cast<size_t>(to)][static_cast<size_t>(node.promise.priority)];
    amount.places += more;
    amount.blocks += more * static_cast<double>(node.promise.blocks);
  };
  add(node.held_in, -node.holding);
  add(held_in, places);
  node.held_in = held_in;
  node.holding = held_in < 0 ? 0 : places;
}

void PromiseLedger::SetState(int32_t index, State state) {
  Node& node = nodes_[index];
  const int held_in = state == State::kAtDue ? kHeldAtDue : state == State::kAtWhole ? kHeldAtWhole : -1;
  Hold(index, held_in, 1);
  const int from = ListOf(node.state);
  const int to = ListOf(state);
  // What is over is owed no longer.
  if ((from == 0 || from == 1) && to != 0 && to != 1) Owe(index, 0);
  if (from >= 0 && from != to) Unlink(index);
  if (to >= 0 && from != to) Link(index, state);
  node.state = state;
}

uint64_t PromiseLedger::Add(const Promise& promise, absl::Time now) {
  Advance(now);
  if (live_ >= kMaxPromises) return 0;
  if (free_.empty()) {
    free_.push_back(static_cast<int32_t>(nodes_.size()));
    nodes_.emplace_back();
  }
  const int32_t index = free_.back();
  free_.pop_back();
  ++live_;
  Node& node = nodes_[index];
  node.promise = promise;
  ++node.generation;
  Schedule(index);
  return NumberOf(index);
}

void PromiseLedger::Move(const Found& found, const Promise& promise, absl::Time now) {
  Advance(now);
  SetState(found.index, State::kOver);  // owes and holds nothing
  Node& node = nodes_[found.index];
  node.promise.told = promise.told;
  node.promise.due = promise.due;
  node.promise.whole = promise.whole;
  node.promise.end = promise.end;
  Schedule(found.index);
}

void PromiseLedger::Schedule(int32_t index) {
  Node& node = nodes_[index];
  node.held_twice = false;
  node.counted = false;
  node.kept = {};
  node.bucket = std::clamp(BucketOf(node.promise.due), bucket_, bucket_ + kRing - 1);
  ++node.events;
  node.owed = 0;
  Owe(index, node.promise.places);
  SetState(index, State::kPending);
  events_.push({node.promise.due - node.promise.lead, index, node.events});
}

void PromiseLedger::Free(int32_t index) {
  const uint64_t key = nodes_[index].promise.key;
  SetState(index, State::kFree);
  ++nodes_[index].generation;
  ++nodes_[index].events;
  free_.push_back(index);
  --live_;
  const auto found = by_key_.find(key);
  if (std::all_of(found->second.of.begin(), found->second.of.end(), [](const List& list) { return list.first < 0; })) {
    by_key_.erase(found);
  }
}

void PromiseLedger::Remove(const Found& found) {
  const Node& node = nodes_[found.index];
  const bool overlap = node.promise.whole - node.promise.lead < node.promise.due + kTail;
  if (ListOf(node.state) == 1) return_share_.Learn(true);
  if (node.state == State::kAtDue) share_at_due_.Learn(true);
  if (node.state == State::kAtWhole) share_at_whole_.Learn(true);
  // Not held at the first moment, and there before the second.
  if (node.state == State::kBetween && !node.held_twice && overlap) share_at_due_.Learn(true);
  Free(found.index);
}

void PromiseLedger::Go(int32_t index, State state, absl::Time until) {
  SetState(index, state);
  events_.push({until, index, nodes_[index].events});
}

void PromiseLedger::End(int32_t index) { Go(index, State::kOver, nodes_[index].promise.end + kRememberLate); }

void PromiseLedger::Next(int32_t index, absl::Time now) {
  const Node& node = nodes_[index];
  const bool open = node.state != State::kOver && node.state != State::kFree;
  if (const Lists& lists = by_key_.find(node.promise.key)->second; open && IsCrowd(lists, now)) {
    return NextInCrowd(index, lists, now);
  }
  const Promise& promise = node.promise;
  const absl::Time held_again = std::max(promise.whole - promise.lead, promise.due + kTail);
  const absl::Time held_until = std::min(promise.whole + kTail, promise.end);
  switch (node.state) {
    case State::kPending: {
      // Where the two would overlap, it is held around the moment at which more return. The client is known all the
      // same if it comes at the other.
      const bool overlap = promise.whole - promise.lead < promise.due + kTail;
      const double at_whole = (1 - share_at_due_.value) * share_at_whole_.value;
      if (overlap && at_whole > share_at_due_.value) {
        return Go(index, State::kBetween, promise.whole - promise.lead);
      }
      return Go(index, State::kAtDue, promise.due + kTail);
    }
    case State::kAtDue:
      share_at_due_.Learn(false);
      // When the two moments are close to each other there is nothing between them.
      nodes_[index].held_twice = held_again >= held_until;
      return Go(index, State::kBetween, node.held_twice ? promise.end : held_again);
    case State::kBetween:
      if (!node.held_twice) {
        nodes_[index].held_twice = true;
        return Go(index, State::kAtWhole, held_until);
      }
      return_share_.Learn(false);
      return End(index);
    case State::kAtWhole:
      share_at_whole_.Learn(false);
      return Go(index, State::kBetween, promise.end);
    case State::kOver:
      return Free(index);
    case State::kFree:
      return;
  }
}

void PromiseLedger::Advance(absl::Time now) {
  const int64_t bucket = BucketOf(now);
  for (int64_t b = bucket_; b < std::min(bucket, bucket_ + kRing); ++b) {
    PerClass& past = ring_[static_cast<size_t>(b % kRing)];
    for (size_t i = 0; i < past.size(); ++i) {
      overdue_[i].places += past[i].places;
      overdue_[i].blocks += past[i].blocks;
    }
    past = {};
  }
  bucket_ = std::max(bucket_, bucket);
  while (!events_.empty() && events_.top().at <= now) {
    const Event event = events_.top();
    events_.pop();
    if (nodes_[event.index].events == event.generation) Next(event.index, event.at);
  }
}

PromiseLedger::Found PromiseLedger::FindNumber(uint64_t number, absl::Time now) {
  Advance(now);
  const uint32_t place = static_cast<uint32_t>(number);
  if (place == 0 || place > nodes_.size()) return {};
  const auto index = static_cast<int32_t>(place - 1);
  if (nodes_[index].state == State::kFree || NumberOf(index) != number) return {};
  constexpr ReturnTiming kTimings[] = {ReturnTiming::kEarly, ReturnTiming::kInWindow, ReturnTiming::kLate};
  return {kTimings[ListOf(nodes_[index].state)], index};
}

PromiseLedger::Found PromiseLedger::Find(uint64_t key, KeyQuality quality, absl::Time now) {
  Advance(now);
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || quality == KeyQuality::kFirst) return {};
  const Lists& lists = found->second;
  const auto& [pending, open, over] = lists.of;
  const size_t kind = KindOf(quality);
  const bool crowd = quality != KeyQuality::kOwn && IsCrowd(lists, kind, now);
  if (crowd || quality == KeyQuality::kShared) return FindByMoment(lists, kind, crowd, now);
  if (open.first >= 0) return {ReturnTiming::kInWindow, open.first};
  if (over.last >= 0) return {ReturnTiming::kLate, over.last};
  if (quality == KeyQuality::kOwn && pending.first >= 0) return {ReturnTiming::kEarly, pending.first};
  return {};
}

}  // namespace hadal::admission
