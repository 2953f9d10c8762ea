// SPDX-License-Identifier: Apache-2.0
#include "server/commands/metrics_bridge.h"

#include "server/base/log.h"
#include "server/engine/engine_metrics.h"
#include "server/request/refusal.h"

namespace hadal::commands {
namespace {

std::string ClassName(request::Priority priority) {
  return std::string(request::kPriorityNames[static_cast<int>(priority)]);
}

std::vector<engine::EngineSnapshot> Snapshots(const GaugeSources& sources) {
  std::vector<engine::EngineSnapshot> snapshots;
  for (const engine::Engine* engine : sources.engines) snapshots.push_back(engine->snapshot());
  return snapshots;
}

}  // namespace

void CountAdmission(base::Metrics* metrics, admission::AdmissionController::Options* options) {
  options->on_attempt = [metrics](request::Priority priority, int64_t prompt_tokens) {
    metrics->admission_attempts.With({ClassName(priority), std::string(base::LengthClass(prompt_tokens))}).Increment();
  };
  options->on_refused = [metrics](request::Priority priority, int64_t prompt_tokens, request::Reason reason,
                                  absl::Duration retry_after) {
    metrics->admission_rejections
        .With({ClassName(priority), std::string(base::LengthClass(prompt_tokens)),
               std::string(request::ReasonName(reason))})
        .Increment();
    metrics->retry_after.With({ClassName(priority)}).Observe(absl::ToDoubleSeconds(retry_after));
  };
}

void UpdateGauges(base::Metrics* metrics, const GaugeSources& sources) {
  engine::ExportLevels(Snapshots(sources), sources.admission->GetLoad(), *metrics);
  const service::Load load = MakeLoad(sources);
  metrics->memory_budget_bytes.Get().Set(static_cast<double>(load.memory_budget_bytes));
  metrics->memory_committed_bytes.Get().Set(static_cast<double>(load.memory_committed_bytes));
  metrics->ready.Get().Set(load.ready ? 1 : 0);
  metrics->draining.Get().Set(load.draining ? 1 : 0);
  for (int i = 0; i < request::kNumPriorities; ++i) {
    metrics->predicted_wait_seconds.With({ClassName(static_cast<request::Priority>(i))})
        .Set(load.predicted_wait_seconds);
  }
  const uint64_t dropped = base::LogLinesDropped();
  const uint64_t counted = metrics->log_dropped.Get().Value();
  if (dropped > counted) metrics->log_dropped.Get().Increment(dropped - counted);
}

service::Load MakeLoad(const GaugeSources& sources) {
  const admission::AdmissionController::Load admission = sources.admission->GetLoad();
  service::Load load;
  int64_t leased_blocks = 0, total_blocks = 0;
  for (const engine::EngineSnapshot& snapshot : Snapshots(sources)) {
    load.requests_running += snapshot.running;
    leased_blocks += snapshot.leased_blocks;
    total_blocks += snapshot.total_blocks;
  }
  load.requests_waiting = static_cast<int32_t>(admission.waiting);
  load.queue_limit_requests = static_cast<int32_t>(admission.waiting_limit);
  load.queue_tokens = admission.waiting_tokens;
  load.kv_cache_usage_ratio =
      total_blocks > 0 ? static_cast<double>(leased_blocks) / static_cast<double>(total_blocks) : 0;
  load.memory_budget_bytes = sources.memory_budget_bytes;
  load.memory_committed_bytes = sources.memory_fixed_bytes + admission.memory_leased_bytes;
  load.predicted_wait_seconds = admission.departures_per_second > 0
                                    ? static_cast<double>(admission.waiting) / admission.departures_per_second
                                    : 0;
  load.ready = sources.ready;
  load.draining = sources.draining;
  return load;
}

}  // namespace hadal::commands
