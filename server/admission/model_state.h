// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "server/admission/admission.h"
#include "server/admission/deviation_controller.h"
#include "server/admission/length_histogram.h"
#include "server/admission/memory_foresight.h"
#include "server/admission/prefix_leases.h"
#include "server/admission/quantile_controller.h"

namespace hadal::admission {

// Parts of the pool, see ModelState::LeftToFirstAttempts: of any return without a promise, and of one that was told
// that no capacity is in sight.
inline constexpr int64_t kUnpromisedMemoryShare = 16;
inline constexpr int64_t kSurplusMemoryShare = 8;

struct MeanRequest {
  double prompt_tokens = 0;
  double blocks = 0;         // of its lease
  double output_blocks = 0;  // of these, those beyond its own blocks of the prompt

  void Record(double more_prompt_tokens, double more_blocks, double more_output_blocks) {
    const double step = samples < 100 ? 1.0 / ++samples : 0.01;
    prompt_tokens += step * (more_prompt_tokens - prompt_tokens);
    blocks += step * (more_blocks - blocks);
    output_blocks += step * (more_output_blocks - output_blocks);
  }
  // A request has ended whose prompt was found in the prefix cache but for `computed`.
  void RecordComputed(double prompt, double computed) {
    ended_prompts = kKept * ended_prompts + prompt;
    ended_computed = kKept * ended_computed + computed;
  }
  // A request asked for a lease of all of its prompt's blocks but those that it shares.
  void RecordLeased(double prompt_blocks, double shared_blocks) {
    leased_prompts = kKept * leased_prompts + prompt_blocks;
    leased_shared = kKept * leased_shared + shared_blocks;
  }
  // Of prompt tokens; 1 until something has ended.
  double computed_share() const { return ended_prompts > 0 ? ended_computed / ended_prompts : 1; }
  // Of prompt blocks, that a request leases itself; 1 until something asked.
  double leased_share() const { return leased_prompts > 0 ? 1 - leased_shared / leased_prompts : 1; }

  static constexpr double kKept = 0.99;
  int samples = 0;
  double ended_prompts = 0, ended_computed = 0;
  double leased_prompts = 0, leased_shared = 0;
};

// What the controller keeps for each model. `limits` and `wake` are fixed before requests arrive; the locks are never
// held together with the controller's own.
struct AdmissionController::ModelState {
  ModelState(const ModelLimits& model_limits, QueueOrder order, double output_quantile)
      : limits(model_limits),
        queue(order),
        prefixes(limits.pool, limits.block_tokens, limits.block_bytes),
        foresight(limits.block_tokens, pool_blocks()),
        deviation(pool_blocks()),
        quantile(output_quantile, pool_blocks()) {}

  int64_t BlocksFor(int64_t tokens) const { return (tokens + limits.block_tokens - 1) / limits.block_tokens; }
  int64_t pool_blocks() const { return limits.pool->capacity_bytes() / limits.block_bytes; }
  // Of what is promised to others, not more than half of the pool.
  int64_t KeptFreeBytes(double promised_blocks) const {
    return static_cast<int64_t>(std::min(promised_blocks, static_cast<double>(pool_blocks() / 2))) * limits.block_bytes;
  }

  // Blocks that a request with such a prompt will lease: for what of the prompt it does not share, and for an answer
  // like those of others.
  int64_t ExpectedLease(int64_t prompt_tokens) const {
    const double own = static_cast<double>(BlocksFor(prompt_tokens)) * leased_share + output_blocks;
    return std::min(static_cast<int64_t>(std::ceil(own)), pool_blocks());
  }
  // What a client that returns without a promise leaves to first attempts, in whose place it would cost more attempts:
  // a part of the pool, but never so much that it would not fit when nothing else runs.
  double LeftToFirstAttempts(const RetryPlanner::Arrival& arrival, int32_t attempt, int64_t blocks) const {
    if (arrival.timing == ReturnTiming::kInWindow || (attempt == 0 && !arrival.surplus)) return 0;
    const int64_t left = pool_blocks() / (arrival.surplus ? kSurplusMemoryShare : kUnpromisedMemoryShare);
    return static_cast<double>(std::clamp<int64_t>(pool_blocks() - blocks, 0, left));
  }
  // The same at the door, where the model is not known yet: what every model asks for.
  static double LeastLeftToFirstAttempts(const std::vector<std::unique_ptr<ModelState>>& models,
                                         const RetryPlanner::Arrival& arrival, int32_t attempt, int64_t prompt_tokens) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& model : models) {
      least = std::min(least, model->LeftToFirstAttempts(arrival, attempt, model->BlocksFor(prompt_tokens)));
    }
    return models.empty() ? 0 : least;
  }

  const ModelLimits limits;
  std::shared_ptr<request::WakeSignal> wake;

  base::Mutex queue_mutex;
  PriorityQueue<QueuedRequest> queue ABSL_GUARDED_BY(queue_mutex);
  std::atomic<int64_t> queued{0};                    // queue.size(), to be read without the lock
  std::atomic<int64_t> next_deadline_us{INT64_MAX};  // earliest in the queue, or earlier

  OutputLengths lengths;  // recorded by the engine's thread

  base::Mutex stats_mutex;
  // What a request brings, on average over about the last hundred.
  MeanRequest mean_request ABSL_GUARDED_BY(stats_mutex);

  PrefixLeases prefixes;
  MemoryForesight foresight;                       // what leases of long answers reserve, as of the last forecast
  DeviationController deviation;                   // of that
  QuantileController quantile;                     // of the output lengths, for fixed leases
  std::atomic<int64_t> next_sharer_us{INT64_MIN};  // when one more is let on whose prompt may be leased already
  // Of mean_request, to be read without the lock.
  std::atomic<double> leased_share{1}, output_blocks{0};

  EngineLoad load;
  WaitForecast forecast;
  // Of the last forecast; 0 until the lengths of answers are known.
  std::atomic<double> sustainable_per_second{0};  // requests like the last ones
  std::atomic<double> tokens_per_answer{0}, tokens_per_prompt{0};
  bool was_idle = false;  // at the last forecast; under forecast_mutex_
  // The engine's thread only:
  absl::Time forecast_due = absl::InfinitePast();
  bool forecast_idle = false;  // the engine was idle at the last one
};

}  // namespace hadal::admission
