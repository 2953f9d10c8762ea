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
  // The limit that its predicted wait exceeded; infinite: it was refused for another reason.
  absl::Duration wait_limit = absl::InfiniteDuration();
  absl::Duration flow;     // by which an admitted request makes everybody behind it start later
  double need_places = 0;  // its own demand and that of the promises before it
  double need_blocks = 0;
  double blocks_per_request = 0;  // average demand of a fresh request
  CapacityTotals before;
};

// A request of a class left the queue and started.
struct StartedRequest {
  request::Priority priority = request::Priority::kNormal;
  absl::Time admitted;
  absl::Time started;
};

// When the engine last had room, as far as its ten looks a second tell.
struct SeenRoom {
  // A request of that class would have started at once: a place was free, and nothing of its class or above waited.
  std::array<absl::Time, request::kNumPriorities> start = {absl::InfinitePast(), absl::InfinitePast(),
                                                           absl::InfinitePast(), absl::InfinitePast()};
  absl::Time idle = absl::InfinitePast();  // much was free, and nothing waited
};

// Measures the accuracy of forecasts on a sample of the refusals, whether or not their clients return. Bounded memory:
// while it is full, no further ghosts are added. Not thread-safe.
//
// A ghost stays in the queue where its request would have been, but takes nothing. Its turn comes when a request of its
// class or a less urgent one starts that was admitted later, or when there is room for one. A refusal for its predicted
// wait was false if it could have been served in time in addition to all that were: if its turn came within the limit,
// and everybody of its class who was admitted later would have started within the limit, too, although those who were
// refused before it, since the class last found room, go first and all of them delay the others. If not, admitting it
// would only have put another one over the limit. A refusal for another reason (no slot, no memory) was false if the
// server became idle within its useful wait.
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
    bool served_in_time = false;  // it could have been, in addition to all that were: a false refusal
  };

  // `kept` is the share of the capacity reserved for returning clients.
  explicit Ghosts(double kept) : kept_(kept) {}

  void Add(const Ghost& ghost) {
    if (ghosts_.size() >= kMostGhosts) return;
    const int64_t before = refused_[static_cast<size_t>(ghost.priority)];
    ghosts_.push_back({.ghost = ghost, .refused_before = before, .verdict = {.priority = ghost.priority}});
  }
  // Of every request that is refused for its predicted wait, after Add.
  void CountRefusal(request::Priority priority) { ++refused_[static_cast<size_t>(priority)]; }
  // In the order of their starts. Cheap: it is looked at in the next Update.
  void AddStart(const StartedRequest& start) {
    if (!ghosts_.empty() && starts_.size() < kMostStarts) starts_.push_back(start);
  }
  // Learns from ghosts whose turn has come, and returns the verdicts that are final.
  std::vector<Verdict> Update(absl::Time now, const CapacityTotals& totals, const SeenRoom& room);

  // The 0.8-quantile of true over forecast wait, in [0.5, 3]: a hint that much longer comes too early for one in five.
  double kappa(request::Priority priority) const { return kappa_[static_cast<size_t>(priority)].Get(); }
  // The median of the same ratio: the correction factor of the reported estimate.
  double median(request::Priority priority) const { return median_[static_cast<size_t>(priority)].Get(); }
  size_t size() const { return ghosts_.size(); }

 private:
  // Starts between two updates; more are not looked at.
  static constexpr size_t kMostStarts = 4096;

  struct Waiting {
    Ghost ghost;
    int64_t refused_before = 0;                // since its class last found room
    Verdict verdict;                           // as far as it is known
    absl::Time turn = absl::InfiniteFuture();  // in the queue
    bool displaces = false;                    // somebody behind it would have waited for longer than the limit
  };
  // Follows its place in the queue.
  void Follow(const SeenRoom& room, Waiting& waiting) const;
  // Sets served_in_time; false if it is too early to say.
  static bool Decide(absl::Time now, absl::Time idle_at, Waiting& waiting);
  bool TurnHasCome(const Ghost& ghost, const CapacityTotals& totals) const;

  const double kept_;
  std::vector<Waiting> ghosts_;
  std::array<int64_t, request::kNumPriorities> refused_ = {};  // since the class last found room
  SeenRoom seen_;                                              // in the last update
  std::vector<StartedRequest> starts_;                         // since the last update
  std::vector<RunningQuantile> kappa_ = std::vector(request::kNumPriorities, RunningQuantile(0.8, 0.5, 3));
  std::vector<RunningQuantile> median_ = std::vector(request::kNumPriorities, RunningQuantile(0.5, 0.25, 4));
};

}  // namespace hadal::admission
