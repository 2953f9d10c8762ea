// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gemv_plan.h"

#include <vector>

#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kH200 = 132;  // multiprocessors

alignas(16) char memory[64];

GenericGemmLaunch Product(int64_t m, int64_t n, int64_t k) {
  GenericGemmLaunch launch;
  launch.x.data = launch.w.data = launch.out.data = memory;
  launch.x.dtype = launch.w.dtype = launch.out.dtype = DType::kBF16;
  launch.m = m;
  launch.n = n;
  launch.k = k;
  launch.x_row = launch.w_row = (k + 7) / 8 * 8;
  launch.out_row = n;
  return launch;
}

TEST(GemvPlanTest, TakesUpToEightRows) {
  const std::vector<int32_t> rows = {1, 2, 4, 4, 8, 8, 8, 8};
  for (int64_t m = 1; m <= 8; ++m) {
    const auto plan = PlanGemv(Product(m, 3584, 3584), kH200);
    ASSERT_TRUE(plan.has_value()) << m;
    EXPECT_EQ(plan->rows, rows[m - 1]) << m;
  }
  EXPECT_FALSE(PlanGemv(Product(9, 3584, 3584), kH200).has_value());
  EXPECT_FALSE(PlanGemv(Product(0, 3584, 3584), kH200).has_value());
}

// How many slices follows the weight and the device, not the rows: decode steps of 5 and of 8 rows add alike.
TEST(GemvPlanTest, SplitsLongRowsOfNarrowWeights) {
  EXPECT_EQ(PlanGemv(Product(1, 152064, 3584), kH200)->slices, 1);  // the head alone fills the device
  EXPECT_EQ(PlanGemv(Product(1, 576, 2048), kH200)->slices, 4);
  EXPECT_EQ(PlanGemv(Product(8, 576, 2048), kH200)->slices, 4);
  EXPECT_EQ(PlanGemv(Product(1, 24, 28672), kH200)->slices, kMaxGemvSlices);
  EXPECT_EQ(PlanGemv(Product(1, 24, 1000), kH200)->slices, 1);  // too short
}

TEST(GemvPlanTest, RefusesWhatItCannotReadSixteenBytesAtOnce) {
  GenericGemmLaunch odd = Product(2, 64, 129);
  EXPECT_TRUE(PlanGemv(odd, kH200).has_value());  // rows are padded
  odd.w_row = 129;
  EXPECT_FALSE(PlanGemv(odd, kH200).has_value());
  odd = Product(2, 64, 128);
  odd.x_row = 132;
  EXPECT_FALSE(PlanGemv(odd, kH200).has_value());
  odd.m = 1;  // the stride of one row has no meaning
  EXPECT_TRUE(PlanGemv(odd, kH200).has_value());
  odd.x.data = memory + 2;
  EXPECT_FALSE(PlanGemv(odd, kH200).has_value());
}

TEST(GemvPlanTest, TakesWhatHasAnInstance) {
  GenericGemmLaunch p = Product(2, 64, 128);
  p.w.dtype = DType::kF32;  // as V4's mixing weights
  EXPECT_TRUE(PlanGemv(p, kH200).has_value());
  p.w.dtype = DType::kF16;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
  p.x.dtype = DType::kF32;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
}

TEST(GemvPlanTest, ATransposedWeightAsksForAlignedRowsOfItsOwnAlone) {
  GenericGemmLaunch p = Product(3, 512, 128);
  p.transposed_w = true;
  p.w_row = 512;
  p.x_row = 129;
  ASSERT_TRUE(PlanGemv(p, kH200).has_value());
  EXPECT_EQ(PlanGemv(p, kH200)->rows, 4);
  p.w_row = 516;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
  p.k = 1;  // of one row, the stride has no meaning
  EXPECT_TRUE(PlanGemv(p, kH200).has_value());
  p.has_bias = true;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
  p.has_bias = false;
  p.accumulate = true;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
  p.accumulate = false;
  p.m = 9;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
}

TEST(GemvPlanTest, ExpertsShareSixtyFourRows) {
  const int32_t starts[2] = {0, 0};
  GenericGemmLaunch p = Product(6, 2816, 2048);
  p.expert_start = starts;
  p.experts = 64;
  EXPECT_EQ(PlanGemv(p, kH200)->rows, 1);
  p.m = 16;
  EXPECT_EQ(PlanGemv(p, kH200)->rows, 2);
  p.m = 64;
  EXPECT_EQ(PlanGemv(p, kH200)->rows, 4);
  p.m = 65;
  EXPECT_FALSE(PlanGemv(p, kH200).has_value());
}

}  // namespace
}  // namespace hadal::kernels::cuda
