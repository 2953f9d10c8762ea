// SPDX-License-Identifier: Apache-2.0
#include "server/commands/metrics_bridge.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "server/base/log.h"
#include "server/request/refusal.h"

namespace hadal::commands {
namespace {

std::string ClassName(request::Priority priority) {
  return std::string(request::kPriorityNames[static_cast<int>(priority)]);
}

std::vector<base::Histogram*> ByClass(base::Family<base::Histogram>& family) {
  std::vector<base::Histogram*> series;
  for (int i = 0; i < request::kNumPriorities; ++i) series.push_back(&family.With({ClassName(static_cast<request::Priority>(i))}));
  return series;
}

// Blocks of all engines.
struct Blocks {
  int64_t free = 0, leased = 0, cached = 0, total = 0;
};
Blocks SumBlocks(const std::vector<const engine::Engine*>& engines) {
  Blocks sum;
  for (const engine::Engine* engine : engines) {
    const engine::EngineSnapshot snapshot = engine->snapshot();
    sum.free += snapshot.free_blocks;
    sum.leased += snapshot.leased_blocks;
    sum.cached += snapshot.cached_blocks;
    sum.total += snapshot.total_blocks;
  }
  return sum;
}

}  // namespace

EngineMetrics::EngineMetrics(base::Metrics* metrics)
    : metrics_(metrics),
      queue_time_(ByClass(metrics->queue_time)),
      first_token_(ByClass(metrics->time_to_first_token)),
      duration_(ByClass(metrics->request_duration)) {}

void EngineMetrics::OnStep(const engine::StepFacts& facts) {
  metrics_->step_duration.Get().Observe(absl::ToDoubleSeconds(facts.duration));
  metrics_->step_tokens.Get().Observe(facts.tokens);
  metrics_->last_step_timestamp_seconds.Get().Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
}

void EngineMetrics::OnStarted(request::Priority priority, absl::Duration queue_time) {
  queue_time_[static_cast<int>(priority)]->Observe(absl::ToDoubleSeconds(queue_time));
}

void EngineMetrics::OnFirstToken(request::Priority priority, absl::Duration since_arrival) {
  first_token_[static_cast<int>(priority)]->Observe(absl::ToDoubleSeconds(since_arrival));
}

void EngineMetrics::OnTokens(int32_t tokens) { metrics_->generation_tokens.Get().Increment(tokens); }

void EngineMetrics::OnInterToken(absl::Duration gap) {
  metrics_->inter_token_latency.Get().Observe(absl::ToDoubleSeconds(gap));
}

void EngineMetrics::OnPrefixLookup(int32_t query_tokens, int32_t hit_tokens) {
  metrics_->prefix_query_tokens.Get().Increment(query_tokens);
  metrics_->prefix_hit_tokens.Get().Increment(hit_tokens);
}

void EngineMetrics::OnPreempted(int32_t lost_tokens) {
  metrics_->preemptions.With({"recompute"}).Increment();
  metrics_->wasted_tokens.With({"preempted"}).Increment(lost_tokens);
}

void EngineMetrics::OnRecomputed(int32_t tokens) { metrics_->recomputed_tokens.Get().Increment(tokens); }

void EngineMetrics::OnEnded(const engine::RequestFacts& facts) {
  using request::Reason;
  const char* stage = facts.stage == engine::Stage::kQueue ? "queue" : "running";
  if (facts.reason == Reason::kCancelled) metrics_->cancellations.With({stage}).Increment();
  if (facts.reason == Reason::kDeadlineExpired) metrics_->deadline_misses.With({stage}).Increment();
  if (facts.reason == Reason::kSlowReader) metrics_->slow_readers.Get().Increment();
  const int64_t tokens = facts.usage.prompt_tokens - facts.usage.cached_tokens + facts.usage.completion_tokens;
  if (facts.stage != engine::Stage::kQueue && facts.reason != Reason::kNone) {
    const char* cause = facts.reason == Reason::kCancelled          ? "cancelled"
                        : facts.reason == Reason::kDeadlineExpired  ? "deadline"
                        : facts.reason == Reason::kSlowReader       ? "slow_reader"
                                                                    : "error";
    metrics_->wasted_tokens.With({cause}).Increment(std::max<int64_t>(tokens, 0));
  }
  if (facts.stage == engine::Stage::kQueue) return;
  metrics_->prompt_tokens.Get().Increment(facts.usage.prompt_tokens);
  metrics_->request_prompt_tokens.Get().Observe(facts.usage.prompt_tokens);
  metrics_->request_generation_tokens.Get().Observe(facts.usage.completion_tokens);
  duration_[static_cast<int>(facts.priority)]->Observe(absl::ToDoubleSeconds(facts.total_time));
  if (facts.usage.completion_tokens == 0) return;
  metrics_->prefill_time.Get().Observe(absl::ToDoubleSeconds(facts.prefill_time));
  metrics_->decode_time.Get().Observe(absl::ToDoubleSeconds(facts.decode_time));
  if (facts.usage.completion_tokens > 1) {
    metrics_->time_per_output_token.Get().Observe(absl::ToDoubleSeconds(facts.decode_time) /
                                                  (facts.usage.completion_tokens - 1));
  }
}

void CountAdmission(base::Metrics* metrics, admission::AdmissionController::Options* options) {
  options->on_attempt = [metrics](request::Priority priority, int64_t prompt_tokens) {
    metrics->admission_attempts.With({ClassName(priority), std::string(base::LengthClass(prompt_tokens))}).Increment();
  };
  options->on_refused = [metrics](request::Priority priority, int64_t prompt_tokens, request::Reason reason,
                                  absl::Duration retry_after) {
    metrics->admission_rejections
        .With({ClassName(priority), std::string(base::LengthClass(prompt_tokens)), std::string(request::ReasonName(reason))})
        .Increment();
    metrics->retry_after.With({ClassName(priority)}).Observe(absl::ToDoubleSeconds(retry_after));
  };
}

void UpdateGauges(base::Metrics* metrics, const GaugeSources& sources) {
  const service::Load load = MakeLoad(sources);
  metrics->requests_waiting.Get().Set(load.requests_waiting);
  metrics->requests_running.Get().Set(load.requests_running);
  metrics->kv_cache_usage_ratio.Get().Set(load.kv_cache_usage_ratio);
  metrics->memory_budget_bytes.Get().Set(static_cast<double>(load.memory_budget_bytes));
  metrics->memory_committed_bytes.Get().Set(static_cast<double>(load.memory_committed_bytes));
  metrics->ready.Get().Set(load.ready ? 1 : 0);
  metrics->draining.Get().Set(load.draining ? 1 : 0);

  int runnable = 0;
  for (const engine::Engine* engine : sources.engines) {
    const engine::EngineSnapshot snapshot = engine->snapshot();
    if (snapshot.runnable) runnable += std::max(1, snapshot.running_sequences - snapshot.paused_sequences);
  }
  metrics->runnable_requests.Get().Set(runnable);
  const Blocks blocks = SumBlocks(sources.engines);
  metrics->kv_blocks.With({"free"}).Set(static_cast<double>(blocks.free));
  metrics->kv_blocks.With({"leased"}).Set(static_cast<double>(blocks.leased));
  metrics->kv_blocks.With({"cached"}).Set(static_cast<double>(blocks.cached));

  const admission::AdmissionController::Load admission = sources.admission->GetLoad();
  for (int i = 0; i < request::kNumPriorities; ++i) {
    const std::string name = ClassName(static_cast<request::Priority>(i));
    metrics->queue_depth.With({name}).Set(static_cast<double>(admission.waiting_by_class[i]));
    metrics->queue_tokens.With({name}).Set(static_cast<double>(admission.tokens_by_class[i]));
    metrics->predicted_wait_seconds.With({name}).Set(load.predicted_wait_seconds);
  }
  const uint64_t dropped = base::LogLinesDropped();
  const uint64_t counted = metrics->log_dropped.Get().Value();
  if (dropped > counted) metrics->log_dropped.Get().Increment(dropped - counted);
}

service::Load MakeLoad(const GaugeSources& sources) {
  const admission::AdmissionController::Load admission = sources.admission->GetLoad();
  service::Load load;
  for (const engine::Engine* engine : sources.engines) load.requests_running += engine->snapshot().running;
  load.requests_waiting = static_cast<int32_t>(admission.waiting);
  load.queue_limit_requests = static_cast<int32_t>(admission.waiting_limit);
  load.queue_tokens = admission.waiting_tokens;
  const Blocks blocks = SumBlocks(sources.engines);
  load.kv_cache_usage_ratio = blocks.total > 0 ? static_cast<double>(blocks.leased) / static_cast<double>(blocks.total) : 0;
  load.memory_budget_bytes = sources.memory_budget_bytes;
  load.memory_committed_bytes = sources.memory_fixed_bytes + admission.memory_leased_bytes;
  load.predicted_wait_seconds =
      admission.departures_per_second > 0 ? static_cast<double>(admission.waiting) / admission.departures_per_second : 0;
  load.ready = sources.ready;
  load.draining = sources.draining;
  return load;
}

}  // namespace hadal::commands
