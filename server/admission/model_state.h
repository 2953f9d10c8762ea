// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "server/admission/admission.h"

namespace hadal::admission {

// What the controller keeps for each model. `limits` and `wake` are fixed before requests arrive; the locks are never
// held together with the controller's own.
struct AdmissionController::ModelState {
  ModelState(const ModelLimits& model_limits, QueueOrder order) : limits(model_limits), queue(order) {}

  int64_t pool_blocks() const { return limits.pool->capacity_bytes() / limits.block_bytes; }

  const ModelLimits limits;
  std::shared_ptr<request::WakeSignal> wake;

  base::Mutex queue_mutex;
  PriorityQueue<QueuedRequest> queue ABSL_GUARDED_BY(queue_mutex);
  std::atomic<int64_t> queued{0};                    // queue.size(), to be read without the lock
  std::atomic<int64_t> next_deadline_us{INT64_MAX};  // earliest in the queue, or earlier

  base::Mutex stats_mutex;
  std::array<LengthHistogram, request::kNumPriorities> lengths ABSL_GUARDED_BY(stats_mutex);
  LengthHistogram all_lengths ABSL_GUARDED_BY(stats_mutex);  // for a class that has too few of its own
  RateEstimator released_bytes ABSL_GUARDED_BY(stats_mutex){absl::Seconds(10)};
  RetryReservations memory_reservations ABSL_GUARDED_BY(stats_mutex);

  std::atomic<int32_t> running{0};
  std::atomic<double> mean_remaining_seconds{0};

  WaitForecast forecast;
  absl::Time forecast_due = absl::InfinitePast();  // the engine's thread only
};

}  // namespace hadal::admission
