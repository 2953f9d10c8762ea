// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/circuit_breaker.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "server/upstream/upstream_metrics.h"
#include "server/upstream/upstream_options.h"

namespace hadal::upstream {

// The targets, and the choice of the next one: the first available in order. Adjacent targets with weights count as one
// in the order and take turns by weight. A target is skipped while its circuit is open, while its maximum number of
// requests is in flight, and until its Retry-After has passed. Thread-safe; outlives its attempts.
class TargetSet {
 public:
  struct Options {
    std::vector<TargetOptions> targets;
    base::CircuitBreaker::Options breaker;
    absl::Duration slow_after = absl::Seconds(5);  // a first byte later than this counts against the target
    base::Clock* clock = base::Clock::Real();
    base::MetricRegistry* metrics = nullptr;  // outlives the set; null: not exported
  };

  // How long a busy target without a Retry-After is skipped, and the longest Retry-After that is honoured.
  static constexpr absl::Duration kShortestRest = absl::Seconds(1);
  static constexpr absl::Duration kLongestRest = absl::Minutes(5);

  // One attempt at a target. Move-only RAII; without End it counts as cancelled. Used by one thread at a time.
  class Attempt {
   public:
    Attempt(Attempt&& other) noexcept { *this = std::move(other); }
    Attempt& operator=(Attempt&& other) noexcept;
    ~Attempt() { End(Outcome::kCancelled); }

    size_t target() const { return target_; }
    // The first byte of the answer is there.
    void SawFirstByte();
    // `rest`: for how long the target wants to be left alone; for Outcome::kBusy. Later calls do nothing.
    void End(Outcome outcome, std::optional<absl::Duration> rest = std::nullopt);

   private:
    friend class TargetSet;
    Attempt(TargetSet* set, size_t target, uint64_t call, absl::Time begin)
        : set_(set), target_(target), call_(call), begin_(begin) {}

    TargetSet* set_ = nullptr;
    size_t target_ = 0;
    uint64_t call_ = 0;
    absl::Time begin_;
    std::optional<absl::Duration> first_byte_after_;
  };

  explicit TargetSet(Options options);

  size_t size() const { return options_.targets.size(); }
  const TargetOptions& target(size_t index) const { return options_.targets[index]; }

  // Whether Begin would find one. O(targets).
  bool MayBegin() const;
  // The target that is asked next, of those that are not `tried` yet (one flag a target); nullopt: none may be asked.
  std::optional<Attempt> Begin(const std::vector<bool>& tried);
  base::CircuitBreaker::State state(size_t index) const;

 private:
  struct Target {
    explicit Target(const base::CircuitBreaker::Options& options) : breaker(options) {}
    base::CircuitBreaker breaker;
    int in_flight = 0;
    absl::Time rests_until = absl::InfinitePast();
    double credit = 0;  // of its weight
  };

  bool MayBegin(size_t index, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the neighbours with weights that begin at `first`: whose turn it is; nullopt: none may be asked.
  std::optional<size_t> ByWeight(size_t first, size_t end, const std::vector<bool>& tried, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const Attempt& attempt, Outcome outcome, std::optional<absl::Duration> rest);
  base::CircuitBreaker::Result ResultOf(const Attempt& attempt, Outcome outcome, absl::Time now) const;
  void UpdateGauges();

  const Options options_;
  UpstreamMetrics metrics_;
  mutable base::Mutex mutex_;
  std::vector<Target> targets_ ABSL_GUARDED_BY(mutex_);
  base::MetricCollector levels_;  // reads the members above
};

}  // namespace hadal::upstream
