// SPDX-License-Identifier: Apache-2.0
#include "kernels/weight_view.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

TEST(WeightViewTest, KnowsItsFeaturesAndBytes) {
  const std::vector<float> memory(64);
  WeightView weight = WeightView::Plain(TensorView(memory.data(), DType::kBF16, {2, 3, 5}));
  EXPECT_EQ(weight.out_features(), 3);
  EXPECT_EQ(weight.in_features(), 5);
  EXPECT_EQ(weight.scheme, WeightScheme::kPlain);
  EXPECT_STREQ(WeightSchemeName(weight.scheme), "plain");
  EXPECT_EQ(weight.bytes(), 2 * 3 * 5 * 2);
  weight.scales = TensorView(memory.data(), DType::kF32, {2, 3});
  EXPECT_EQ(weight.bytes(), 2 * 3 * 5 * 2 + 2 * 3 * 4);
  EXPECT_EQ(WeightView().bytes(), 0);
}

TEST(WeightViewTest, AMatrixOfSeveralHasItsOwnScales) {
  const std::vector<float> values(2 * 3 * 5), scales(2 * 3);
  WeightView weight = WeightView::Plain(TensorView(values.data(), DType::kF32, {2, 3, 5}));
  EXPECT_FALSE(weight.At(1).scales.present());
  weight.scales = TensorView(scales.data(), DType::kF32, {2, 3});
  const WeightView second = weight.At(1);
  EXPECT_EQ(second.values.DebugString(), "f32 [3, 5]");
  EXPECT_EQ(second.values.data, values.data() + 15);
  EXPECT_EQ(second.scales.DebugString(), "f32 [3]");
  EXPECT_EQ(second.scales.data, scales.data() + 3);
}

TEST(WeightViewTest, SplitsAndCutsRowsOfAnyStride) {
  const std::vector<float> memory(6 * 10);
  const TensorView wide(memory.data(), DType::kF32, {6, 10});
  const WeightView heads = WeightView::Plain(wide.Slice(1, 2, 7)).SplitRows(2);
  EXPECT_EQ(heads.values.DebugString(), "f32 [2, 3, 7] strides [30, 10, 1]");
  EXPECT_EQ(heads.values.data, memory.data() + 2);
  const WeightView rows = heads.Rows(1, 2);
  EXPECT_EQ(rows.values.DebugString(), "f32 [2, 2, 7] strides [30, 10, 1]");
  EXPECT_EQ(rows.values.data, memory.data() + 12);
}

// Scales that nobody cut must not be read as those of the rows.
TEST(WeightViewTest, ScalesOfAPlainWeightAreRefusedAfterACutToo) {
  const std::vector<float> memory(6 * 8), scales(6);
  WeightView weight = WeightView::Plain(TensorView(memory.data(), DType::kF32, {6, 8}));
  weight.scales = TensorView(scales.data(), DType::kF32, {6});
  const WeightView heads = weight.SplitRows(2);
  for (const WeightView& cut : {heads, heads.Rows(1, 2)}) {
    EXPECT_EQ(CheckWeight("batched_gemm", "w", cut, {2, cut.out_features(), 8}).message(),
              "batched_gemm: w.scales: expected none with scheme plain, found f32 [6]");
  }
}

TEST(GroupedWeightViewTest, AnExpertIsLikeTheOthersAtItsOwnAddress) {
  const std::vector<float> a(15), b(15), scales(3);
  const std::vector<int64_t> values_at = {reinterpret_cast<int64_t>(a.data()), reinterpret_cast<int64_t>(b.data())};
  const std::vector<int64_t> scales_at = {0, reinterpret_cast<int64_t>(scales.data())};
  GroupedWeightView weights;
  weights.values = TensorView(values_at.data(), DType::kI64, {2});
  weights.each = WeightView::Plain(TensorView(a.data(), DType::kF32, {3, 5}));
  EXPECT_EQ(weights.experts(), 2);
  EXPECT_EQ(weights.At(1).values.data, b.data());
  EXPECT_EQ(weights.At(1).values.DebugString(), "f32 [3, 5]");
  EXPECT_FALSE(weights.At(1).scales.present());

  weights.scales = TensorView(scales_at.data(), DType::kI64, {2});
  weights.each.scales = TensorView(nullptr, DType::kF32, {3});
  EXPECT_EQ(weights.At(1).scales.data, scales.data());
  EXPECT_EQ(weights.At(1).scales.DebugString(), "f32 [3]");
}

}  // namespace
}  // namespace hadal::kernels
