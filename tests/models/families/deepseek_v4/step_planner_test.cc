// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/step_planner.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

constexpr int32_t kBlockTokens = 16;

config::HybridAttentionConfig Config() {
  config::HybridAttentionConfig config;
  config.csa_ratio = 4;
  config.hca_ratio = 16;
  config.layers = {config::HybridLayer::kCsa, config::HybridLayer::kHca};
  return config;
}

TEST(V4StepPlannerTest, BringsTheWindowPoolsArraysAndBothKindsOfEntries) {
  const std::unique_ptr<kernels::Backend> backend = *kernels::CreateBackend("reference", {});
  StepUpload upload(backend.get());
  testing::StepBuilder builder(kBlockTokens, 4, /*windowed=*/true);
  builder.Add(0, 3, std::vector<int32_t>(14, 1)).Add(1, 0, std::vector<int32_t>(2, 1));
  StepInput input = builder.Take();
  for (int64_t& slot : input.window_slot_mapping) slot += 1000;  // another pool
  for (int32_t& block : input.window_block_tables) block += 100;
  V4StepPlanner planner(Config());
  planner.set_block_tokens(kBlockTokens);
  const StepUpload::Handle ids = upload.Add(absl::MakeConstSpan(input.token_ids));
  const StepUpload::Handle tables = upload.Add(absl::MakeConstSpan(input.block_tables));
  planner.Plan(input, upload);
  ASSERT_TRUE(upload.Commit().ok());
  StepBatch batch;
  batch.token_ids = upload.View(ids, {input.tokens()});
  batch.ragged = {.query_start = {},
                  .context_lens = {},
                  .block_tables = upload.View(tables, {2, input.block_table_stride}),
                  .host_query_start = input.query_start,
                  .host_context_lens = input.context_lens};
  planner.Bind(upload, batch);

  ASSERT_EQ(planner.window_slots().size(0), 16);
  for (int64_t t = 0; t < 16; ++t) {
    EXPECT_EQ(planner.window_slots().as<const int64_t>()[t], input.window_slot_mapping[static_cast<size_t>(t)]);
  }
  ASSERT_EQ(planner.window().block_tables.size(0), 2);
  EXPECT_EQ(planner.window().block_tables.row<const int32_t>(1)[0], input.window_block_tables[4]);
  EXPECT_EQ(planner.window().host_context_lens[0], 17);
  EXPECT_EQ(planner.csa_entries().count(), 4);  // tokens 3 to 16 complete the groups that end at 3, 7, 11 and 15
  EXPECT_EQ(planner.hca_entries().count(), 1);
  EXPECT_EQ(planner.csa_input_slots().size(0), 16);
}

TEST(V4StepPlannerTest, InTheWorstStepEveryTokenCompletesEntries) {
  StepBatch batch;
  batch.token_ids = batch.positions = kernels::TensorView(nullptr, kernels::DType::kI32, {50});
  batch.slot_mapping = kernels::TensorView(nullptr, kernels::DType::kI64, {50});
  V4StepPlanner planner(Config());
  planner.set_block_tokens(kBlockTokens);
  int steps = 0;
  ASSERT_TRUE(planner
                  .VisitWorstSteps(batch,
                                   [&] {
                                     ++steps;
                                     EXPECT_EQ(planner.csa_entries().count(), 50);
                                     EXPECT_EQ(planner.hca_entries().count(), 50);
                                     EXPECT_EQ(planner.window_slots().size(0), 50);
                                     return absl::OkStatus();
                                   })
                  .ok());
  EXPECT_EQ(steps, 1);
}

}  // namespace
}  // namespace hadal::models
