// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

// The q-quantile of a stream of positive numbers, by small steps of its logarithm; it forgets over some hundred values.
class RunningQuantile {
 public:
  RunningQuantile(double q, double low, double high) : q_(q), low_(low), high_(high) {}
  void Record(double value);
  double Get() const { return value_; }

 private:
  double q_, low_, high_;
  double value_ = 1;
  int samples_ = 0;
};

// What has come free and what fresh requests have wanted of it, counted since the start.
struct CapacityTotals {
  double places = 0;
  double blocks = 0;
  std::array<double, request::kNumPriorities> arrivals = {};
};

// A refused request that stays in the line for which it was refused, to learn when it would have had its turn.
struct Ghost {
  request::Priority priority = request::Priority::kNormal;
  absl::Time told;
  absl::Duration forecast = absl::InfiniteDuration();  // that its turn would come then; infinite: none to judge
  absl::Duration estimate;                             // that its client was given
  absl::Duration useful;                               // longest wait of its class; without one until its hint
  double need_places = 0;                              // its own, and of the promises before it
  double need_blocks = 0;
  double blocks_per_request = 0;  // that a fresh request wants
  CapacityTotals before;
};

// How good forecasts are, measured on a sample of the refusals, whether their clients return or not. Bounded memory:
// while it is full, further ghosts are not taken. Not thread-safe.
class Ghosts {
 public:
  static constexpr size_t kMostGhosts = 1024;
  // A ghost that waits for so many times its forecast counts as if its turn came now.
  static constexpr double kWorstRatio = 4;

  // The turn of one has come, and its useful wait is over.
  struct Verdict {
    request::Priority priority = request::Priority::kNormal;
    double ratio = 0;             // true over forecast wait; 0: it had no forecast
    double error = 0;             // of the estimate: (estimate - true) / true
    bool served_in_time = false;  // the server stood idle within its useful wait: the refusal was in vain
  };

  // `kept` is the share of the capacity that is for those who return.
  explicit Ghosts(double kept) : kept_(kept) {}

  void Add(const Ghost& ghost) {
    if (ghosts_.size() < kMostGhosts) ghosts_.push_back({ghost, {.priority = ghost.priority}});
  }
  // `idle_at`: when a place was last free with nothing waiting for it. Learns from those whose turn has come, and
  // returns what has been decided.
  std::vector<Verdict> Update(absl::Time now, const CapacityTotals& totals, absl::Time idle_at);

  // The 0.8-quantile of true over forecast wait, in [0.5, 3]: a hint that much longer comes too early for one in five.
  double kappa(request::Priority priority) const { return kappa_[static_cast<size_t>(priority)].Get(); }
  // The median: what the estimate is to be multiplied by.
  double median(request::Priority priority) const { return median_[static_cast<size_t>(priority)].Get(); }
  size_t size() const { return ghosts_.size(); }

 private:
  struct Waiting {
    Ghost ghost;
    Verdict verdict;  // as far as it is known
  };
  bool TurnHasCome(const Ghost& ghost, const CapacityTotals& totals) const;

  const double kept_;
  std::vector<Waiting> ghosts_;
  std::vector<RunningQuantile> kappa_ = std::vector(request::kNumPriorities, RunningQuantile(0.8, 0.5, 3));
  std::vector<RunningQuantile> median_ = std::vector(request::kNumPriorities, RunningQuantile(0.5, 0.25, 4));
};

}  // namespace hadal::admission
