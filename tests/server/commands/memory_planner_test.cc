// SPDX-License-Identifier: Apache-2.0
#include "server/commands/memory_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace hadal::commands {
namespace {

constexpr int64_t kBlockBytes = 64000;  // 64 tokens of 2 layers of 500 bytes

ModelMemory Model(const std::string& name, int64_t weights) {
  ModelMemory model;
  model.name = name;
  model.weights_bytes = weights;
  model.workspace_bytes = 1000;
  model.max_model_len = 1 << 20;
  model.layout.caches = {{.name = "k", .layers = 2, .bytes_per_entry_layer = 500}};
  return model;
}

constexpr ServingLimits kLimits = {
    .kv_block_tokens = 64, .max_batch_size = 4, .max_batch_tokens = 2, .max_queue_requests = 4};

std::unique_ptr<admission::MemoryLedger> Ledger(int64_t bytes) { return *admission::MemoryLedger::Create(bytes); }

TEST(MemoryPlannerTest, CachesGetWhatWeightsAndWorkspaceLeave) {
  const auto ledger = Ledger(5000 + 1000 + 3 * kBlockBytes + 100);
  const auto plans = PlanCaches({Model("m", 5000)}, kLimits, ledger.get());
  ASSERT_TRUE(plans.ok()) << plans.status();
  ASSERT_EQ(plans->size(), 1u);
  const CachePlan& plan = plans->front();
  EXPECT_EQ(plan.size.blocks, 3);
  EXPECT_EQ(plan.tokens(), 3 * 64);
  EXPECT_EQ(plan.block_bytes, kBlockBytes);
  EXPECT_EQ(plan.window_bytes, 0);
  EXPECT_EQ(plan.pool->capacity_bytes(), 3 * kBlockBytes);
  EXPECT_EQ(ledger->committed_bytes(), ledger->budget_bytes() - 100);
}

TEST(MemoryPlannerTest, ModelsShareTheRestEvenly) {
  const auto ledger = Ledger(7000 + 2000 + 8 * kBlockBytes);
  const auto plans = PlanCaches({Model("large", 6000), Model("small", 1000)}, kLimits, ledger.get());
  ASSERT_TRUE(plans.ok()) << plans.status();
  ASSERT_EQ(plans->size(), 2u);
  EXPECT_EQ((*plans)[0].size.blocks, 4);
  EXPECT_EQ((*plans)[1].size.blocks, 4);
  EXPECT_NE((*plans)[0].pool, (*plans)[1].pool);
}

TEST(MemoryPlannerTest, WindowsAreCommittedBesideThePool) {
  ModelMemory model = Model("m", 0);
  model.layout.caches.push_back({.name = "window", .layers = 1, .bytes_per_entry_layer = 100, .windowed = true});
  model.layout.window_tokens = 128;
  const auto ledger = Ledger(int64_t{1} << 24);
  const auto plans = PlanCaches({model}, kLimits, ledger.get());
  ASSERT_TRUE(plans.ok()) << plans.status();
  const CachePlan& plan = plans->front();
  EXPECT_GE(plan.size.window_blocks, 4 * 3 + 2) << "4 sequences of 3 blocks, and two steps' chunks of 4 tokens";
  EXPECT_EQ(plan.window_bytes, plan.size.window_blocks * 6400);
  EXPECT_EQ(ledger->committed_bytes(), 1000 + plan.window_bytes + plan.pool->capacity_bytes());
}

TEST(MemoryPlannerTest, ABlockHoldsWholeEntries) {
  ModelMemory model = Model("m", 0);
  model.layout.caches[0].tokens_per_entry = 128;
  const auto ledger = Ledger(int64_t{1} << 24);
  const auto plans = PlanCaches({model}, kLimits, ledger.get());
  ASSERT_TRUE(plans.ok()) << plans.status();
  EXPECT_EQ(plans->front().size.block_tokens, 128);
}

TEST(MemoryPlannerTest, ShortageNamesThePart) {
  const auto message = [](const std::vector<ModelMemory>& models, int64_t budget) {
    const auto ledger = Ledger(budget);
    const absl::Status status = PlanCaches(models, kLimits, ledger.get()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message({Model("a", 100), Model("b", 5000)}, 2000), ::testing::HasSubstr("b weights"));
  EXPECT_THAT(message({Model("a", 100)}, 500), ::testing::HasSubstr("a workspace"));
  EXPECT_THAT(message({Model("a", 100)}, 1100 + kBlockBytes - 1), ::testing::HasSubstr("model 'a'"));
}

}  // namespace
}  // namespace hadal::commands
