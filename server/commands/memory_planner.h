// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kv_layout.h"
#include "server/admission/memory_ledger.h"

namespace hadal::commands {

// What a loaded model takes of the memory budget, and what its caches look like.
struct ModelMemory {
  std::string name;
  int64_t weights_bytes = 0;
  int64_t workspace_bytes = 0;
  int32_t max_model_len = 0;
  models::KvLayout layout;
  // How much of a cache of that size all hosts of the model have memory for; empty: this one has them all.
  std::function<absl::StatusOr<models::KvCacheSize>(const models::KvCacheSize&)> fit;
};

// The limits that every model is served with.
struct ServingLimits {
  int32_t kv_block_tokens = 0;  // wanted; a model may need larger blocks (KvBlockTokens)
  int32_t max_batch_size = 0;
  int32_t max_batch_tokens = 0;
  int64_t max_queue_requests = 0;
};

// The caches of one model.
struct CachePlan {
  models::KvCacheSize size;
  int64_t block_bytes = 0;                  // of a full-attention KV block; requests lease these
  int64_t window_bytes = 0;                 // of the window pool, which belongs to the slots of the batch
  admission::KvPoolLedger* pool = nullptr;  // the leases of the full-attention KV pool; owned by the ledger

  int64_t tokens() const { return int64_t{size.blocks} * size.block_tokens; }
};

// Commits weights and workspace of every model to `ledger`, divides the rest evenly among their caches and commits
// those; one plan for each model, in order. InvalidArgument for a block size that no engine has; ResourceExhausted,
// naming the part, when the budget does not suffice. After an error the ledger holds what was committed before.
absl::StatusOr<std::vector<CachePlan>> PlanCaches(const std::vector<ModelMemory>& models, const ServingLimits& limits,
                                                  admission::MemoryLedger* ledger);

}  // namespace hadal::commands
