// SPDX-License-Identifier: Apache-2.0
#include "server/base/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace hadal::base {
namespace {

// Bucket series follow what operators know from vLLM, extended below where a step is faster than their first bucket.
const std::vector<double> kFirstTokenBuckets = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                                1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
const std::vector<double> kTokenTimeBuckets = {.0005, .001, .002, .003, .004, .005, .0075, .01, .015,
                                               .02,   .025, .03,  .05,  .075, .1,   .15,   .2,  .3,
                                               .4,    .5,   .75,  1,    2.5,  5,    10};
const std::vector<double> kDurationBuckets = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                              30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const std::vector<double> kTokenCountBuckets = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                                1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
const std::vector<double> kStepTokenBuckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kMaskBuckets = {.000001, .000002, .000005, .00001, .00002, .00005,
                                          .0001,   .0002,   .0005,   .001,   .01};
const std::vector<double> kRetryAfterBuckets = {1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 25, 30};

const std::vector<std::string> kClasses = {"high", "normal", "low", "batch"};
const std::vector<std::string> kLengthClasses = {"256", "1k", "4k", "16k", "more"};

template <typename T>
void Create(Family<T>& family, const std::vector<std::string>& values) {
  for (const std::string& value : values) family.With({value});
}

void SetValue(prometheus::ClientMetric& out, prometheus::MetricType, const Counter& metric) {
  out.counter.value = static_cast<double>(metric.Value());
}
void SetValue(prometheus::ClientMetric& out, prometheus::MetricType, const Gauge& metric) {
  out.gauge.value = metric.Value();
}
void SetValue(prometheus::ClientMetric& out, prometheus::MetricType, const Histogram& metric) {
  const std::vector<uint64_t> counts = metric.BucketCounts();
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    cumulative += counts[i];
    const double bound =
        i < metric.upper_bounds().size() ? metric.upper_bounds()[i] : std::numeric_limits<double>::infinity();
    out.histogram.bucket.push_back({cumulative, bound});
  }
  out.histogram.sample_count = cumulative;
  out.histogram.sample_sum = metric.Sum();
}

template <typename T>
constexpr prometheus::MetricType TypeOf() {
  if constexpr (std::is_same_v<T, Counter>) return prometheus::MetricType::Counter;
  if constexpr (std::is_same_v<T, Gauge>) return prometheus::MetricType::Gauge;
  return prometheus::MetricType::Histogram;
}

template <typename T>
void Append(std::vector<prometheus::MetricFamily>& out, const Family<T>& family) {
  prometheus::MetricFamily collected{family.name(), family.help(), TypeOf<T>(), {}};
  family.ForEach([&](const LabelValues& values, const T& metric) {
    prometheus::ClientMetric& client = collected.metric.emplace_back();
    for (size_t i = 0; i < values.size(); ++i) client.label.push_back({family.labels()[i], values[i]});
    SetValue(client, TypeOf<T>(), metric);
  });
  out.push_back(std::move(collected));
}

template <typename... Families>
void AppendAll(std::vector<prometheus::MetricFamily>& out, const Families&... families) {
  (Append(out, families), ...);
}

}  // namespace

Metrics::Metrics()
    : requests_waiting("hadal_requests_waiting", "Requests admitted and not yet running.", {}),
      requests_running("hadal_requests_running", "Requests that the engine runs.", {}),
      runnable_requests("hadal_runnable_requests", "Running requests that could make progress now.", {}),
      queue_depth("hadal_queue_depth", "Requests waiting, by class.", {"class"}),
      queue_tokens("hadal_queue_tokens", "Prompt tokens waiting, by class.", {"class"}),
      predicted_wait_seconds("hadal_predicted_wait_seconds", "Expected time in the queue of an arrival now.",
                             {"class"}),
      open_connections("hadal_open_connections", "Open HTTP client connections.", {"protocol"}),
      kv_cache_usage_ratio("hadal_kv_cache_usage_ratio", "Share of KV blocks that running sequences hold.", {}),
      kv_blocks("hadal_kv_blocks", "KV blocks by state.", {"state"}),
      kv_window_blocks("hadal_kv_window_blocks", "Window blocks by state; 0 for models without a window.", {"state"}),
      kv_cache_info("hadal_kv_cache_info", "Constant 1; shape of the KV cache.", {"block_size", "num_gpu_blocks"}),
      memory_budget_bytes("hadal_memory_budget_bytes", "Bytes the server may use on the device.", {}),
      memory_committed_bytes("hadal_memory_committed_bytes", "Bytes of weights, workspace and leased KV cache.", {}),
      ready("hadal_ready", "1 when the server takes requests.", {}),
      draining("hadal_draining", "1 while the server finishes and takes nothing new.", {}),
      last_step_timestamp_seconds("hadal_last_step_timestamp_seconds", "Unix time at which the last step ended.", {}),
      model_load_progress_ratio("hadal_model_load_progress_ratio", "Share of the load that is done.", {}),
      build_info("hadal_build_info", "Constant 1; what was built.", {"version", "compiler"}),
      model_info("hadal_model_info", "Constant 1; what is served.", {"model", "family", "dtype", "device"}),
      requests_total("hadal_requests_total", "Finished requests.",
                     {"route", "class", "http_code", "grpc_code", "outcome", "reason"}),
      admission_attempts("hadal_admission_attempts_total", "Requests that asked for a place.",
                         {"class", "length_class"}),
      admission_rejections("hadal_admission_rejections_total", "Requests refused.",
                           {"class", "length_class", "reason"}),
      prompt_tokens("hadal_prompt_tokens_total", "Prompt tokens of started requests.", {}),
      generation_tokens("hadal_generation_tokens_total", "Tokens generated.", {}),
      wasted_tokens("hadal_wasted_tokens_total", "Computed tokens that nobody received.", {"cause"}),
      recomputed_tokens("hadal_recomputed_tokens_total", "Tokens computed again after preemption.", {}),
      preemptions("hadal_preemptions_total", "Sequences that gave their blocks back while running.", {"kind"}),
      prefix_query_tokens("hadal_prefix_cache_query_tokens_total", "Prompt tokens looked up in the prefix cache.", {}),
      prefix_hit_tokens("hadal_prefix_cache_hit_tokens_total", "Prompt tokens found in the prefix cache.", {}),
      deadline_misses("hadal_deadline_misses_total", "Requests whose deadline passed.", {"stage"}),
      cancellations("hadal_cancellations_total", "Requests cancelled by their caller.", {"stage"}),
      slow_readers("hadal_slow_readers_total", "Streams dropped because the client did not read.", {}),
      log_dropped("hadal_log_dropped_total", "Log lines dropped because the sink was slow.", {}),
      tool_calls("hadal_tool_calls_total", "Tool calls that models wrote: given to clients, or malformed.",
                 {"outcome"}),
      grammar_requests("hadal_grammar_requests_total", "Grammars asked for, by how it went.", {"result"}),
      grammar_cache_bytes("hadal_grammar_cache_bytes", "Bytes of compiled grammars that are kept.", {}),
      time_to_first_token("hadal_time_to_first_token_seconds", "Arrival to first token.", {"class"},
                          kFirstTokenBuckets),
      inter_token_latency("hadal_inter_token_latency_seconds", "Time between two tokens of a sequence.", {},
                          kTokenTimeBuckets),
      time_per_output_token("hadal_time_per_output_token_seconds", "Mean time per token after the first, by request.",
                            {}, kTokenTimeBuckets),
      request_duration("hadal_request_duration_seconds", "Arrival to end.", {"class"}, kDurationBuckets),
      queue_time("hadal_queue_time_seconds", "Arrival to start.", {"class"}, kFirstTokenBuckets),
      prefill_time("hadal_prefill_time_seconds", "Start to first token.", {}, kFirstTokenBuckets),
      decode_time("hadal_decode_time_seconds", "First token to end.", {}, kDurationBuckets),
      step_duration("hadal_step_duration_seconds", "Launch to end of a model step.", {}, kTokenTimeBuckets),
      step_tokens("hadal_step_tokens", "Tokens of a model step.", {}, kStepTokenBuckets),
      request_prompt_tokens("hadal_request_prompt_tokens", "Prompt length of finished requests.", {},
                            kTokenCountBuckets),
      request_generation_tokens("hadal_request_generation_tokens", "Output length of finished requests.", {},
                                kTokenCountBuckets),
      retry_after("hadal_retry_after_seconds", "Retry hints given.", {"class"}, kRetryAfterBuckets),
      grammar_compile("hadal_grammar_compile_seconds", "Time to compile a grammar.", {}, kFirstTokenBuckets),
      grammar_mask("hadal_grammar_mask_seconds", "Time to make the token mask of one sequence.", {}, kMaskBuckets) {
  Create(grammar_requests, {"hit", "miss", "joined", "refused", "too_slow", "busy"});
  Create(queue_depth, kClasses);
  Create(queue_tokens, kClasses);
  Create(predicted_wait_seconds, kClasses);
  Create(open_connections, {"http"});
  Create(kv_blocks, {"free", "leased", "cached"});
  Create(kv_window_blocks, {"free", "leased", "cached"});
  Create(wasted_tokens, {"cancelled", "preempted", "slow_reader", "deadline", "error"});
  Create(preemptions, {"recompute"});
  Create(deadline_misses, {"queue", "running"});
  Create(cancellations, {"queue", "running"});
  Create(time_to_first_token, kClasses);
  Create(request_duration, kClasses);
  Create(queue_time, kClasses);
  Create(retry_after, kClasses);
  Create(tool_calls, {"given", "malformed"});
  for (const std::string& cls : kClasses) {
    for (const std::string& length : kLengthClasses) {
      admission_attempts.With({cls, length});
      for (const char* reason : {"CONNECTION_QUEUE_FULL", "QUEUE_TOKENS_FULL", "GPU_MEMORY_EXHAUSTED"}) {
        admission_rejections.With({cls, length, reason});
      }
    }
  }
  for (const char* outcome : {"ok", "shed", "error", "invalid", "cancelled"}) {
    requests_total.With({"/v1/chat/completions", "normal", "", "", outcome, ""});
  }
}

std::string Metrics::Expose() {
  if (refresh_) refresh_();
  std::vector<prometheus::MetricFamily> out;
  out.reserve(64);
  AppendAll(out, requests_waiting, requests_running, runnable_requests, queue_depth, queue_tokens,
            predicted_wait_seconds, open_connections, kv_cache_usage_ratio, kv_blocks, kv_window_blocks, kv_cache_info,
            memory_budget_bytes, memory_committed_bytes, ready, draining, last_step_timestamp_seconds,
            model_load_progress_ratio, build_info, model_info, requests_total, admission_attempts, admission_rejections,
            prompt_tokens, generation_tokens, wasted_tokens, recomputed_tokens, preemptions, prefix_query_tokens,
            prefix_hit_tokens, deadline_misses, cancellations, slow_readers, log_dropped, tool_calls,
            time_to_first_token, inter_token_latency, time_per_output_token, request_duration, queue_time, prefill_time,
            decode_time, step_duration, step_tokens, request_prompt_tokens, request_generation_tokens, retry_after,
            grammar_requests, grammar_cache_bytes, grammar_compile, grammar_mask);
  return prometheus::TextSerializer().Serialize(out);
}

std::string_view LengthClass(int64_t prompt_tokens) {
  if (prompt_tokens <= 256) return "256";
  if (prompt_tokens <= 1024) return "1k";
  if (prompt_tokens <= 4096) return "4k";
  if (prompt_tokens <= 16384) return "16k";
  return "more";
}

}  // namespace hadal::base
