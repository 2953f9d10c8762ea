// SPDX-License-Identifier: Apache-2.0
#include "server/admission/retry_planner.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

constexpr double kBackOff = 1.5;  // for each earlier attempt
constexpr int kMostBackOff = 5;   // attempts
constexpr absl::Duration kMinGatewayHint = absl::Milliseconds(100);

// A place is held from before the told moment, as it takes a while until as much has come free; the window ends later
// than the whole seconds of Retry-After and the way there.
constexpr absl::Duration kMinLead = absl::Milliseconds(100);
constexpr absl::Duration kMaxLead = absl::Seconds(1);
constexpr absl::Duration kWindowSlack = absl::Milliseconds(500);

constexpr absl::Duration kShortestGhost = absl::Milliseconds(500);

// When a client returns that is told `hint` now.
void SetMoments(absl::Time now, absl::Duration hint, Promise* promise) {
  promise->told = now;
  promise->due = now + hint;
  promise->whole = now + absl::Ceil(hint, absl::Seconds(1));
  promise->end = promise->whole + kWindowSlack + hint / 20;
}

double BackOff(int32_t attempt) { return std::pow(kBackOff, std::clamp(attempt, 0, kMostBackOff)); }

}  // namespace

PromiseLedger::Found RetryPlanner::Find(const RetryCaller& caller, absl::Time now) {
  const PromiseLedger::Found found = ledger_.FindNumber(caller.promise, now);
  const bool own = found.timing != ReturnTiming::kNone && ledger_.promise(found).owner == caller.owner;
  return own ? found : ledger_.Find(caller.key, caller.quality, now);
}

RetryPlanner::Holding RetryPlanner::Holds(uint64_t promise, uint64_t owner, absl::Time now) {
  base::MutexLock lock(&mutex_);
  const PromiseLedger::Found found = ledger_.FindNumber(promise, now);
  if (found.timing == ReturnTiming::kNone) return Holding::kGone;
  return ledger_.promise(found).owner == owner ? Holding::kYes : Holding::kOfOthers;
}

RetryPlanner::Arrival RetryPlanner::Arrive(const RetryCaller& caller, request::Priority priority, absl::Time now) {
  base::MutexLock lock(&mutex_);
  Arrival arrival;
  arrival.timing = Find(caller, now).timing;
  if (arrival.timing == ReturnTiming::kInWindow) return arrival;
  arrival.surplus = arrival.timing == ReturnTiming::kNone && WasSurplus(caller);
  arrival.kept_free = ledger_.Held(priority);
  arrival.expected_soon =
      ledger_.return_share() * (ledger_.InBucket(priority, 0).places + ledger_.InBucket(priority, 1).places);
  return arrival;
}

void RetryPlanner::Watch(const RetryCaller& caller, absl::Time now) {
  if (caller.quality == KeyQuality::kOwn || caller.promise != 0) return;
  base::MutexLock lock(&mutex_);
  ledger_.Advance(now);
  ledger_.CountArrival(caller.key, caller.quality, now);
}

void RetryPlanner::Admit(const RetryCaller& caller, absl::Time now) {
  base::MutexLock lock(&mutex_);
  const PromiseLedger::Found found = Find(caller, now);
  if (found.timing != ReturnTiming::kNone) ledger_.Keep(found);
}

bool RetryPlanner::Withdraw(uint64_t promise, absl::Time now) {
  base::MutexLock lock(&mutex_);
  const PromiseLedger::Found found = ledger_.FindNumber(promise, now);
  if (found.timing == ReturnTiming::kNone) return false;
  ledger_.Withdraw(found);
  return true;
}

RetryPlan RetryPlanner::Refuse(const RetryCaller& caller, request::Priority priority, const Demand& demand,
                               const CapacityCurve* curve, absl::Time now, absl::Duration wait_limit) {
  base::MutexLock lock(&mutex_);
  RetryPlan plan;
  const PromiseLedger::Found found = Find(caller, now);
  if (found.timing == ReturnTiming::kEarly) {
    plan.estimate = ledger_.promise(found).due - now;
    plan.hint = absl::Ceil(std::clamp(plan.estimate, kMinRetryAfter, kMaxRetryAfter), absl::Milliseconds(1));
    // It returns at other moments now: a second later at the least, and whole seconds count from now.
    Promise promise = ledger_.promise(found);
    SetMoments(now, plan.hint, &promise);
    ledger_.Move(found, promise, now);
    plan.promised = true;
    plan.promise = ledger_.NumberOf(found);
    plan.forgotten = promise.end + PromiseLedger::kRememberLate;
    return plan;
  }
  if (found.timing != ReturnTiming::kNone && !found.in_crowd) ledger_.Remove(found);
  if (curve == nullptr) {
    plan.hint = HintFor(kUnknownWait * BackOff(caller.attempt), Random());
    return plan;
  }
  if (caller.gateway) {
    plan.estimate = curve->TimeOf(demand);
    const absl::Duration wait = std::min(plan.estimate, kMaxGatewayHint);
    plan.hint = std::clamp(wait * (1 + 0.1 * Random()), kMinGatewayHint, kMaxGatewayHint);
    return plan;
  }
  const double places = caller.quality == KeyQuality::kOwn ? 1 : ledger_.PlacesFor(caller.key, now);
  const Opening opening = FindOpening(priority, demand, places, *curve);
  // Who was to return once, or not at all, has done so. A promise would cost a third attempt, and be one less for who
  // has made one. It has no wait to be told either: nothing is held for it, and in the rush of returns after a load,
  // where most of these are, what a promise would take is several times too long.
  const bool for_good =
      options_.surplus != SurplusRetry::kAllow && found.timing == ReturnTiming::kNone && WasSurplus(caller);
  if (opening.wait == absl::InfiniteDuration() || for_good) {
    plan = PlanSurplus(caller, now);
    LeaveGhost(plan, opening, priority, *curve, wait_limit, now);
    return plan;
  }
  plan.estimate = opening.wait * ghosts_.median(priority);
  const absl::Duration wait = opening.wait * ghosts_.kappa(priority) * BackOff(caller.attempt);
  // What is sent has whole milliseconds: who is told less comes before its time.
  plan.hint = absl::Ceil(HintFor(std::min(wait, kLastPromise), Random()), absl::Milliseconds(1));
  Promise promise;
  promise.key = caller.key;
  promise.owner = caller.owner;
  promise.priority = priority;
  promise.blocks = demand.blocks;
  promise.places = places;
  promise.lead = std::clamp(4 * places * opening.flow, kMinLead, kMaxLead);
  SetMoments(now, plan.hint, &promise);
  plan.promise = ledger_.Add(promise, now);
  plan.promised = plan.promise != 0;
  plan.forgotten = promise.end + PromiseLedger::kRememberLate;
  LeaveGhost(plan, opening, priority, *curve, wait_limit, now);
  return plan;
}

void RetryPlanner::LeaveGhost(const RetryPlan& plan, const Opening& opening, request::Priority priority,
                              const CapacityCurve& curve, absl::Duration wait_limit, absl::Time now) {
  if (Random() < options_.ghost_share) ghosts_.Add(MakeGhost(plan, opening, priority, curve, wait_limit, now));
  if (wait_limit < absl::InfiniteDuration()) ghosts_.CountRefusal(priority);
}

Ghost RetryPlanner::MakeGhost(const RetryPlan& plan, const Opening& opening, request::Priority priority,
                              const CapacityCurve& curve, absl::Duration wait_limit, absl::Time now) const {
  Ghost ghost;
  ghost.priority = priority;
  ghost.told = now;
  // What is said of a moment is not measured: forecasts are read ten times a second.
  if (plan.promised && opening.wait >= kShortestGhost) ghost.forecast = opening.wait;
  ghost.estimate = plan.estimate;
  const absl::Duration limit = options_.wait_limits[static_cast<size_t>(priority)];
  ghost.useful = limit < absl::InfiniteDuration() ? limit : plan.hint;
  ghost.wait_limit = wait_limit;
  ghost.flow = opening.flow;
  ghost.need_places = opening.need_places;
  ghost.need_blocks = opening.need_blocks;
  ghost.blocks_per_request = curve.arriving_places > 0 ? curve.arriving_blocks / curve.arriving_places : 0;
  ghost.before = Totals();
  ghost.before.places -= curve.places[0];  // free already
  ghost.before.blocks -= curve.blocks[0];
  return ghost;
}

CapacityTotals RetryPlanner::Totals() const {
  CapacityTotals totals;
  totals.places = static_cast<double>(places_.load(std::memory_order_relaxed));
  totals.blocks = static_cast<double>(blocks_.load(std::memory_order_relaxed));
  for (size_t i = 0; i < arrivals_.size(); ++i) {
    totals.arrivals[i] = static_cast<double>(arrivals_[i].load(std::memory_order_relaxed));
  }
  return totals;
}

PromiseLedger::Amount RetryPlanner::Held(absl::Time now) {
  base::MutexLock lock(&mutex_);
  ledger_.Advance(now);
  return ledger_.Held(request::Priority::kBatch);
}

std::vector<Ghosts::Verdict> RetryPlanner::Judge(absl::Time now, const SeenRoom& room) {
  base::MutexLock lock(&mutex_);
  return ghosts_.Update(now, Totals(), room);
}

RetryPlan RetryPlanner::After(absl::Duration wait) {
  base::MutexLock lock(&mutex_);
  RetryPlan plan;
  plan.estimate = wait;
  plan.hint = HintFor(std::min(wait, kMaxRetryAfter), Random());
  return plan;
}

RetryPlanner::Opening RetryPlanner::FindOpening(request::Priority priority, const Demand& demand, double places,
                                                const CapacityCurve& curve) const {
  Opening opening;
  static const int kLast = static_cast<int>(kLastPromise / kForecastBucket);
  const double returning = ledger_.return_share();
  // What is free beyond the promises at the end of each bucket; negative: not enough for this one.
  const auto left_of = [&](double capacity, double wanted, double promised, double need) {
    return std::max(kReturnShare * capacity, capacity - wanted) - returning * promised - need;
  };
  std::array<PromiseLedger::Amount, kForecastBuckets + 1> promised;
  promised[0] = ledger_.Overdue(priority);
  for (int i = 0; i <= kLast; ++i) {
    if (i > 0) promised[i] = promised[i - 1];
    const PromiseLedger::Amount more = ledger_.InBucket(priority, i);
    promised[i].places += more.places;
    promised[i].blocks += more.blocks;
  }
  // Jitter has carried some past the last moment, whose capacity they take all the same.
  for (int i = kLast + 1; i <= kForecastBuckets + 1; ++i) {
    promised[kLast].places += ledger_.InBucket(priority, i).places;
    promised[kLast].blocks += ledger_.InBucket(priority, i).blocks;
  }
  const double need_blocks = places * static_cast<double>(demand.blocks);
  const auto left_at = [&](int capacity, int promises) {
    return std::min(
        left_of(curve.places[capacity], curve.arriving_places * capacity, promised[promises].places, places),
        left_of(curve.blocks[capacity], curve.arriving_blocks * capacity, promised[promises].blocks, need_blocks));
  };
  // From the end, as a promise takes capacity from all later moments, too.
  int first = kLast + 1;
  while (first > 0 && left_at(first - 1, first - 1) >= 0) --first;
  const double seconds = first * absl::ToDoubleSeconds(kForecastBucket);
  const auto time_for = [&](const auto& column, double need) {
    const double gained = column[kLast] - column[0];
    return gained > 0 ? need * absl::ToDoubleSeconds(kLast * kForecastBucket) / gained : seconds;
  };
  opening.flow =
      absl::Seconds(std::max(time_for(curve.places, 1), time_for(curve.blocks, static_cast<double>(demand.blocks))));
  if (first > kLast) return opening;
  opening.need_places = returning * promised[first].places + places;
  opening.need_blocks = returning * promised[first].blocks + need_blocks;
  opening.wait = absl::ZeroDuration();
  if (first == 0) return opening;
  // Within the bucket its promises share the capacity that comes free.
  const double before = left_at(first - 1, first);
  const double there = left_at(first, first);
  const double part = before >= 0 ? 0 : -before / (there - before);
  opening.wait = (first - 1 + part) * kForecastBucket;
  return opening;
}

RetryPlan RetryPlanner::PlanSurplus(const RetryCaller& caller, absl::Time now) {
  RetryPlan plan;
  // Of callers that nothing tells apart as many are told to stay away as have been here before.
  const bool anonymous = caller.quality == KeyQuality::kShared && caller.promise == 0;
  const double chance = anonymous ? surplus_spread_.ChanceOfReturn(now) : 0;
  const bool again = caller.attempt > 0 || WasSurplus(caller) || (chance > 0 && Random() < chance);
  if (caller.quality == KeyQuality::kOwn) {
    if (surplus_keys_.empty()) surplus_keys_.resize(kSurplusKeys);
    surplus_keys_[caller.key % kSurplusKeys] = caller.key;
  }
  plan.should_retry = options_.surplus == SurplusRetry::kAllow || (options_.surplus == SurplusRetry::kOnce && !again);
  // Of those who are told not to return nobody is expected.
  plan.hint = plan.should_retry ? surplus_spread_.Next(now, Random(), Random(), anonymous)
                                : HintFor(absl::InfiniteDuration(), Random());
  return plan;
}

}  // namespace hadal::admission
