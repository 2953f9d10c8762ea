// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"

namespace hadal::commands {

// Reports loading progress: a bar on a terminal, otherwise a log line per second, and always a gauge. After the weights
// come caches and warm-up, which Remaining includes. Update and UpdateWarmUp may be called from any thread, one at a
// time.
class LoadProgress {
 public:
  // `metrics` and `clock` outlive it.
  LoadProgress(base::MetricRegistry* metrics, bool terminal, base::Clock* clock = base::Clock::Real());

  void Begin(const std::string& model, int index, int count);
  // Bytes of the current model; total 0 while unknown.
  void Update(int64_t bytes_done, int64_t bytes_total);
  // All weights are loaded.
  void End();
  // Share of the warm-up's work that is done, 0 to 1, after End.
  void UpdateWarmUp(double share);

  double progress() const { return progress_.load(std::memory_order_relaxed); }
  // Until the server is ready, estimated from the speed so far; zero if unknown.
  absl::Duration Remaining() const;

 private:
  void Show();
  void SetRemaining(absl::Duration remaining);
  // Time for all of the weights at the speed of the last half of the time so far.
  absl::Duration WholeTime(absl::Time now, double progress);

  struct Sample {
    absl::Time at;
    double progress = 0;
  };

  base::Family<base::Gauge> ratio_;
  const bool terminal_;
  base::Clock* const clock_;
  std::string model_;
  int index_ = 0, count_ = 1;
  int64_t done_ = 0, total_ = 0;
  absl::Time started_, last_shown_, weights_loaded_;
  std::vector<Sample> samples_;  // of this start, a hundredth of the progress or more apart
  std::atomic<double> progress_{0};
  std::atomic<int64_t> remaining_ms_{0};
};

}  // namespace hadal::commands
