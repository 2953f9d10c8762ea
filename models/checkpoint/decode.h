// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/tensor_view.h"
#include "models/checkpoint/stored_dtype.h"

namespace hadal::checkpoint {

// Stored values seen as a matrix [rows, columns], row-major, at any alignment. Borrows its memory. E4M3 and packed E2M1
// have one scale per block of rows and columns (ceil-divided), row-major.
struct StoredMatrix {
  StoredDType dtype = StoredDType::kF32;  // F32, F16, BF16, F8_E4M3, or I8: two E2M1 a byte, low nibble first
  int64_t rows = 0;
  int64_t columns = 0;  // values; even for I8
  const std::byte* data = nullptr;
  const float* scales = nullptr;           // F8_E4M3
  const std::byte* scale_codes = nullptr;  // I8: E8M0
  int64_t block_rows = 1;
  int64_t block_columns = 1;  // even for I8
};

// Bytes of one row, factors left out.
int64_t StoredRowBytes(const StoredMatrix& matrix);

// Values [column, column + columns) of each of the rows [row, row + rows). Of I8 both numbers of columns are even.
struct MatrixPart {
  int64_t row = 0;
  int64_t rows = 0;
  int64_t column = 0;
  int64_t columns = 0;

  int64_t values() const { return rows * columns; }
};

// A finite value that f16 cannot hold, by its place in the matrix.
struct RangeFault {
  int64_t row = 0;
  int64_t column = 0;
  float value = 0.0f;
};

// A part to `out` [rows, columns], contiguous, aligned for its type (f32, bf16, f16). One rounding, to nearest, ties to
// even; infinities and NaN are kept. The first finite value beyond f16's range is returned; the rest of `out` is then
// unspecified. Thread-safe.
std::optional<RangeFault> DecodePart(const StoredMatrix& matrix, const MatrixPart& part, kernels::DType out_dtype,
                                     void* out);

// Block scales as f32: F32 or F8_E8M0 bytes at any alignment.
std::vector<float> DecodeScales(StoredDType dtype, const std::byte* data, int64_t count);

// [rows, columns] to [columns, rows], whose rows begin `target_stride` elements apart. Elements of 2 or 4 bytes, no
// overlap.
void Transpose(const void* source, int64_t rows, int64_t columns, int64_t element_bytes, void* target,
               int64_t target_stride);

}  // namespace hadal::checkpoint
