// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::admission {

// What an engine tells admission about itself, once for each step.
struct EngineLoad {
  int32_t running = 0;                // sequences in the batch
  int32_t max_batch_size = 0;         // of which a step takes at most so many
  int32_t max_batch_tokens = 0;       // and so many tokens
  int64_t context_tokens = 0;         // that the sequences look back on
  double mean_remaining_seconds = 0;  // until one of them ends; 0: unknown
  double step_seconds = 0;            // decayed average; 0: no step yet
};

}  // namespace hadal::admission
