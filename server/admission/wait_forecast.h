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

// Half-life of the average in ForecastTable::arrivals_per_second.
inline constexpr absl::Duration kArrivalHalfLife = absl::Seconds(10);

// What a request needs in addition to its place in the batch.
struct Demand {
  int64_t prompt_tokens = 0;
  int64_t blocks = 0;  // KV blocks of its lease, prompt and predicted output
};

// Coefficients of the duration of a step, fitted by StepTimeModel. All 0: nothing is known yet.
struct StepTime {
  double step_s = 0;           // fixed
  double sequence_s = 0;       // per sequence
  double context_token_s = 0;  // per token of context that sequences attend to
  double prefill_token_s = 0;  // per prompt token computed

  bool known() const { return step_s + sequence_s + context_token_s + prefill_token_s > 0; }
  double Seconds(double sequences, double context_tokens, double prefill_tokens) const {
    return step_s + sequence_s * sequences + context_token_s * context_tokens + prefill_token_s * prefill_tokens;
  }
};

template <typename T>
using PerClass = std::array<T, request::kNumPriorities>;

// The result of one replay of a model's scheduler. Element i refers to the time i buckets after `made`.
struct ForecastTable {
  absl::Time made = absl::InfinitePast();
  bool known = false;                                   // false: nothing has run yet, all else is empty
  int64_t started_before = 0;                           // requests that had left the queue when it was made
  std::array<float, kForecastBuckets + 1> starts = {};  // requests that can have started by then; [0]: free places
  std::array<float, kForecastBuckets + 1> blocks = {};  // KV blocks that can have been leased by then; [0]: free blocks
  std::array<float, kForecastBuckets + 1> prompt_tokens = {};  // that steps have room for by then
  PerClass<float> prefilling_tokens = {};                      // of running sequences, not computed when it was made
  PerClass<int64_t> started_tokens_before = {};                // of prompts that had left the queue by then
  float computed_share = 1;                                    // of prompt tokens: the others are found in the cache
  PerClass<float> arrivals_per_second = {};                    // fresh requests of each class; no retries
  float blocks_per_request = 0;                                // that an arrival leases, on average
  float prompt_tokens_per_request = 0;                         // of an arrival, on average
  // More urgent arrivals overtake a request until it has waited this long per rank between the classes (QueueOrder).
  // After that it passes them, together with other aged requests, within AgedShare of the capacity.
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

  // Time until the first in line finds `demand`; infinite: not within the horizon.
  absl::Duration TimeOf(const Demand& demand) const;
};

// When a request that is admitted now would run, as durations from now. InfiniteDuration: not within the horizon.
struct WaitPrediction {
  bool known = false;          // false: nothing has run yet; do not refuse based on the other members
  absl::Duration start;        // until it has a place and memory, and the prompts before its own are computed
  absl::Duration first_token;  // until its first token
  absl::Duration unloaded;     // until the first token on an empty server, which no retry can improve
};

// The forecast of one model: one thread publishes, any thread reads. Lock-free on both sides, with independent atomics:
// a reader that overlaps a publication may see parts of two forecasts, which are 0.1 s apart.
class WaitForecast {
 public:
  // Replaces the forecast. One thread at a time.
  void Publish(const ForecastTable& table);
  // The last published forecast.
  ForecastTable Load() const;
  bool known() const { return known_.load(std::memory_order_acquire); }

  // Keep predictions exact between publications: a request with a prompt of that many tokens was admitted, or left the
  // queue (`started` or not).
  void AddWaiting(request::Priority priority, int64_t prompt_tokens) {
    Add(waiting_, priority, 1);
    Add(waiting_tokens_, priority, prompt_tokens);
  }
  void RemoveWaiting(request::Priority priority, int64_t prompt_tokens, bool started) {
    Add(waiting_, priority, -1);
    Add(waiting_tokens_, priority, -prompt_tokens);
    if (!started) return;
    started_.fetch_add(1, std::memory_order_relaxed);
    Add(started_tokens_, priority, prompt_tokens);
  }
  int64_t started() const { return started_.load(std::memory_order_relaxed); }
  PerClass<int64_t> started_tokens() const;
  int64_t waiting_requests(request::Priority priority) const {
    return waiting_[static_cast<size_t>(priority)].load(std::memory_order_relaxed);
  }
  int64_t waiting_tokens(request::Priority priority) const {
    return waiting_tokens_[static_cast<size_t>(priority)].load(std::memory_order_relaxed);
  }

  // The requests that go before a new one, besides waiting ones of more urgent classes.
  struct Line {
    double class_share = 1;            // share of the waiting requests of its own class
    double others = 0;                 // expected requests that do not wait yet
    double overtakers_per_second = 0;  // future ones of its own class
  };
  // For a request of that class that is admitted at `now`. Accounts for overtaking by more urgent arrivals and by aged
  // requests. Takes microseconds at worst.
  WaitPrediction Predict(request::Priority priority, const Demand& demand, absl::Time now, const Line& line) const;
  WaitPrediction Predict(request::Priority priority, const Demand& demand, absl::Time now) const {
    return Predict(priority, demand, now, Line());
  }

  // Mean share of prompt tokens that are computed rather than found in the prefix cache; 1 before the first hit.
  double computed_share() const { return computed_share_.load(std::memory_order_relaxed); }
  // Adds the model's capacity to `curve`, for a request that is refused now and whose class may wait for `wait_limit`.
  // The forecast must be known.
  void ReadCapacity(request::Priority priority, absl::Time now, absl::Duration wait_limit, CapacityCurve* curve) const;

 private:
  template <typename T>
  using Column = std::array<std::atomic<T>, kForecastBuckets + 1>;
  template <typename T>
  using Counters = PerClass<std::atomic<T>>;

  static void Add(Counters<int64_t>& counters, request::Priority priority, int64_t amount) {
    counters[static_cast<size_t>(priority)].fetch_add(amount, std::memory_order_relaxed);
  }
  // Buckets since the forecast was made.
  double Age(absl::Time now) const;
  // To be computed from when the forecast was made, for requests of a class that were admitted by now; of what waits
  // only a share.
  double PromptTokensOf(size_t rank, double waiting_share) const;
  // Until a request of class `rank` has a place, memory and the prompts before its own behind it, if it lets classes
  // more urgent than `before` go first, and by its age passes those from there on. Infinite: not within the horizon.
  // `first`: now, in buckets since the forecast was made.
  double BucketsToStart(size_t rank, size_t before, const Demand& demand, double first, const Line& line) const;

  std::atomic<bool> known_{false};
  std::atomic<int64_t> made_us_{0};
  std::atomic<int64_t> started_before_{0};
  Column<float> starts_ = {};
  Column<float> blocks_ = {};
  Column<float> prompt_tokens_ = {};
  Counters<float> prefilling_tokens_ = {};
  Counters<int64_t> started_tokens_before_ = {};
  Counters<float> arrivals_ = {};
  std::atomic<double> class_step_buckets_{0};
  std::atomic<double> step_s_{0}, sequence_s_{0}, context_token_s_{0}, prefill_token_s_{0};
  std::atomic<float> sequences_{0}, context_tokens_{0}, blocks_per_request_{0}, prompt_tokens_per_request_{0},
      computed_share_{1};
  std::atomic<int32_t> max_batch_tokens_{0};

  std::atomic<int64_t> started_{0};
  Counters<int64_t> started_tokens_ = {};
  Counters<int64_t> waiting_ = {};
  Counters<int64_t> waiting_tokens_ = {};
};

}  // namespace hadal::admission
