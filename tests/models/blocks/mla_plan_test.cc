// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mla_plan.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using testing::StepBuilder;

// DeepSeek-V3's widths.
config::MlaConfig V3() {
  return {.q_lora_rank = 1536, .kv_lora_rank = 512, .qk_nope_head_dim = 128, .qk_rope_head_dim = 64, .v_head_dim = 128};
}

class MlaPlannerTest : public ::testing::Test {
 protected:
  MlaPlannerTest() : backend_(*kernels::CreateBackend("reference", {})), upload_(backend_.get()) {}

  std::vector<MlaRun> Plan(StepInput step, MlaForm form = MlaForm::kAuto, int64_t indexer_top_k = 0) {
    step_ = std::move(step);
    config::MlaConfig config = V3();
    if (indexer_top_k > 0) config.indexer = config::IndexerConfig{.top_k = indexer_top_k};
    planner_ = std::make_unique<MlaPlanner>(config, form);
    upload_.Clear();
    const auto starts = upload_.Add(absl::MakeConstSpan(step_.query_start));
    const auto lengths = upload_.Add(absl::MakeConstSpan(step_.context_lens));
    const auto tables = upload_.Add(absl::MakeConstSpan(step_.block_tables));
    planner_->Plan(step_, upload_);
    EXPECT_TRUE(upload_.Commit().ok());
    const int64_t sequences = step_.sequences();
    StepBatch batch;
    batch.ragged = {upload_.View(starts, {sequences + 1}), upload_.View(lengths, {sequences}),
                    upload_.View(tables, {sequences, step_.block_table_stride}), step_.query_start, step_.context_lens};
    planner_->Bind(upload_, batch);
    return {planner_->runs().begin(), planner_->runs().end()};
  }

  static std::vector<int32_t> Tokens(int n) { return std::vector<int32_t>(n, 1); }

  std::unique_ptr<kernels::Backend> backend_;
  StepUpload upload_;
  StepInput step_;
  std::unique_ptr<MlaPlanner> planner_;
};

TEST_F(MlaPlannerTest, DecodeIsOneAbsorbedRun) {
  StepBuilder builder(64, 40);
  builder.Add(0, 1000, Tokens(1)).Add(1, 5, Tokens(1));
  const auto runs = Plan(builder.Take(), MlaForm::kExpanded);  // even when expansion is asked for
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_FALSE(runs[0].expanded);
  EXPECT_EQ(runs[0].token_count, 2);
  EXPECT_EQ(runs[0].ragged.sequences(), 2);
}

TEST_F(MlaPlannerTest, APromptIsExpandedAndAShortChunkAfterItIsNot) {
  StepBuilder prompt(64, 40);
  prompt.Add(0, 0, Tokens(16));  // both forms project every token once; the expanded one has the cheaper pairs
  EXPECT_TRUE(Plan(prompt.Take())[0].expanded);
  StepBuilder chunk(64, 40);
  chunk.Add(0, 16, Tokens(16));  // expansion would project the 16 cached ones again
  EXPECT_FALSE(Plan(chunk.Take())[0].expanded);
}

TEST_F(MlaPlannerTest, AContextBeyondTheBoundIsNeverExpanded) {
  StepBuilder builder(64, 40);
  builder.Add(0, 600, Tokens(500));
  EXPECT_FALSE(Plan(builder.Take(), MlaForm::kExpanded)[0].expanded);
}

TEST_F(MlaPlannerTest, MixedStepsSplitIntoRebasedRuns) {
  StepBuilder builder(64, 40);
  builder.Add(0, 100, Tokens(1)).Add(1, 7, Tokens(1));
  builder.Add(2, 0, Tokens(400)).Add(3, 300, Tokens(512));
  builder.Add(4, 9, Tokens(1));
  const auto runs = Plan(builder.Take());
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_FALSE(runs[0].expanded);
  EXPECT_EQ(runs[0].token_begin, 0);
  EXPECT_EQ(runs[0].token_count, 2);

  EXPECT_TRUE(runs[1].expanded);
  EXPECT_EQ(runs[1].token_begin, 2);
  EXPECT_EQ(runs[1].token_count, 912);
  EXPECT_TRUE(runs[1].cached_prefix);
  EXPECT_EQ(runs[1].kv_tokens, 400 + 812);
  const kernels::RaggedBatch& ragged = runs[1].ragged;
  EXPECT_EQ(std::vector<int32_t>(ragged.host_query_start.begin(), ragged.host_query_start.end()),
            (std::vector<int32_t>{0, 400, 912}));
  EXPECT_EQ(std::vector<int32_t>(ragged.host_context_lens.begin(), ragged.host_context_lens.end()),
            (std::vector<int32_t>{400, 812}));
  EXPECT_EQ(ragged.query_start.as<int32_t>()[2], 912);
  EXPECT_EQ(ragged.context_lens.as<int32_t>()[0], 400);
  EXPECT_EQ(ragged.block_tables.row<int32_t>(0)[0], 2 * 40);  // sequence 2's first block
  EXPECT_EQ(runs[1].kv_start.as<int32_t>()[1], 400);
  EXPECT_EQ(runs[1].kv_start.as<int32_t>()[2], 1212);

  EXPECT_FALSE(runs[2].expanded);
  EXPECT_EQ(runs[2].token_begin, 914);
  EXPECT_EQ(runs[2].ragged.block_tables.row<int32_t>(0)[0], 4 * 40);
  EXPECT_TRUE(kernels::CheckRaggedBatch("test", ragged, 912, 64).ok());
}

TEST_F(MlaPlannerTest, AnIndexerMakesLongContextsSparse) {
  StepBuilder builder(64, 40);
  builder.Add(0, 0, Tokens(400)).Add(1, 100, Tokens(301));  // a context of 400 needs no choice, 401 does
  builder.Add(2, 1000, Tokens(1)).Add(3, 399, Tokens(1)).Add(4, 0, Tokens(500));
  const auto runs = Plan(builder.Take(), MlaForm::kExpanded, 400);  // even when expansion is asked for
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_TRUE(runs[0].expanded && !runs[0].sparse);
  EXPECT_TRUE(!runs[1].expanded && runs[1].sparse);
  EXPECT_EQ(runs[1].token_begin, 400);
  EXPECT_EQ(runs[1].token_count, 302);  // two sequences
  EXPECT_TRUE(!runs[2].expanded && !runs[2].sparse);
  EXPECT_TRUE(!runs[3].expanded && runs[3].sparse);
  EXPECT_EQ(runs[3].ragged.block_tables.row<int32_t>(0)[0], 4 * 40);
}

TEST_F(MlaPlannerTest, AFreshPromptNeedsNoGather) {
  StepBuilder builder(64, 40);
  builder.Add(0, 0, Tokens(800)).Add(1, 0, Tokens(700));
  const auto runs = Plan(builder.Take());
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_TRUE(runs[0].expanded);
  EXPECT_FALSE(runs[0].cached_prefix);
  EXPECT_EQ(runs[0].kv_tokens, 1500);
}

TEST_F(MlaPlannerTest, WorstStepsAreEachFormOverAllTokens) {
  const std::vector<int32_t> query_start = {0, 100}, context_lens = {100};
  StepBatch batch;
  batch.token_ids = kernels::TensorView(nullptr, kernels::DType::kI32, {100});
  batch.ragged.query_start = kernels::TensorView(nullptr, kernels::DType::kI32, {2});
  batch.ragged.block_tables = kernels::TensorView(nullptr, kernels::DType::kI32, {1, 3});
  batch.ragged.host_query_start = query_start;
  batch.ragged.host_context_lens = context_lens;
  for (const bool indexer : {false, true}) {
    config::MlaConfig config = V3();
    if (indexer) config.indexer = config::IndexerConfig{.top_k = 4};
    MlaPlanner planner(config, MlaForm::kAuto);
    std::vector<MlaRun> worst;
    ASSERT_TRUE(planner
                    .VisitWorstSteps(batch,
                                     [&] {
                                       EXPECT_EQ(planner.runs().size(), 1u);
                                       worst.push_back(planner.runs()[0]);
                                       EXPECT_EQ(worst.back().token_count, 100);
                                       EXPECT_EQ(worst.back().ragged.host_context_lens[0],
                                                 worst.back().expanded ? 200 : 100);
                                       return absl::OkStatus();
                                     })
                    .ok());
    ASSERT_EQ(worst.size(), indexer ? 3u : 2u);
    EXPECT_TRUE(!worst.front().expanded && !worst.front().sparse);
    EXPECT_EQ(worst[1].sparse, indexer);
    EXPECT_TRUE(worst.back().expanded && worst.back().cached_prefix);
    EXPECT_EQ(worst.back().kv_tokens, MlaPlanner::kMaxExpansion * 100);
    EXPECT_EQ(worst.back().ragged.block_tables.size(1), MlaPlanner::kMaxExpansion * 3);
  }
}

}  // namespace
}  // namespace hadal::models
