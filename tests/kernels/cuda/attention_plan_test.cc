// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_plan.h"

#include "gtest/gtest.h"
#include "tests/kernels/cuda/owned_batch.h"

namespace hadal::kernels::cuda {
namespace {

// Addresses are never followed here.
void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

TEST(AttentionPlanTest, LatentAttentionReadsKeyAndValueFromOneCache) {
  const OwnedBatch b({0, 2}, {100});
  const AttentionLaunch launch = PlanMlaAttention({.q_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .q_pe = TensorView(Address(256), DType::kF32, {2, 3, 16}),
                                                   .cache = TensorView(Address(4096), DType::kF16, {4, 32, 80}),
                                                   .o_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .batch = b.batch});
  EXPECT_EQ(launch.key_a, launch.value);
  EXPECT_EQ(launch.key_b, Address(4096 + 64 * 2));
  EXPECT_EQ(launch.a_head, 0);
  EXPECT_EQ(launch.a_block, 32 * 80);
  EXPECT_EQ(launch.v_dim, 64);
  EXPECT_EQ(launch.kv_dtype, DType::kF16);
  EXPECT_EQ(launch.selected, nullptr);
}

TEST(AttentionPlanTest, LatentAttentionTakesListsByTheirStride) {
  const OwnedBatch b({0, 2}, {100});
  const TensorView lists(Address(8192), DType::kI32, {2, 40});
  const AttentionLaunch launch = PlanMlaAttention({.q_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .q_pe = TensorView(Address(256), DType::kF32, {2, 3, 16}),
                                                   .cache = TensorView(Address(4096), DType::kF16, {4, 32, 80}),
                                                   .o_lat = TensorView(Address(256), DType::kF32, {2, 3, 64}),
                                                   .batch = b.batch,
                                                   .selected = lists.Slice(1, 0, 9)});
  EXPECT_EQ(launch.selected, Address(8192));
  EXPECT_EQ(launch.selected_stride, 40);
  EXPECT_EQ(launch.selected_columns, 9);
}

TEST(AttentionPlanTest, IndexTopKKeepsScoresForTheLongestSequence) {
  const OwnedBatch b({0, 1, 3}, {103, 50});
  const IndexTopKLaunch launch = PlanIndexTopK({.q = TensorView(Address(256), DType::kBF16, {3, 5, 16}),
                                                .weights = TensorView(Address(256), DType::kF32, {3, 5}),
                                                .keys = TensorView(Address(4096), DType::kBF16, {9, 8, 16}),
                                                .selected = TensorView(Address(8192), DType::kI32, {3, 7}),
                                                .batch = b.batch,
                                                .tokens_per_entry = 4});
  EXPECT_EQ(launch.score_columns, 25);  // whole entries of 103 tokens
  EXPECT_EQ(launch.top_k, 7);
  EXPECT_EQ(launch.sequences, 2);
}

}  // namespace
}  // namespace hadal::kernels::cuda
