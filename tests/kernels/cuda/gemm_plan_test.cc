// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gemm_plan.h"

#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

// Addresses are never followed here.
void* Address(uintptr_t value) { return reinterpret_cast<void*>(value); }

TEST(GemmPlanTest, TakesEqualTypesWithTheirOwnOrFloatOutput) {
  const auto plan = [](DType x, DType w, DType out) {
    return PlanGemm({.x = TensorView(Address(256), x, {3, 64}),
                     .w = WeightView::Plain(TensorView(Address(256), w, {8, 64})),
                     .bias = {},
                     .out = TensorView(Address(256), out, {3, 8})})
        .has_value();
  };
  EXPECT_TRUE(plan(DType::kBF16, DType::kBF16, DType::kBF16));
  EXPECT_TRUE(plan(DType::kF16, DType::kF16, DType::kF32));
  EXPECT_FALSE(plan(DType::kBF16, DType::kF16, DType::kF32));
  EXPECT_FALSE(plan(DType::kF32, DType::kF32, DType::kBF16));
  EXPECT_FALSE(plan(DType::kBF16, DType::kF32, DType::kF32));
}

TEST(GemmPlanTest, ReadsShapeStridesAndAlignment) {
  TensorView x(Address(4096 + 32), DType::kBF16, {3, 64});
  x.strides[0] = 96;
  const auto plan = PlanGemm({.x = x,
                              .w = WeightView::Plain(TensorView(Address(4096), DType::kBF16, {8, 64})),
                              .bias = TensorView(Address(4096 + 16), DType::kBF16, {8}),
                              .out = TensorView(Address(4096), DType::kBF16, {3, 8}),
                              .accumulate = true});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->shape.m, 3);
  EXPECT_EQ(plan->shape.n, 8);
  EXPECT_EQ(plan->shape.k, 64);
  EXPECT_EQ(plan->shape.x_row, 96);
  EXPECT_EQ(plan->shape.out_row, 8);
  EXPECT_EQ(plan->shape.x_alignment, 32);
  EXPECT_EQ(plan->shape.w_alignment, 256);
  EXPECT_EQ(plan->shape.bias_alignment, 16);
  EXPECT_TRUE(plan->shape.has_bias);
  EXPECT_TRUE(plan->shape.accumulate);
}

TEST(GemmPlanTest, LeavesWhatCublasCannotTake) {
  GemmParams p{.x = TensorView(Address(256), DType::kBF16, {3, 64}),
               .w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {8, 64})),
               .bias = TensorView(Address(256), DType::kF32, {8}),
               .out = TensorView(Address(256), DType::kBF16, {3, 8})};
  EXPECT_FALSE(PlanGemm(p).has_value());  // a bias of another type
  p.bias = TensorView(Address(256), DType::kBF16, {8});
  EXPECT_TRUE(PlanGemm(p).has_value());
  p.bias.data = Address(264);
  EXPECT_FALSE(PlanGemm(p).has_value());  // a bias that vector loads cannot read
  p.bias = {};
  EXPECT_TRUE(PlanGemm(p).has_value());
  p.x.strides[0] = 32;  // rows overlap
  EXPECT_FALSE(PlanGemm(p).has_value());
  p.x = TensorView(Address(256), DType::kBF16, {3, 0});
  p.w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {8, 0}));
  EXPECT_FALSE(PlanGemm(p).has_value());  // k = 0: only the bias is left
}

TEST(GemmPlanTest, ASingleRowsStrideDoesNotMatter) {
  TensorView x(Address(256), DType::kF32, {1, 64});
  x.strides[0] = 1;
  const auto plan = PlanGemm({.x = x,
                              .w = WeightView::Plain(TensorView(Address(256), DType::kF32, {8, 64})),
                              .bias = {},
                              .out = TensorView(Address(256), DType::kF32, {1, 8})});
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->shape.x_row, 64);
}

// One algorithm serves every number of rows, wherever in a buffer they begin.
TEST(GemmPlanTest, AnyRowsOfAWeightHaveOneShape) {
  const auto shape = [](int64_t first, int64_t rows, int64_t width) {
    const TensorView x(Address(4096), DType::kBF16, {300, width}), out(Address(1 << 20), DType::kF32, {300, 24});
    return ForAnyRows(PlanGemm({.x = x.Slice(0, first, rows),
                                .w = WeightView::Plain(TensorView(Address(256), DType::kBF16, {24, width})),
                                .bias = {},
                                .out = out.Slice(0, first, rows)})
                          ->shape);
  };
  const GemmShape expected = shape(0, 1, 72);
  EXPECT_EQ(expected.m, kInvariantRows);
  EXPECT_EQ(expected.x_alignment, 16);
  for (int64_t first : {0, 1, 7, 100}) {
    for (int64_t rows : {1, 2, 64, 200}) EXPECT_EQ(shape(first, rows, 72), expected) << first << " " << rows;
  }
  EXPECT_EQ(shape(0, 5, 69).x_alignment, 2);  // the next row is not aligned
  EXPECT_NE(shape(0, 1, 80), expected);
}

TEST(GemmPlanTest, HeadsAreTheBatchOfAbsorbedProjections) {
  const TensorView kv_b(Address(256), DType::kBF16, {4, 48, 512});
  const auto plan = PlanBatchedGemm({.x = TensorView(Address(256), DType::kBF16, {7, 4, 16}),
                                     .w = WeightView::Plain(kv_b).Rows(0, 16),
                                     .out = TensorView(Address(256), DType::kBF16, {7, 4, 512}),
                                     .transpose_w = true});
  ASSERT_TRUE(plan.has_value());
  const GemmShape& s = plan->shape;
  EXPECT_EQ(s.m, 7);
  EXPECT_EQ(s.batch, 4);
  EXPECT_EQ(s.k, 16);
  EXPECT_EQ(s.n, 512);
  EXPECT_EQ(s.x_row, 64);
  EXPECT_EQ(s.x_batch, 16);
  EXPECT_EQ(s.w_row, 512);
  EXPECT_EQ(s.w_batch, 48 * 512);
  EXPECT_EQ(s.out_row, 2048);
  EXPECT_EQ(s.out_batch, 512);
  EXPECT_EQ(s.x_alignment, 32);  // the batch stride of 16 elements moves the address by 32 bytes
}

TEST(GemmPlanTest, AShapeReadsAsText) {
  GemmShape shape;
  shape.in = DType::kBF16;
  shape.m = 7;
  shape.n = 512;
  shape.k = 16;
  EXPECT_EQ(ToString(shape), "bf16 x bf16 -> f32, 7 x 512, k 16");
  shape.batch = 4;
  shape.transposed_w = shape.has_bias = shape.accumulate = true;
  EXPECT_EQ(ToString(shape), "bf16 x bf16 -> f32, 7 x 512, k 16, batch 4, w transposed, bias, accumulating");
  GemmShape other = shape;
  other.m = 1;
  other.x_alignment = 16;
  EXPECT_EQ(OfWeight(other), OfWeight(shape));
  other.k = 32;
  EXPECT_NE(OfWeight(other), OfWeight(shape));
}

TEST(GemmPlanTest, GroupedProductsNeedOneHalfTypeAndAlignedRows) {
  const auto plan = [](DType x, DType w, int64_t k, uintptr_t address) {
    return PlanGroupedGemm({.x = TensorView(Address(address), x, {10, k}),
                            .expert_start = TensorView(Address(256), DType::kI32, {5}),
                            .w = {.values = TensorView(Address(256), DType::kI64, {4}),
                                  .scales = {},
                                  .each = WeightView::Plain(TensorView(Address(256), w, {48, k}))},
                            .out = TensorView(Address(256), x, {10, 48})});
  };
  const auto good = plan(DType::kBF16, DType::kBF16, 64, 4096);
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(good->w_row, 64);
  EXPECT_EQ(good->experts, 4);
  EXPECT_TRUE(plan(DType::kF16, DType::kF16, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kF32, DType::kF32, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kF16, 64, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kBF16, 60, 4096).has_value());
  EXPECT_FALSE(plan(DType::kBF16, DType::kBF16, 64, 4096 + 8).has_value());
}

}  // namespace
}  // namespace hadal::kernels::cuda
