// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace hadal::commands {

// What the machine (and the container's limit) leaves, in bytes; NotFound when that cannot be told.
absl::StatusOr<int64_t> AvailableHostMemory();

// The budget for `--memory-budget=auto` on the CPU: 60 % of what is available at start, so that the page cache of
// mapped weights and the neighbours keep room.
absl::StatusOr<int64_t> AutoMemoryBudget();

// KV blocks for one model: what its share of the budget pays, but not more than what runs and waits could ever use.
// ResourceExhausted, naming the parts, when not even one block fits.
struct KvShare {
  int64_t share_bytes = 0;  // of the budget, for this model's cache
  int64_t bytes_per_token = 0;
  int32_t block_tokens = 0;
  int64_t max_requests = 0;  // running and waiting: what waits holds its lease already
  int32_t max_model_len = 0;
};
absl::StatusOr<int32_t> KvBlocks(const std::string& model, const KvShare& share);

}  // namespace hadal::commands
