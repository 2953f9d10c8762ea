// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

// Forecasts reach 30 s ahead, in buckets of 0.25 s.
inline constexpr absl::Duration kForecastBucket = absl::Milliseconds(250);
inline constexpr int kForecastBuckets = 120;
inline constexpr absl::Duration kForecastHorizon = absl::Seconds(30);

// What a request asks for, beside its one place in the batch.
struct Demand {
  int64_t prompt_tokens = 0;
  int64_t blocks = 0;  // KV blocks of its lease, prompt and predicted output
};

// Seconds that parts of a step take; step_time_model fits them. All 0: nothing is known yet.
struct StepTime {
  double step_s = 0;           // of any step
  double sequence_s = 0;       // more for each sequence in it
  double context_token_s = 0;  // more for each token that the sequences look back on
  double prefill_token_s = 0;  // more for each prompt token computed

  bool known() const { return step_s + sequence_s + context_token_s + prefill_token_s > 0; }
  double Seconds(double sequences, double context_tokens, double prefill_tokens) const {
    return step_s + sequence_s * sequences + context_token_s * context_tokens + prefill_token_s * prefill_tokens;
  }
};

// What one replay of the scheduler foresees for a model. Element i is about the time i buckets after `made`.
struct ForecastTable {
  absl::Time made = absl::InfinitePast();
  bool known = false;                                   // false: nothing has run yet, all else is empty
  int64_t started_before = 0;                           // requests that had left the queue when it was made
  std::array<float, kForecastBuckets + 1> starts = {};  // requests that can have started by then; [0]: free places
  std::array<float, kForecastBuckets + 1> blocks = {};  // KV blocks that can have been leased by then; [0]: free blocks
  std::array<float, request::kNumPriorities> arrivals_per_second = {};  // fresh requests of each class; no retries
  float blocks_per_request = 0;                                         // that an arrival leases, on average
  // More urgent arrivals overtake a request until it has waited so long for each class between (QueueOrder).
  absl::Duration class_step = absl::InfiniteDuration();
  StepTime step_time;
  float sequences = 0;       // in a step now
  float context_tokens = 0;  // of those
  int32_t max_batch_tokens = 0;
};

// Capacity that comes free from now on. Element i: by i buckets after now.
struct CapacityCurve {
  std::array<float, kForecastBuckets + 1> places = {};  // requests that can leave the queue
  std::array<float, kForecastBuckets + 1> blocks = {};  // KV blocks that can be leased
  double arriving_places = 0;  // wanted in a bucket by fresh requests of that class and more urgent ones
  double arriving_blocks = 0;

  // Until `demand` is there for who comes first; infinite: not within the horizon.
  absl::Duration TimeOf(const Demand& demand) const;
};

// When a request that is admitted now would run. Durations from now; InfiniteDuration: not within the horizon.
struct WaitPrediction {
  bool known = false;          // false: nothing has run yet; nobody should be refused by the rest
  absl::Duration start;        // until it leaves the queue
  absl::Duration first_token;  // until its first token
  absl::Duration unloaded;     // until the first token on an empty server: what no retry can improve
};

// The forecast of one model, where one thread publishes and any thread asks. Thread-safe and lock-free on both sides:
// single atomics, each the truth of its own at some moment. A reader that meets a publication may see parts of two
// forecasts, which lie 0.1 s apart.
class WaitForecast {
 public:
  // Replaces the forecast. One thread at a time.
  void Publish(const ForecastTable& table);
  // What was published last.
  ForecastTable Load() const;
  bool known() const { return known_.load(std::memory_order_acquire); }

  // Keep the predictions exact between publications: a request was admitted, and left the queue, started or not.
  void AddWaiting(request::Priority priority) { waiting(priority).fetch_add(1, std::memory_order_relaxed); }
  void RemoveWaiting(request::Priority priority, bool started) {
    waiting(priority).fetch_sub(1, std::memory_order_relaxed);
    if (started) started_.fetch_add(1, std::memory_order_relaxed);
  }
  int64_t started() const { return started_.load(std::memory_order_relaxed); }
  int64_t waiting_requests(request::Priority priority) const {
    return waiting_[static_cast<size_t>(priority)].load(std::memory_order_relaxed);
  }

  // For a request of that class that is admitted at `now`, behind all of its class and of more urgent ones that wait
  // and `more_ahead` others. Overtaking by more urgent arrivals is foreseen. About a microsecond at the worst.
  WaitPrediction Predict(request::Priority priority, const Demand& demand, absl::Time now,
                         int64_t more_ahead = 0) const;

  // That an arrival leases on average.
  int64_t ExpectedBlocks() const;
  // Adds the model's capacity, for whoever is refused now. The forecast must be known.
  void ReadCapacity(request::Priority priority, absl::Time now, CapacityCurve* curve) const;

 private:
  template <typename T>
  using Column = std::array<std::atomic<T>, kForecastBuckets + 1>;

  // Buckets since the forecast was made.
  double Age(absl::Time now) const;
  std::atomic<int64_t>& waiting(request::Priority priority) { return waiting_[static_cast<size_t>(priority)]; }

  std::atomic<bool> known_{false};
  std::atomic<int64_t> made_us_{0};
  std::atomic<int64_t> started_before_{0};
  Column<float> starts_ = {};
  Column<float> blocks_ = {};
  std::array<std::atomic<float>, request::kNumPriorities> arrivals_ = {};
  std::atomic<double> class_step_buckets_{0};
  std::atomic<double> step_s_{0}, sequence_s_{0}, context_token_s_{0}, prefill_token_s_{0};
  std::atomic<float> sequences_{0}, context_tokens_{0}, blocks_per_request_{0};
  std::atomic<int32_t> max_batch_tokens_{0};

  std::atomic<int64_t> started_{0};
  std::array<std::atomic<int64_t>, request::kNumPriorities> waiting_ = {};
};

}  // namespace hadal::admission
