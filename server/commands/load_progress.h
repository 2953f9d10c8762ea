// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/base/metrics.h"

namespace hadal::commands {

// Reports loading progress: a bar on a terminal, otherwise a log line per second, and always a gauge. Update may be
// called from any thread, one at a time.
class LoadProgress {
 public:
  // `metrics` outlives it.
  LoadProgress(base::MetricRegistry* metrics, bool terminal);

  void Begin(const std::string& model, int index, int count);
  // Bytes of the current model; total 0 while unknown.
  void Update(int64_t bytes_done, int64_t bytes_total);
  void End();

  double progress() const { return progress_.load(std::memory_order_relaxed); }
  // Estimated from the speed so far; zero if unknown.
  absl::Duration Remaining() const;

 private:
  void Show();

  base::Family<base::Gauge> ratio_;
  const bool terminal_;
  std::string model_;
  int index_ = 0, count_ = 1;
  int64_t done_ = 0, total_ = 0;
  absl::Time started_, last_shown_;
  std::atomic<double> progress_{0};
  std::atomic<int64_t> remaining_ms_{0};
};

}  // namespace hadal::commands
