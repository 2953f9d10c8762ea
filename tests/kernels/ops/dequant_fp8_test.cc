// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/dequant_fp8.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/half.h"

namespace hadal::kernels {
namespace {

TEST(DequantFp8Test, MultipliesBlocksAndHandlesRaggedEdges) {
  const int64_t rows = 5, columns = 7, block = 3;  // 2 x 3 scales, the last of each dimension short
  std::vector<uint8_t> q(rows * columns);
  for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<uint8_t>(0x30 + i);
  const std::vector<float> scale = {1, 2, 0.5f, 4, 8, 0.25f};
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<uint32_t> storage(rows * columns + 1, 0xA5A5A5A5u);
    const TensorView out(storage.data(), dtype, {rows, columns});
    ASSERT_EQ(DequantFp8({.q = TensorView(q.data(), DType::kF8E4M3, {rows, columns}),
                          .scale = TensorView(scale.data(), DType::kF32, {2, 3}),
                          .out = out,
                          .block = block}),
              absl::OkStatus());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t at = i * columns + j;
        const float found = dtype == DType::kF32    ? out.as<float>()[at]
                            : dtype == DType::kBF16 ? ToFloat(out.as<BF16>()[at])
                                                    : ToFloat(out.as<F16>()[at]);
        EXPECT_EQ(found, F8E4M3ToFloat(q[at]) * scale[i / block * 3 + j / block]);
      }
    }
    EXPECT_EQ(storage.back(), 0xA5A5A5A5u);
  }
}

TEST(DequantFp8Test, ReadsPowerOfTwoScalesAndRowRanges) {
  const std::vector<uint8_t> q(4 * 2, 0x38), scale = {0x80, 0x7E};  // 2 and 0.5, rows 0-2 and row 3
  std::vector<float> out(8, -1);
  const DequantFp8Params params{.q = TensorView(q.data(), DType::kF8E4M3, {4, 2}),
                                .scale = TensorView(scale.data(), DType::kE8M0, {2, 1}),
                                .out = TensorView(out.data(), DType::kF32, {4, 2}),
                                .block = 3};
  ASSERT_EQ(DequantFp8Rows(params, 2, 4), absl::OkStatus());
  EXPECT_EQ(out, (std::vector<float>{-1, -1, -1, -1, 2, 2, 0.5f, 0.5f}));
  EXPECT_FALSE(DequantFp8Rows(params, 3, 5).ok());
}

TEST(DequantFp8Test, RefusesAScaleOfTheWrongShape) {
  const std::vector<uint8_t> q(576 * 4);
  const std::vector<float> scale(4);
  std::vector<float> out(576 * 4);
  EXPECT_EQ(DequantFp8({.q = TensorView(q.data(), DType::kF8E4M3, {576, 4}),
                        .scale = TensorView(scale.data(), DType::kF32, {4, 1}),
                        .out = TensorView(out.data(), DType::kF32, {576, 4})})
                .message(),
            "dequant_fp8: scale: expected [5, 1], found f32 [4, 1]");
}

}  // namespace
}  // namespace hadal::kernels
