// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "base/sync.h"
#include "server/admission/class_values.h"
#include "server/admission/ghosts.h"
#include "server/admission/promise_ledger.h"
#include "server/admission/retry_after.h"
#include "server/admission/surplus_spread.h"
#include "server/admission/wait_forecast.h"
#include "server/request/request.h"

namespace hadal::admission {

// Identifies a client when it returns.
struct RetryCaller {
  uint64_t key = 0;  // of its idempotency key, else of sender, route and body length
  KeyQuality quality = KeyQuality::kShared;
  int32_t attempt = 0;   // earlier attempts at the same request, as the client counts them
  bool gateway = false;  // acts for many clients and treats a hint as the time to avoid this server
  uint64_t promise = 0;  // the promise of its ticket, which takes precedence; 0: it has no ticket
  uint64_t owner = 0;    // the tenant of its key, to whom its tickets belong; 0: there are no keys
};

// What a refused client is told if all capacity within the horizon is already promised (surplus demand).
enum class SurplusRetry : uint8_t {
  kOnce,   // return once; after the second refusal, do not return
  kAllow,  // return
  kDeny,   // do not return
};

// What a refused client is told.
struct RetryPlan {
  absl::Duration hint;
  absl::Duration estimate = absl::InfiniteDuration();  // without clamps and jitter; infinite: unknown, or beyond
  bool promised = false;                               // the capacity it needs is held for it from then on
  uint64_t promise = 0;                                // its number, when promised
  absl::Time forgotten;                                // when the promise expires
  bool should_retry = true;                            // false: a retry cannot succeed
};

// Tells refused clients when to return, and recognises them when they do. A part of the capacity (kReturnShare) is
// reserved for returning clients, so a promise holds however many new requests arrive meanwhile. Each promise takes its
// part of that capacity, so that no two clients are told the same moment. Thread-safe; a refusal costs one pass over
// the forecast, about a microsecond.
class RetryPlanner {
 public:
  // The share of capacity reserved for returning clients. If all of them return, a served request takes 1 +
  // kReturnShare attempts.
  static constexpr double kReturnShare = 0.16;
  // No promise is later than this, so that jitter stays below the upper clamp.
  static constexpr absl::Duration kLastPromise = absl::Seconds(27);
  static constexpr absl::Duration kMaxGatewayHint = absl::Seconds(3);

  struct Options {
    SurplusRetry surplus = SurplusRetry::kOnce;
    double ghost_share = 0.01;  // share of refusals that are tracked to see when their turn comes
    // Longest useful wait of a class (`--wait-limits`): a refusal was right if the wait would have been longer.
    ByClass<absl::Duration> wait_limits = {absl::InfiniteDuration(), absl::InfiniteDuration(), absl::InfiniteDuration(),
                                           absl::InfiniteDuration()};
    uint64_t seed = 1;  // of the jitter
  };
  explicit RetryPlanner(Options options) : options_(options), random_(options.seed) {}

  struct Arrival {
    ReturnTiming timing = ReturnTiming::kNone;
    // Capacity that it must leave free for promises of its class and more urgent ones; none for a client in its window.
    PromiseLedger::Amount kept_free;
    // Clients expected within half a second. Queue slots come free in lumps, when a step ends many answers at once, so
    // those are kept for longer than the rest.
    double expected_soon = 0;
    // It was told that no capacity is available within the horizon, and returned nevertheless.
    bool surplus = false;
  };
  // A client asks to be admitted. Changes nothing.
  Arrival Arrive(const RetryCaller& caller, request::Priority priority, absl::Time now);
  // Counts the arrival, once for each request that is admitted or refused. Before Admit or Refuse.
  void Watch(const RetryCaller& caller, absl::Time now);
  // Whether that promise can still be kept.
  enum class Holding : uint8_t { kYes, kGone, kOfOthers };
  Holding Holds(uint64_t promise, uint64_t owner, absl::Time now);
  // The client was admitted; its promise, if any, is fulfilled.
  void Admit(const RetryCaller& caller, absl::Time now);
  // The client no longer needs that promise. False: it was already taken or has expired.
  bool Withdraw(uint64_t promise, absl::Time now);
  // The client was refused for lack of `demand`. `curve` is the future capacity; null: nothing is known yet.
  // `wait_limit`: what its predicted wait exceeded; infinite: it was refused for another reason.
  RetryPlan Refuse(const RetryCaller& caller, request::Priority priority, const Demand& demand,
                   const CapacityCurve* curve, absl::Time now, absl::Duration wait_limit = absl::InfiniteDuration());
  // Count freed capacity and fresh requests, by which ghosts are judged. Lock-free.
  void CountFree(int64_t places, int64_t blocks) {
    places_.fetch_add(places, std::memory_order_relaxed);
    blocks_.fetch_add(blocks, std::memory_order_relaxed);
  }
  void CountArrival(request::Priority priority) {
    arrivals_[static_cast<size_t>(priority)].fetch_add(1, std::memory_order_relaxed);
  }
  // The capacity to leave free now for returning clients of all classes.
  PromiseLedger::Amount Held(absl::Time now);
  // A request left the queue and started.
  void CountStart(const StartedRequest& start) {
    base::MutexLock lock(&mutex_);
    ghosts_.AddStart(start);
  }
  // Verdicts of ghosts whose turn has come.
  std::vector<Ghosts::Verdict> Judge(absl::Time now, const SeenRoom& room);
  // For refusals that are not about capacity: `wait` plus jitter, without a promise.
  RetryPlan After(absl::Duration wait);

 private:
  // Own keys that were recently refused as surplus; older ones are overwritten.
  static constexpr size_t kSurplusKeys = 1 << 14;

  struct Opening {
    absl::Duration wait = absl::InfiniteDuration();  // infinite: not before kLastPromise
    absl::Duration flow;                             // time in which the same capacity is freed again
    double need_places = 0;                          // with the promises before it
    double need_blocks = 0;
  };
  // When `demand` is free for a client that returns, and for the strangers who come with it: `places` in all.
  Opening FindOpening(request::Priority priority, const Demand& demand, double places, const CapacityCurve& curve) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveGhost(const RetryPlan& plan, const Opening& opening, request::Priority priority, const CapacityCurve& curve,
                  absl::Duration wait_limit, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Ghost MakeGhost(const RetryPlan& plan, const Opening& opening, request::Priority priority, const CapacityCurve& curve,
                  absl::Duration wait_limit, absl::Time now) const;
  CapacityTotals Totals() const;
  PromiseLedger::Found Find(const RetryCaller& caller, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RetryPlan PlanSurplus(const RetryCaller& caller, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether it was refused as surplus before. Own keys only: counted attempts may have been made at other servers.
  bool WasSurplus(const RetryCaller& caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return caller.quality == KeyQuality::kOwn && !surplus_keys_.empty() &&
           surplus_keys_[caller.key % kSurplusKeys] == caller.key;
  }
  double Random() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::uniform_real_distribution<double>(0, 1)(random_);
  }

  const Options options_;
  base::Mutex mutex_;
  PromiseLedger ledger_ ABSL_GUARDED_BY(mutex_);
  Ghosts ghosts_ ABSL_GUARDED_BY(mutex_){kReturnShare};
  SurplusSpread surplus_spread_ ABSL_GUARDED_BY(mutex_);
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> places_{0}, blocks_{0};
  std::array<std::atomic<int64_t>, request::kNumPriorities> arrivals_ = {};
  std::vector<uint64_t> surplus_keys_ ABSL_GUARDED_BY(mutex_);  // by hash; empty until the first
};

}  // namespace hadal::admission
