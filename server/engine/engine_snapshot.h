// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::engine {

// The state of an engine at the end of its last step.
struct EngineSnapshot {
  int32_t running = 0;              // requests that run (all their choices), preempted and paused ones included
  int32_t waiting = 0;              // requests in the model's queue
  int32_t running_sequences = 0;    // sequences with KV blocks
  int32_t preempted_sequences = 0;  // preempted, or further choices that have not started
  int32_t paused_requests = 0;      // paused for a slow reader
  int32_t paused_sequences = 0;     // their sequences
  int32_t free_blocks = 0;          // hold nothing
  int32_t leased_blocks = 0;        // in use by sequences
  int32_t cached_blocks = 0;        // prefix cache only; given up when needed
  int32_t total_blocks = 0;
  int32_t free_window_blocks = 0;  // the same of the window pool; all 0 when the model has no window
  int32_t leased_window_blocks = 0;
  int32_t cached_window_blocks = 0;
  int32_t total_window_blocks = 0;
  int64_t steps = 0;
  int64_t last_step_tokens = 0;
  absl::Time last_step;  // Clock time when the last step ended; InfinitePast before the first
  absl::Duration last_step_duration;
  bool step_in_flight = false;
  bool runnable = false;  // work exists that a step could advance
  bool draining = false;
  bool device_fault = false;
};

// Share of the KV blocks that sequences hold; 0 when there are no blocks.
inline double KvUsageRatio(int64_t leased_blocks, int64_t total_blocks) {
  return total_blocks > 0 ? static_cast<double>(leased_blocks) / static_cast<double>(total_blocks) : 0;
}

struct HealthSnapshot {
  bool live = true;
  absl::Duration since_progress;  // 0 when nothing is runnable
  std::string message;            // why not live
};

// Written by the engine thread, readable by any thread without waiting. The atomics are independent: values read
// together may belong to different steps.
struct PublishedState {
  std::atomic<int32_t> running{0}, running_sequences{0}, preempted_sequences{0}, paused_requests{0},
      paused_sequences{0};
  std::atomic<int32_t> free_blocks{0}, leased_blocks{0}, cached_blocks{0}, total_blocks{0};
  std::atomic<int32_t> free_window_blocks{0}, leased_window_blocks{0}, cached_window_blocks{0}, total_window_blocks{0};
  std::atomic<int64_t> steps{0}, last_step_tokens{0}, last_step_duration_us{0};
  std::atomic<int64_t> last_step_us{INT64_MIN};       // Clock time in microseconds since its epoch
  std::atomic<int64_t> runnable_since_us{INT64_MIN};  // INT64_MIN: nothing is runnable
  std::atomic<bool> step_in_flight{false}, draining{false}, device_fault{false};
};

}  // namespace hadal::engine
