// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_planner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/commands/memory_budget.h"

namespace hadal::commands {
namespace {

absl::Status Commit(const ModelMemory& model, absl::string_view part, int64_t bytes, admission::MemoryLedger* ledger) {
  return ledger->Commit(absl::StrCat(model.name, " ", part), bytes);
}

absl::StatusOr<CachePlan> PlanOne(const ModelMemory& model, const ServingLimits& limits, int64_t share_bytes,
                                  admission::MemoryLedger* ledger) {
  absl::StatusOr<int32_t> block_tokens = KvBlockTokens(model.name, model.layout, limits.kv_block_tokens);
  if (!block_tokens.ok()) return block_tokens.status();
  KvShare share;
  share.share_bytes = share_bytes;
  share.layout = model.layout;
  share.block_tokens = *block_tokens;
  share.max_requests = int64_t{limits.max_batch_size} + limits.max_queue_requests;
  share.max_model_len = model.max_model_len;
  share.max_batch_size = limits.max_batch_size;
  share.max_batch_tokens = std::max(limits.max_batch_tokens, limits.max_batch_size);
  absl::StatusOr<models::KvCacheSize> size = KvPools(model.name, share);
  if (size.ok() && model.fit) size = model.fit(*size);
  if (!size.ok()) return size.status();

  CachePlan plan;
  plan.size = *size;
  plan.block_bytes = model.layout.block_bytes(*block_tokens);
  plan.window_bytes = size->window_blocks * model.layout.window_block_bytes(*block_tokens);
  if (plan.window_bytes > 0) {
    if (absl::Status status = Commit(model, "windows", plan.window_bytes, ledger); !status.ok()) return status;
  }
  absl::StatusOr<admission::KvPoolLedger*> pool = ledger->CommitKvPool(model.name, size->blocks * plan.block_bytes);
  if (!pool.ok()) return pool.status();
  plan.pool = *pool;
  return plan;
}

}  // namespace

absl::StatusOr<std::vector<CachePlan>> PlanCaches(const std::vector<ModelMemory>& models, const ServingLimits& limits,
                                                  admission::MemoryLedger* ledger) {
  for (const ModelMemory& model : models) {
    if (absl::Status status = Commit(model, "weights", model.weights_bytes, ledger); !status.ok()) return status;
    if (absl::Status status = Commit(model, "workspace", model.workspace_bytes, ledger); !status.ok()) return status;
  }
  const int64_t rest = ledger->budget_bytes() - ledger->committed_bytes();
  std::vector<CachePlan> plans;
  for (const ModelMemory& model : models) {
    absl::StatusOr<CachePlan> plan = PlanOne(model, limits, rest / static_cast<int64_t>(models.size()), ledger);
    if (!plan.ok()) return plan.status();
    plans.push_back(*std::move(plan));
  }
  return plans;
}

}  // namespace hadal::commands
