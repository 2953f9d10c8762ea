// SPDX-License-Identifier: Apache-2.0
#include "server/commands/server_load.h"

namespace hadal::commands {

service::Load MakeLoad(const LoadSources& sources) {
  const admission::AdmissionLoad admission = sources.admission->GetLoad();
  service::Load load;
  int64_t leased_blocks = 0, total_blocks = 0;
  for (const engine::Engine* engine : sources.engines) {
    const engine::EngineSnapshot snapshot = engine->snapshot();
    load.requests_running += snapshot.running;
    load.sequences_running += snapshot.running_sequences;
    load.sequences_limit += engine->options().max_batch_size;
    leased_blocks += snapshot.leased_blocks;
    total_blocks += snapshot.total_blocks;
  }
  load.requests_waiting = static_cast<int32_t>(admission.waiting);
  load.queue_limit_requests = static_cast<int32_t>(admission.waiting_limit);
  load.queue_tokens = admission.waiting_tokens;
  load.kv_cache_usage_ratio = engine::KvUsageRatio(leased_blocks, total_blocks);
  if (sources.memory != nullptr) {
    load.memory_budget_bytes = sources.memory->budget_bytes();
    load.memory_committed_bytes = sources.memory->used_bytes();
  }
  load.predicted_wait_seconds = admission.predicted_wait_seconds;
  load.ready = sources.ready;
  load.draining = sources.draining;
  return load;
}

}  // namespace hadal::commands
