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
#include "server/admission/wait_forecast.h"
#include "server/request/request.h"

namespace hadal::admission {

// By what a client is recognised when it returns.
struct RetryCaller {
  uint64_t key = 0;  // of its idempotency key, else of sender, route and body length
  KeyQuality quality = KeyQuality::kShared;
  int32_t attempt = 0;   // earlier attempts at the same request, as the client counts them
  bool gateway = false;  // it asks for many, and takes a hint as the time for which this server is of no use
  uint64_t promise = 0;  // number of the one that its ticket is for, before all else; 0: it has no ticket
};

// What a refused client whose wait is beyond the horizon is told: the whole capacity of that time is promised already.
enum class SurplusRetry : uint8_t {
  kOnce,   // to return once; the second time not to
  kAllow,  // to return
  kDeny,   // not to return
};

// What a refused client is told.
struct RetryPlan {
  absl::Duration hint;
  absl::Duration estimate = absl::InfiniteDuration();  // without clamps and jitter; infinite: unknown, or beyond
  bool promised = false;                               // what it needs is held for it from then on
  uint64_t promise = 0;                                // its number, when promised
  absl::Time forgotten;                                // when it is nothing any more
  bool should_retry = true;                            // false: a return would be in vain
};

// Tells refused clients when to return, and knows them when they do. A part of the capacity (kReturnShare) is kept for
// those who return, so a promise holds however many arrive afresh meanwhile; each promise takes its part, so that no
// two are told the same moment. Thread-safe; a
// refusal costs one look over the forecast, about a microsecond.
class RetryPlanner {
 public:
  // Of the capacity, for those who return. If all of them do, a request that is served takes 1 + kReturnShare attempts.
  static constexpr double kReturnShare = 0.16;
  // The last moment that is promised, so that jitter stays below the upper clamp.
  static constexpr absl::Duration kLastPromise = absl::Seconds(27);
  static constexpr absl::Duration kMaxGatewayHint = absl::Seconds(3);

  struct Options {
    SurplusRetry surplus = SurplusRetry::kOnce;
    double ghost_share = 0.01;  // of the refusals, that are followed to see when their turn comes
    // Longest wait that a class has a use for (`--wait-limits`): a refusal was right when it would have been longer.
    ByClass<absl::Duration> wait_limits = {absl::InfiniteDuration(), absl::InfiniteDuration(), absl::InfiniteDuration(),
                                           absl::InfiniteDuration()};
    uint64_t seed = 1;  // of the jitter
  };
  explicit RetryPlanner(Options options) : options_(options), random_(options.seed) {}

  struct Arrival {
    ReturnTiming timing = ReturnTiming::kNone;
    // That it must leave free, for promises of its class and more urgent ones; nothing for who comes in its window.
    PromiseLedger::Amount kept_free;
    // It was told that no capacity is in sight, and returns all the same.
    bool surplus = false;
  };
  // A client asks to be admitted. Changes nothing.
  Arrival Arrive(const RetryCaller& caller, request::Priority priority, absl::Time now);
  // Whether that promise can still be kept.
  bool Holds(uint64_t promise, absl::Time now);
  // It was admitted; a promise that it had is kept.
  void Admit(const RetryCaller& caller, absl::Time now);
  // The client of that promise does not need it. False: it was taken, or forgotten.
  bool Withdraw(uint64_t promise, absl::Time now);
  // It was refused, for want of `demand`. `curve` is the capacity that it waits for; null: nothing is known yet.
  RetryPlan Refuse(const RetryCaller& caller, request::Priority priority, const Demand& demand,
                   const CapacityCurve* curve, absl::Time now);
  // What ghosts are measured by: capacity that came free, and fresh requests. Lock-free.
  void CountFree(int64_t places, int64_t blocks) {
    places_.fetch_add(places, std::memory_order_relaxed);
    blocks_.fetch_add(blocks, std::memory_order_relaxed);
  }
  void CountArrival(request::Priority priority) {
    arrivals_[static_cast<size_t>(priority)].fetch_add(1, std::memory_order_relaxed);
  }
  // To be left free now for clients that may return, of every class.
  PromiseLedger::Amount Held(absl::Time now);
  // Whose turn has come. `idle_at`: when a place was last free with nothing waiting for it.
  std::vector<Ghosts::Verdict> Judge(absl::Time now, absl::Time idle_at);
  // Not for want of capacity: `wait` and jitter, nothing promised.
  RetryPlan After(absl::Duration wait);

 private:
  // Own keys whose surplus was refused lately; older ones give way.
  static constexpr size_t kSurplusKeys = 1 << 14;

  struct Opening {
    absl::Duration wait = absl::InfiniteDuration();  // infinite: not before kLastPromise
    absl::Duration flow;                             // in which as much capacity comes free again
    double need_places = 0;                          // with the promises before it
    double need_blocks = 0;
  };
  // When `demand` is free for a client that returns.
  Opening FindOpening(request::Priority priority, const Demand& demand, const CapacityCurve& curve) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveGhost(const RetryPlan& plan, const Opening& opening, request::Priority priority, const CapacityCurve& curve,
                  absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  CapacityTotals Totals() const;
  PromiseLedger::Found Find(const RetryCaller& caller, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RetryPlan PlanSurplus(const RetryCaller& caller) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It was refused as surplus before. Own keys only: whoever counts attempts may have made them elsewhere.
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
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> places_{0}, blocks_{0};
  std::array<std::atomic<int64_t>, request::kNumPriorities> arrivals_ = {};
  std::vector<uint64_t> surplus_keys_ ABSL_GUARDED_BY(mutex_);  // by hash; empty until the first
};

}  // namespace hadal::admission
