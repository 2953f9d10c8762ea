// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/decode.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace hadal::checkpoint {
namespace {

using kernels::DType;

// Any part is what the whole matrix holds there.
void ExpectParts(const StoredMatrix& matrix) {
  std::vector<float> whole(static_cast<size_t>(matrix.rows * matrix.columns));
  ASSERT_FALSE(DecodePart(matrix, {0, matrix.rows, 0, matrix.columns}, DType::kF32, whole.data()).has_value());
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t column = 0; column <= matrix.columns; column += 2) {
      for (int64_t columns = 0; columns <= matrix.columns - column; columns += 2) {
        const MatrixPart part = {row, matrix.rows - row, column, columns};
        std::vector<float> values(static_cast<size_t>(part.values()) + 1, -7.0f);
        ASSERT_FALSE(DecodePart(matrix, part, DType::kF32, values.data()).has_value());
        for (int64_t i = 0; i < part.values(); ++i) {
          const int64_t at = (row + i / columns) * matrix.columns + column + i % columns;
          ASSERT_EQ(values[static_cast<size_t>(i)], whole[static_cast<size_t>(at)]) << row << " " << column;
        }
        ASSERT_EQ(values.back(), -7.0f);
      }
    }
  }
}

std::vector<uint8_t> FiniteCodes(size_t count) {
  std::mt19937 random(11);
  std::vector<uint8_t> codes(count);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 0x7F);
  return codes;
}

TEST(DecodePartTest, OfEveryFormat) {
  StoredMatrix matrix;
  matrix.rows = 5;
  matrix.columns = 22;
  const std::vector<uint8_t> codes = FiniteCodes(5 * 22 * 4);
  matrix.data = reinterpret_cast<const std::byte*>(codes.data());
  ExpectParts(matrix);
  matrix.dtype = StoredDType::kBF16;
  ExpectParts(matrix);
  matrix.dtype = StoredDType::kF8E4M3;
  matrix.block_rows = 2;
  matrix.block_columns = 5;
  const std::vector<float> scales = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  matrix.scales = scales.data();
  ExpectParts(matrix);
  matrix.dtype = StoredDType::kI8;
  matrix.block_rows = 1;
  matrix.block_columns = 6;
  const std::vector<uint8_t> scale_codes = FiniteCodes(5 * 4);
  matrix.scale_codes = reinterpret_cast<const std::byte*>(scale_codes.data());
  ExpectParts(matrix);
}

TEST(DecodePartTest, NamesThePlaceOfAFault) {
  std::vector<float> values(4 * 6, 1.0f);
  values[2 * 6 + 3] = 1e6f;
  StoredMatrix matrix;
  matrix.rows = 4;
  matrix.columns = 6;
  matrix.data = reinterpret_cast<const std::byte*>(values.data());
  std::vector<uint16_t> out(values.size());
  for (const MatrixPart& part : {MatrixPart{1, 3, 2, 4}, MatrixPart{0, 4, 0, 6}, MatrixPart{2, 1, 3, 1}}) {
    const auto fault = DecodePart(matrix, part, DType::kF16, out.data());
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->row, 2);
    EXPECT_EQ(fault->column, 3);
    EXPECT_EQ(fault->value, 1e6f);
  }
  EXPECT_FALSE(DecodePart(matrix, {2, 2, 4, 2}, DType::kF16, out.data()).has_value());
}

}  // namespace
}  // namespace hadal::checkpoint
