// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

// Online estimate of the q-quantile of a stream of positive numbers, by small steps of its logarithm; old values fade
// over a few hundred samples.
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

// Capacity that was freed, and fresh requests that arrived, since the start.
struct CapacityTotals {
  double places = 0;
  double blocks = 0;
  std::array<double, request::kNumPriorities> arrivals = {};
};

// A refused request that is tracked to learn when its turn would have come, had it stayed in the queue.
struct Ghost {
  request::Priority priority = request::Priority::kNormal;
  absl::Time told;
  absl::Duration forecast = absl::InfiniteDuration();  // predicted time of its turn; infinite: no prediction to judge
  absl::Duration estimate;                             // reported to its client
  absl::Duration useful;                               // wait limit of its class; without one, its hint
  double need_places = 0;                              // its own demand and that of the promises before it
  double need_blocks = 0;
  double blocks_per_request = 0;  // average demand of a fresh request
  CapacityTotals before;
};

// Measures the accuracy of forecasts on a sample of the refusals, whether or not their clients return. Bounded memory:
// while it is full, no further ghosts are added. Not thread-safe.
class Ghosts {
 public:
  static constexpr size_t kMostGhosts = 1024;
  // A ghost that has waited for this many times its forecast is judged as if its turn came now.
  static constexpr double kWorstRatio = 4;

  // Returned once a ghost's turn has come and its useful wait is over.
  struct Verdict {
    request::Priority priority = request::Priority::kNormal;
    double ratio = 0;             // true over forecast wait; 0: it had no forecast
    double error = 0;             // of the estimate: (estimate - true) / true
    bool served_in_time = false;  // the server was idle within its useful wait: a false refusal
  };

  // `kept` is the share of the capacity reserved for returning clients.
  explicit Ghosts(double kept) : kept_(kept) {}

  void Add(const Ghost& ghost) {
    if (ghosts_.size() < kMostGhosts) ghosts_.push_back({ghost, {.priority = ghost.priority}});
  }
  // `idle_at`: when a place was last free with nothing waiting for it. Learns from ghosts whose turn has come, and
  // returns the verdicts that are final.
  std::vector<Verdict> Update(absl::Time now, const CapacityTotals& totals, absl::Time idle_at);

  // The 0.8-quantile of true over forecast wait, in [0.5, 3]: a hint that much longer comes too early for one in five.
  double kappa(request::Priority priority) const { return kappa_[static_cast<size_t>(priority)].Get(); }
  // The median of the same ratio: the correction factor of the reported estimate.
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
