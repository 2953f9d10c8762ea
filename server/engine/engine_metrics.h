// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/admission/length_class.h"
#include "server/base/metrics.h"
#include "server/engine/engine_observer.h"

namespace hadal::engine {

// The metrics of all engines of a process: counts their events, and sums up their published state at each scrape. An
// update is one atomic operation without a lock. Thread-safe; `registry` must outlive it.
class EngineMetrics final : public EngineObserver {
 public:
  explicit EngineMetrics(base::MetricRegistry* registry) : registry_(registry) {}

  void OnCreated(const EngineOptions& options, std::shared_ptr<const PublishedState> state) override;
  void OnStep(const StepFacts& facts) override;
  void OnMasks(const MaskFacts& facts) override;
  void OnStarted(request::Priority priority, absl::Duration queue_time) override;
  void OnFirstToken(request::Priority priority, absl::Duration since_arrival) override;
  void OnTokens(int32_t tokens) override;
  void OnInterToken(absl::Duration duration) override;
  void OnPrefixLookup(int32_t query_tokens, int32_t hit_tokens) override;
  void OnPreempted(int32_t lost_tokens) override;
  void OnSetAside(int32_t sequences) override;
  void OnRested(int32_t rows) override;
  void OnRecomputed(int32_t tokens) override;
  void OnDiscarded(int32_t rows) override;
  void OnChoiceEnded(request::FinishReason reason) override;
  void OnEnded(const RequestFacts& facts) override;

 private:
  using Counter = base::Family<base::Counter>;
  using Gauge = base::Family<base::Gauge>;
  using Histogram = base::Family<base::Histogram>;

  // Bounds follow what operators know from vLLM, extended below where a step is faster than their first bucket.
  static constexpr double kTokenTimeBuckets[] = {.0005, .001, .002, .003, .004, .005, .0075, .01, .015,
                                                 .02,   .025, .03,  .05,  .075, .1,   .15,   .2,  .3,
                                                 .4,    .5,   .75,  1,    2.5,  5,    10};
  static constexpr double kDurationBuckets[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                                30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
  static constexpr double kTokenCountBuckets[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                                  1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
  static constexpr double kStepTokenBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  static constexpr double kMaskBuckets[] = {.000001, .000002, .000005, .00001, .00002, .00005,
                                            .0001,   .0002,   .0005,   .001,   .01};
  // Order of the series of `wasted_`, `cancellations_` and `deadline_misses_`, `choices_`, and the two kinds of blocks.
  enum Cause : size_t { kCancelled, kPreempted, kSlowReader, kDeadline, kError };
  enum Where : size_t { kInQueue, kRunning };
  enum Finished : size_t { kStop, kLength, kAbort, kFailed };
  enum BlockState : size_t { kFree, kLeased, kCached };

  void ExportLevels();

  base::MetricRegistry* const registry_;

  // Levels, read from what the engines publish.
  Gauge requests_running_{registry_, {"hadal_requests_running", "Requests that the engine runs."}};
  Gauge requests_runnable_{registry_, {"hadal_runnable_requests", "Running requests that could make progress now."}};
  Gauge kv_usage_{registry_, {"hadal_kv_cache_usage_ratio", "Share of KV blocks that running sequences hold."}};
  Gauge kv_blocks_{registry_,
                   {.name = "hadal_kv_blocks",
                    .help = "KV blocks by state.",
                    .labels = {"state"},
                    .series = {{"free"}, {"leased"}, {"cached"}}}};
  Gauge kv_window_blocks_{registry_,
                          {.name = "hadal_kv_window_blocks",
                           .help = "Window blocks by state; 0 for models without a window.",
                           .labels = {"state"},
                           .series = {{"free"}, {"leased"}, {"cached"}}}};
  Gauge kv_cache_info_{registry_,
                       {.name = "hadal_kv_cache_info",
                        .help = "Constant 1; shape of the KV cache.",
                        .labels = {"block_size", "num_gpu_blocks"}}};

  // Steps.
  Gauge last_step_{registry_, {"hadal_last_step_timestamp_seconds", "Unix time at which the last step ended."}};
  Histogram step_duration_{
      registry_,
      {.name = "hadal_step_duration_seconds", .help = "Launch to end of a model step.", .buckets = kTokenTimeBuckets}};
  Histogram step_tokens_{
      registry_, {.name = "hadal_step_tokens", .help = "Tokens of a model step.", .buckets = kStepTokenBuckets}};
  Histogram mask_time_{registry_,
                       {.name = "hadal_grammar_mask_seconds",
                        .help = "Time to make the token mask of one sequence.",
                        .buckets = kMaskBuckets}};

  // Tokens.
  Counter prompt_tokens_{registry_, {"hadal_prompt_tokens_total", "Prompt tokens of started requests."}};
  Counter generation_tokens_{registry_, {"hadal_generation_tokens_total", "Tokens generated."}};
  Counter goodput_{registry_,
                   {.name = "hadal_goodput_tokens_total",
                    .help = "Prompt and output tokens of requests that were answered whole and in time.",
                    .labels = {"class", "length_class"},
                    .series = admission::ClassAndLengthSeries()}};
  Counter wasted_{registry_,
                  {.name = "hadal_wasted_tokens_total",
                   .help = "Computed tokens that nobody received.",
                   .labels = {"cause"},
                   .series = {{"cancelled"}, {"preempted"}, {"slow_reader"}, {"deadline"}, {"error"}}}};
  Counter recomputed_{registry_, {"hadal_recomputed_tokens_total", "Tokens computed again after preemption."}};
  Counter discarded_{
      registry_, {"hadal_discarded_rows_total", "Rows of steps launched before it was known that a sequence ends."}};
  Counter preemptions_{registry_,
                       {.name = "hadal_preemptions_total",
                        .help = "Sequences that gave their blocks back while running.",
                        .labels = {"kind"},
                        .series = {{"recompute"}}}};
  Counter set_aside_{registry_,
                     {"hadal_set_aside_sequences_total",
                      "Running sequences of class batch that left their places to more urgent requests."}};
  Counter rested_{registry_,
                  {"hadal_rested_rows_total",
                   "Rows of class batch that a step left to a later one, so as not to take longer for others."}};
  Counter prefix_query_{registry_,
                        {"hadal_prefix_cache_query_tokens_total", "Prompt tokens looked up in the prefix cache."}};
  Counter prefix_hit_{registry_, {"hadal_prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache."}};

  // Requests.
  // The label and its values are vLLM's, whose metric this becomes with --metrics-aliases.
  Counter choices_{registry_,
                   {.name = "hadal_finished_choices_total",
                    .help = "Choices of started requests, by how they ended.",
                    .labels = {"finished_reason"},
                    .series = {{"stop"}, {"length"}, {"abort"}, {"error"}}}};
  Counter deadline_misses_{registry_,
                           {.name = "hadal_deadline_misses_total",
                            .help = "Requests whose deadline passed.",
                            .labels = {"stage"},
                            .series = {{"queue"}, {"running"}}}};
  Counter cancellations_{registry_,
                         {.name = "hadal_cancellations_total",
                          .help = "Requests cancelled by their caller.",
                          .labels = {"stage"},
                          .series = {{"queue"}, {"running"}}}};
  Histogram first_token_{registry_,
                         {.name = "hadal_time_to_first_token_seconds",
                          .help = "Arrival to first token.",
                          .labels = {"class"},
                          .series = base::SeriesOf(request::kPriorityNames),
                          .buckets = base::kWaitBuckets}};
  Histogram inter_token_{registry_,
                         {.name = "hadal_inter_token_latency_seconds",
                          .help = "Time between two tokens of a sequence.",
                          .buckets = kTokenTimeBuckets}};
  Histogram time_per_token_{registry_,
                            {.name = "hadal_time_per_output_token_seconds",
                             .help = "Mean time per token after the first, by request.",
                             .buckets = kTokenTimeBuckets}};
  Histogram duration_{registry_,
                      {.name = "hadal_request_duration_seconds",
                       .help = "Arrival to end.",
                       .labels = {"class"},
                       .series = base::SeriesOf(request::kPriorityNames),
                       .buckets = kDurationBuckets}};
  Histogram queue_time_{registry_,
                        {.name = "hadal_queue_time_seconds",
                         .help = "Arrival to start.",
                         .labels = {"class"},
                         .series = base::SeriesOf(request::kPriorityNames),
                         .buckets = base::kWaitBuckets}};
  Histogram prefill_time_{
      registry_,
      {.name = "hadal_prefill_time_seconds", .help = "Start to first token.", .buckets = base::kWaitBuckets}};
  Histogram decode_time_{
      registry_, {.name = "hadal_decode_time_seconds", .help = "First token to end.", .buckets = kDurationBuckets}};
  Histogram prompt_length_{registry_,
                           {.name = "hadal_request_prompt_tokens",
                            .help = "Prompt length of finished requests.",
                            .buckets = kTokenCountBuckets}};
  Histogram output_length_{registry_,
                           {.name = "hadal_request_generation_tokens",
                            .help = "Output length of finished requests.",
                            .buckets = kTokenCountBuckets}};

  base::Mutex mutex_;
  std::vector<std::shared_ptr<const PublishedState>> engines_ ABSL_GUARDED_BY(mutex_);
  base::MetricCollector levels_{registry_, [this] { ExportLevels(); }};
};

}  // namespace hadal::engine
