// SPDX-License-Identifier: Apache-2.0
//
// Products of few rows with transposed weights, w [k, n]: the absorbed query of latent attention, one product a head.
// Bound by the weights' bytes, which are read once. Eight neighbouring lanes read eight columns each of a row of w; the
// block's groups of eight take turns with the rows, and their sums are added in order.
#include "kernels/cuda/gemv.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kGroupLanes = 8;                       // that read a piece of one row of w
constexpr int kGroups = kGemvThreads / kGroupLanes;  // of a block
constexpr int kTileColumns = kGroupLanes * kVector;  // of a block

// Adds row `k` of x, times eight columns of w.
template <typename X, int kRows>
__device__ void AddRow(const GenericGemmLaunch& p, const X* x, int64_t k, const float (&weights)[kVector],
                       float (&sums)[kRows][kVector]) {
  for (int r = 0; r < kRows; ++r) {
    const float value = ToF32(x[(r < p.m ? r : p.m - 1) * p.x_row + k]);
    for (int i = 0; i < kVector; ++i) sums[r][i] += weights[i] * value;
  }
}

// Columns of w from `column` on, for all rows of x, over the rows of w that are this group's.
template <typename W, typename X, int kRows>
__device__ void Accumulate(const GenericGemmLaunch& p, const X* x, const W* w, int64_t column,
                           float (&sums)[kRows][kVector]) {
  const int group = ThreadIndex() / kGroupLanes;
  if (column + kVector <= p.n) {
#pragma unroll 4
    for (int64_t k = group; k < p.k; k += kGroups) {
      float weights[kVector];
      Stream8(w + k * p.w_row + column).Unpack(weights);
      AddRow(p, x, k, weights, sums);
    }
    return;
  }
  for (int64_t k = group; k < p.k; k += kGroups) {  // the end of a row that is no whole vector
    float weights[kVector] = {};
    for (int i = 0; column + i < p.n; ++i) weights[i] = ToF32(w[k * p.w_row + column + i]);
    AddRow(p, x, k, weights, sums);
  }
}

// Tiles of columns in x, products of a batch in y.
template <typename W, typename X, int kRows>
__global__ void GemvTransposedKernel(GenericGemmLaunch p) {
  float* partial = reinterpret_cast<float*>(SharedMemory());  // [warp][row][column of the tile]
  const int lane = threadIdx.x % kGroupLanes, warp = ThreadIndex() / kWarp;
  const int64_t tile = static_cast<int64_t>(blockIdx.x) * kTileColumns, y = blockIdx.y;
  float sums[kRows][kVector] = {};
  Accumulate<W, X, kRows>(p, static_cast<const X*>(p.x.data) + y * p.x_batch,
                          static_cast<const W*>(p.w.data) + y * p.w_batch, tile + lane * kVector, sums);
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVector; ++i) {
      float sum = sums[r][i];
      for (int distance = kWarp / 2; distance >= kGroupLanes; distance /= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, distance);
      }
      if (threadIdx.x % kWarp < kGroupLanes) partial[(warp * kRows + r) * kTileColumns + lane * kVector + i] = sum;
    }
  }
  __syncthreads();
  for (int i = ThreadIndex(); i < kRows * kTileColumns; i += ThreadCount()) {
    const int r = i / kTileColumns;
    const int64_t column = tile + i % kTileColumns;
    if (r >= p.m || column >= p.n) continue;
    float sum = 0;
    for (int other = 0; other < kGemvWarps; ++other) sum += partial[other * kRows * kTileColumns + i];
    StoreAt(p.out, y * p.out_batch + r * p.out_row + column, sum);
  }
}

}  // namespace

int LaunchGemvTransposed(Stream stream, const GenericGemmLaunch& p, const GemvPlan& plan) {
  const Grid grid((p.n + kTileColumns - 1) / kTileColumns, p.batch);
  return WithGemvInstance(p, plan, [&](auto instance) {
    using Instance = decltype(instance);
    constexpr int kRows = Instance::kRows;
    return Launch(stream, GemvTransposedKernel<typename Instance::Weight, typename Instance::Row, kRows>, grid,
                  kGemvThreads, int64_t{kGemvWarps * kTileColumns} * kRows * int64_t{sizeof(float)}, p);
  });
}

}  // namespace hadal::kernels::cuda
