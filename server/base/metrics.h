// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "server/base/metric_types.h"

namespace hadal::base {

// Every metric that hadal exports, by purpose. One instance a process, created before anything else; all members are
// thread-safe, and updating one costs an atomic operation. docs/metrics.md explains each; k8s/ and alerts use the
// names. Class labels are "high", "normal", "low", "batch"; length classes are "256", "1k", "4k", "16k", "more" prompt
// tokens.
struct Metrics {
  Metrics();

  // Load.
  Family<Gauge> requests_waiting, requests_running, runnable_requests, queue_depth, queue_tokens,
      predicted_wait_seconds, open_connections;
  // Memory.
  Family<Gauge> kv_cache_usage_ratio, kv_blocks, kv_window_blocks, kv_cache_info, memory_budget_bytes,
      memory_committed_bytes;
  // State.
  Family<Gauge> ready, draining, last_step_timestamp_seconds, model_load_progress_ratio, build_info, model_info;
  // Counters.
  Family<Counter> requests_total, admission_attempts, admission_rejections, prompt_tokens, generation_tokens,
      wasted_tokens, recomputed_tokens, preemptions, prefix_query_tokens, prefix_hit_tokens, deadline_misses,
      cancellations, slow_readers, log_dropped, tool_calls, grammar_requests;
  Family<Gauge> grammar_cache_bytes;
  // Histograms.
  Family<Histogram> time_to_first_token, inter_token_latency, time_per_output_token, request_duration, queue_time,
      prefill_time, decode_time, step_duration, step_tokens, request_prompt_tokens, request_generation_tokens,
      retry_after, grammar_compile, grammar_mask;

  // Called at the start of Expose, to bring gauges up to date that mirror other state. Set once, before the first
  // Expose.
  void SetRefresh(std::function<void()> refresh) { refresh_ = std::move(refresh); }

  // Prometheus text format 0.0.4 of everything. Any thread; takes no lock that the engine or a front end holds for
  // long.
  std::string Expose();

 private:
  std::function<void()> refresh_;
};

// Label value for a prompt of that many tokens.
std::string_view LengthClass(int64_t prompt_tokens);

}  // namespace hadal::base
