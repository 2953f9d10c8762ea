// SPDX-License-Identifier: Apache-2.0
// Promises of keys that many share.
#include <algorithm>
#include <cmath>

#include "server/admission/promise_ledger.h"

namespace hadal::admission {
namespace {

// Of the open promises of a key only so many are compared with an arrival.
constexpr int kMostCompared = 64;

// By which timers of clients may be early.
constexpr absl::Duration kTimerError = absl::Milliseconds(1);

// Arrivals a second under one key from which strangers would take a promise too often: three in ten within the times in
// which one is recognised by the moment, or at any time of a window by its count of attempts.
constexpr double kCrowdOfShared = 1;
constexpr double kCrowdOfRetries = 0.2;
constexpr double kCrowdHalfLife = 4;  // seconds
// Where so few strangers come in it, clients have this long: a busy machine makes some later than was learned.
constexpr absl::Duration kPatience = absl::Milliseconds(100);
constexpr double kFewStrangers = 0.5;
// Fewer a second of a kind are as good as none.
constexpr double kLeastArrivals = 0.05;
// What a promise takes in a crowd in which nobody has been seen to return.
constexpr double kLeastPlaces = 0.1;
// Of the promises, whose clients return at other moments: nobody is left for those at which none have been seen.
constexpr double kNearlyAll = 0.75;
// More are not held for one promise: they would be missing elsewhere.
constexpr double kMostPlaces = 12;

}  // namespace

double PromiseLedger::Rate::PerSecond(absl::Time now) const {
  if (value == 0) return 0;
  return value * std::exp2(-std::max(0.0, absl::ToDoubleSeconds(now - updated)) / kCrowdHalfLife);
}

void PromiseLedger::Rate::Count(absl::Time now) {
  value = PerSecond(now) + std::log(2.0) / kCrowdHalfLife;
  updated = std::max(updated, now);
}

bool PromiseLedger::IsCrowd(const Lists& lists, size_t kind, absl::Time now) {
  return lists.arrivals[kind].PerSecond(now) > (kind == KindOf(KeyQuality::kShared) ? kCrowdOfShared : kCrowdOfRetries);
}

bool PromiseLedger::Returns(size_t kind, Moment moment) const {
  const ReturnLateness& lateness = lateness_[kind][moment];
  if (lateness.share() > 0 || !lateness.possible() || !lateness.known()) return lateness.possible();
  double seen = 0, seen_to_count = 0;
  for (size_t k = 0; k < lateness_.size(); ++k) {
    for (const ReturnLateness& one : lateness_[k]) {
      seen += one.share();
      if (k == KindOf(KeyQuality::kRetry)) seen_to_count += one.share();
    }
  }
  // Where clients that return count their attempts, who does not is there for the first time.
  if (kind == KindOf(KeyQuality::kShared) && seen_to_count > 0) return false;
  return seen < kNearlyAll;
}

absl::Duration PromiseLedger::Tolerance(const Lists& lists, size_t kind, Moment moment, absl::Time now) const {
  const double per_second = std::max(lists.arrivals[kind].PerSecond(now), 1.0);
  return std::max(lateness_[kind][moment].tolerance(), std::min(kPatience, absl::Seconds(kFewStrangers / per_second)));
}

PromiseLedger::Opening PromiseLedger::OpeningAt(const Lists& lists, Moment moment, absl::Time now) const {
  Opening opening;
  for (size_t kind = 0; kind < kCrowdKinds; ++kind) {
    const ReturnLateness& lateness = lateness_[kind][moment];
    if (!Returns(kind, moment)) continue;
    const absl::Duration tolerance = Tolerance(lists, kind, moment, now);
    opening.time = std::max(opening.time, tolerance);
    // Until it is known when they return, only the client's own.
    if (lateness.known()) {
      opening.places += lists.arrivals[kind].PerSecond(now) * absl::ToDoubleSeconds(tolerance);
    }
  }
  if (opening.time > absl::ZeroDuration()) opening.places = std::min(opening.places + 1, kMostPlaces);
  return opening;
}

double PromiseLedger::PlacesFor(uint64_t key, absl::Time now) const {
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || !IsCrowd(found->second, now)) return 1;
  return std::max(kLeastPlaces,
                  OpeningAt(found->second, kDue, now).places + OpeningAt(found->second, kWhole, now).places);
}

void PromiseLedger::CountArrival(uint64_t key, KeyQuality quality, absl::Time now) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || quality == KeyQuality::kFirst || quality == KeyQuality::kOwn) return;
  Lists& lists = found->second;
  const size_t kind = KindOf(quality);
  lists.arrivals[kind].Count(now);
  if (!IsCrowd(lists, now)) return;
  int compared = 0;
  for (int32_t i = lists.of[1].last; i >= 0 && compared < kMostCompared; i = nodes_[i].previous, ++compared) {
    lateness_[kind][kDue].CountArrival(now - nodes_[i].promise.due);
    lateness_[kind][kWhole].CountArrival(now - nodes_[i].promise.whole);
  }
}

PromiseLedger::Found PromiseLedger::FindByMoment(const Lists& lists, size_t kind, bool crowd, absl::Time now) const {
  Found best;
  const auto open = [&](Moment moment, absl::Time told) {
    const absl::Duration tolerance = crowd ? Tolerance(lists, kind, moment, now) : kSharedKeyTolerance;
    return Returns(kind, moment) && now >= told - kTimerError && now <= told + tolerance;
  };
  int compared = 0;
  for (int32_t i = lists.of[1].last; i >= 0 && compared < kMostCompared; i = nodes_[i].previous, ++compared) {
    const Node& node = nodes_[i];
    if (!open(kDue, node.promise.due) && !open(kWhole, node.promise.whole)) continue;
    // Not many more than were reckoned with: they are let in whatever the wait is.
    if (crowd && node.kept[kind] >= node.promise.places + 2 * std::sqrt(node.promise.places)) continue;
    if (best.index < 0 || node.holding > nodes_[best.index].holding) {
      best = {ReturnTiming::kInWindow, i, crowd, kind == KindOf(KeyQuality::kRetry)};
    }
  }
  return best;
}

void PromiseLedger::Keep(const Found& found) {
  if (!found.in_crowd) return Remove(found);
  // One is always held: the client itself may be still to come.
  Node& node = nodes_[found.index];
  ++node.kept[found.retry ? KindOf(KeyQuality::kRetry) : KindOf(KeyQuality::kShared)];
  Hold(found.index, node.held_in, std::max(1.0, node.holding - 1));
  if (node.owed > 1) Owe(found.index, std::max(1.0, node.owed - 1));
}

void PromiseLedger::NextInCrowd(int32_t index, const Lists& lists, absl::Time now) {
  Node& node = nodes_[index];
  const Promise& promise = node.promise;
  const auto open = [&](State state, Moment moment, absl::Time told) {
    const Opening opening = OpeningAt(lists, moment, now);
    Go(index, state, told + opening.time);
    // Not more than was reckoned with when it was made, before the crowd came, perhaps.
    Hold(index, kHeldInCrowds, std::min(opening.places, promise.places));
  };
  if (node.state == State::kPending && OpeningAt(lists, kDue, now).places > 0) {
    return open(State::kAtDue, kDue, promise.due);
  }
  const bool at_whole = OpeningAt(lists, kWhole, now).places > 0;
  if (node.state == State::kBetween && !node.held_twice && at_whole) {
    node.held_twice = true;
    return open(State::kAtWhole, kWhole, promise.whole);
  }
  if ((node.state == State::kPending || node.state == State::kAtDue) && at_whole) {
    return Go(index, State::kBetween, promise.whole - promise.lead);
  }
  // Nobody is expected any more, but who comes is still looked at.
  const absl::Time seen = promise.whole + ReturnLateness::kSpan;
  if (now < seen) {
    node.held_twice = true;
    Owe(index, 0);
    return Go(index, State::kBetween, seen);
  }
  if (!node.counted) {
    node.counted = true;
    for (size_t kind = 0; kind < lateness_.size(); ++kind) {
      // Of clients that do not come under this key nothing is learned.
      if (lists.arrivals[kind].PerSecond(now) < kLeastArrivals) continue;
      for (ReturnLateness& lateness : lateness_[kind]) lateness.CountMoment();
    }
    if (now < promise.end) return Go(index, State::kBetween, promise.end);
  }
  End(index);
}

}  // namespace hadal::admission
