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

// Puts what each warp adds up for its columns of w into shared memory, [warp][column][row]; `slices` neighbouring warps
// have the same columns. Columns beyond the last are the last.
template <typename W, typename X, int kRows>
__device__ void GemvSums(const GenericGemmLaunch& p, int slices, const GemvOperands<W, X>& operands,
                         const int64_t (&columns)[kGemvColumns]) {
  float* partial = reinterpret_cast<float*>(SharedMemory());
  const int warp = ThreadIndex() / kWarp, slice = warp % slices;
  GemvTile<W, X, kRows> tile;
  tile.aligned = Aligned(operands.w) && (p.n == 1 || p.w_row * sizeof(W) % kVectorBytes == 0) && Aligned(operands.x) &&
                 (operands.rows == 1 || p.x_row * sizeof(X) % kVectorBytes == 0);
  for (int r = 0; r < kRows; ++r) tile.x[r] = operands.x + (r < operands.rows ? r : operands.rows - 1) * p.x_row;
  for (int c = 0; c < kGemvColumns; ++c) {
    tile.w[c] = operands.w + (columns[c] < p.n ? columns[c] : p.n - 1) * p.w_row;
  }
  float sums[kGemvColumns][kRows] = {};
  const int64_t steps = (p.k + kGemvStep - 1) / kGemvStep;
  const int64_t length = Divide(steps + slices - 1, slices).quotient * kGemvStep;
  const int64_t begin = slice * length, end = begin + length < p.k ? begin + length : p.k;
  tile.Accumulate(begin, end, sums);
  for (int c = 0; c < kGemvColumns; ++c) {
    for (int r = 0; r < kRows; ++r) {
      const float sum = WarpSum(sums[c][r]);
      if (threadIdx.x % kWarp == 0) partial[(warp * kGemvColumns + c) * kRows + r] = sum;
    }
  }
  __syncthreads();
}

// Of a column of warps `group * slices` and the next ones, with its bias.
template <int kRows>
__device__ float GemvSum(const GenericGemmLaunch& p, int slices, int group, int c, int r, int64_t column) {
  const float* partial = reinterpret_cast<const float*>(SharedMemory());
  float sum = 0;
  for (int s = 0; s < slices; ++s) sum += partial[((group * slices + s) * kGemvColumns + c) * kRows + r];
  return p.has_bias ? sum + LoadAt(p.bias, column) : sum;
}

// Computes the columns of block `column_block` for all rows.
template <typename W, typename X, int kRows>
__device__ void GemvBlock(const GenericGemmLaunch& p, int slices, const GemvOperands<W, X>& operands,
                          int64_t column_block) {
  const int groups = kGemvWarps / slices, own = ThreadIndex() / kWarp / slices;
  const int64_t first_column = column_block * groups * kGemvColumns;
  GemvSums<W, X, kRows>(p, slices, operands,
                        {first_column + own * kGemvColumns, first_column + own * kGemvColumns + 1});
  for (int i = ThreadIndex(); i < groups * kGemvColumns * kRows; i += ThreadCount()) {
    const int r = i % kRows, in_block = i / kRows;
    const int64_t column = first_column + in_block;
    if (r >= operands.rows || column >= p.n) continue;
    float sum = GemvSum<kRows>(p, slices, in_block / kGemvColumns, in_block % kGemvColumns, r, column);
    const int64_t at = operands.out + r * p.out_row + column;
    if (p.accumulate) sum += LoadAt(p.out, at);
    StoreAt(p.out, at, sum);
  }
}

// The same where w has the rows of gate, then those of up: a warp owns a column of each, and both results and their
// activation are written. `activated` has a row for each row of the product; `row` is the block's first.
template <typename W, typename X, int kRows>
__device__ void GemvSiluBlock(const GenericGemmLaunch& p, int slices, const GemvOperands<W, X>& operands,
                              View activated, int64_t row, float limit, int64_t column_block) {
  const int groups = kGemvWarps / slices, own = ThreadIndex() / kWarp / slices;
  const int64_t half = p.n / 2, first_column = column_block * groups;
  GemvSums<W, X, kRows>(p, slices, operands, {first_column + own, half + first_column + own});
  for (int i = ThreadIndex(); i < groups * kRows; i += ThreadCount()) {
    const int r = i % kRows, group = i / kRows;
    const int64_t column = first_column + group;
    if (r >= operands.rows || column >= half) continue;
    const float gate = RoundTo(p.out.dtype, GemvSum<kRows>(p, slices, group, 0, r, column));
    const float up = RoundTo(p.out.dtype, GemvSum<kRows>(p, slices, group, 1, r, half + column));
    const int64_t at = operands.out + r * p.out_row + column;
    StoreAt(p.out, at, gate);
    StoreAt(p.out, at + half, up);
    StoreAt(activated, (row + r) * activated.stride[0] + column, SiluTimes(gate, up, limit));
  }
}

// Calls run(GemvInstance) for the types and rows of a product.
template <typename W, typename X, int rows>
struct GemvInstance {
  using Weight = W;
  using Row = X;
  static constexpr int kRows = rows;
};

template <typename W, typename X, typename Run>
int WithGemvRows(const GemvPlan& plan, Run run) {
  switch (plan.rows) {
    case 1:
      return run(GemvInstance<W, X, 1>());
    case 2:
      return run(GemvInstance<W, X, 2>());
    case 4:
      return run(GemvInstance<W, X, 4>());
    default:
      return run(GemvInstance<W, X, 8>());
  }
}

template <typename Run>
int WithGemvInstance(const GenericGemmLaunch& p, const GemvPlan& plan, Run run) {
  if (p.w.dtype == DType::kF32) {
    if (p.x.dtype == DType::kBF16) return WithGemvRows<float, __nv_bfloat16>(plan, run);
    if (p.x.dtype == DType::kF16) return WithGemvRows<float, __half>(plan, run);
    return WithGemvRows<float, float>(plan, run);
  }
  if (p.w.dtype == DType::kBF16) return WithGemvRows<__nv_bfloat16, __nv_bfloat16>(plan, run);
  return WithGemvRows<__half, __half>(plan, run);
}

inline int64_t GemvSharedBytes(int rows) { return int64_t{kGemvWarps * kGemvColumns} * rows * int64_t{sizeof(float)}; }

// Blocks that cover n columns.
inline int64_t GemvBlocks(int64_t n, int slices) {
  const int64_t columns = kGemvWarps / slices * kGemvColumns;
  return (n + columns - 1) / columns;
}

}  // namespace hadal::kernels::cuda
