// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::service {

// The server's load at this moment, over all models.
struct Load {
  int32_t requests_running = 0;
  int32_t requests_waiting = 0;
  int32_t queue_limit_requests = 0;
  int32_t sequences_running = 0;  // that have KV blocks
  int32_t sequences_limit = 0;    // of a step: places in the batch
  int64_t queue_tokens = 0;
  double kv_cache_usage_ratio = 0;
  int64_t memory_budget_bytes = 0;
  int64_t memory_committed_bytes = 0;
  double predicted_wait_seconds = 0;
  bool ready = false;
  bool draining = false;
};

}  // namespace hadal::service
