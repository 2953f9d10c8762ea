// SPDX-License-Identifier: Apache-2.0
//
// A product with few rows, bound by the weights' bytes: each is read once, sixteen at a time, and multiplied with all
// rows while it is in registers. A warp owns kGemvColumns columns of a slice of k; slices of one column lie in warps of
// one block, whose sums are added in order. So a result depends on k and the number of slices, never on timing.
#pragma once

#include "kernels/cuda/vector.cuh"

namespace hadal::kernels::cuda {

inline constexpr int kGemvWarps = 8;
inline constexpr int kGemvThreads = kGemvWarps * kWarp;
inline constexpr int kGemvStep = kWarp * kVector;  // elements of a row that a warp takes at once
inline constexpr int kGemvColumns = 2;             // of a warp
static_assert(kGemvWarps == kMaxGemvSlices);

// Some rows of x and columns of w, as one block sees them. Rows and columns beyond the last are the last again.
template <typename W, typename X, int kRows>
struct GemvTile {
  const X* x[kRows];
  const W* w[kGemvColumns];
  bool aligned;  // every row starts at a multiple of sixteen bytes

  // Adds the products of columns [begin, end) of the rows, those of this lane.
  __device__ void Accumulate(int64_t begin, int64_t end, float (&sums)[kGemvColumns][kRows]) const {
    const int64_t lane = threadIdx.x % kWarp * kVector;
    int64_t at = begin + lane;
#pragma unroll 2
    for (; aligned && at + kVector <= end; at += kGemvStep) {
      Packed<W> packed[kGemvColumns];
      for (int c = 0; c < kGemvColumns; ++c) packed[c] = Stream8(w[c] + at);
      float weights[kGemvColumns][kVector];
      for (int c = 0; c < kGemvColumns; ++c) packed[c].Unpack(weights[c]);
      for (int r = 0; r < kRows; ++r) {
        float values[kVector];
        Load8(x[r] + at).Unpack(values);
        for (int c = 0; c < kGemvColumns; ++c) {
          for (int i = 0; i < kVector; ++i) sums[c][r] += weights[c][i] * values[i];
        }
      }
    }
    // The end of a row that is no whole vector, or all of rows that are not aligned.
    for (; at < end; at += kGemvStep) {
      const int count = end - at < kVector ? static_cast<int>(end - at) : kVector;
      for (int i = 0; i < count; ++i) {
        for (int c = 0; c < kGemvColumns; ++c) {
          const float weight = ToF32(w[c][at + i]);
          for (int r = 0; r < kRows; ++r) sums[c][r] += weight * ToF32(x[r][at + i]);
        }
      }
    }
  }
};

// The rows, weight and results of one block.
template <typename W, typename X>
struct GemvOperands {
  const X* x;
  const W* w;
  int64_t out;  // offset of the first result
  int rows;     // at least one
};

// Computes the columns of block `column_block` for all rows. Shared: floats for every warp, column and row.
template <typename W, typename X, int kRows>
__device__ void GemvBlock(const GenericGemmLaunch& p, int slices, const GemvOperands<W, X>& operands,
                          int64_t column_block) {
  float* partial = reinterpret_cast<float*>(SharedMemory());
  const int warp = ThreadIndex() / kWarp, slice = warp % slices, groups = kGemvWarps / slices;
  const int64_t first_column = column_block * groups * kGemvColumns;
  GemvTile<W, X, kRows> tile;
  tile.aligned = Aligned(operands.w) && (p.n == 1 || p.w_row * sizeof(W) % kVectorBytes == 0) && Aligned(operands.x) &&
                 (operands.rows == 1 || p.x_row * sizeof(X) % kVectorBytes == 0);
  for (int r = 0; r < kRows; ++r) tile.x[r] = operands.x + (r < operands.rows ? r : operands.rows - 1) * p.x_row;
  for (int c = 0; c < kGemvColumns; ++c) {
    const int64_t column = first_column + warp / slices * kGemvColumns + c;
    tile.w[c] = operands.w + (column < p.n ? column : p.n - 1) * p.w_row;
  }
  float sums[kGemvColumns][kRows] = {};
  const int64_t steps = (p.k + kGemvStep - 1) / kGemvStep, length = (steps + slices - 1) / slices * kGemvStep;
  const int64_t begin = slice * length, end = begin + length < p.k ? begin + length : p.k;
  tile.Accumulate(begin, end, sums);
  for (int c = 0; c < kGemvColumns; ++c) {
    for (int r = 0; r < kRows; ++r) {
      const float sum = WarpSum(sums[c][r]);
      if (threadIdx.x % kWarp == 0) partial[(warp * kGemvColumns + c) * kRows + r] = sum;
    }
  }
  __syncthreads();
  for (int i = ThreadIndex(); i < groups * kGemvColumns * kRows; i += ThreadCount()) {
    const int r = i % kRows, in_block = i / kRows, group = in_block / kGemvColumns, c = in_block % kGemvColumns;
    const int64_t column = first_column + in_block;
    if (r >= operands.rows || column >= p.n) continue;
    float sum = 0;
    for (int s = 0; s < slices; ++s) sum += partial[((group * slices + s) * kGemvColumns + c) * kRows + r];
    if (p.has_bias) sum += LoadAt(p.bias, column);
    const int64_t at = operands.out + r * p.out_row + column;
    if (p.accumulate) sum += LoadAt(p.out, at);
    StoreAt(p.out, at, sum);
  }
}

inline int64_t GemvSharedBytes(int rows) { return int64_t{kGemvWarps * kGemvColumns} * rows * int64_t{sizeof(float)}; }

// Blocks that cover n columns.
inline int64_t GemvBlocks(int64_t n, int slices) {
  const int64_t columns = kGemvWarps / slices * kGemvColumns;
  return (n + columns - 1) / columns;
}

}  // namespace hadal::kernels::cuda
