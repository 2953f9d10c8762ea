// SPDX-License-Identifier: Apache-2.0
//
// Products for what cuBLASLt does not take: mixed types, odd alignment, weights by address. Tiles of 16 x 16 outputs,
// one thread an output, both operands staged through shared memory as floats.
#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {
namespace {

constexpr int kTile = 16;
constexpr int kPitch = kTile + 1;  // avoids bank conflicts

__global__ void GenericGemmKernel(GenericGemmLaunch p) {
  float* x_tile = reinterpret_cast<float*>(SharedMemory());
  float* w_tile = x_tile + kTile * kPitch;
  const int64_t tiles_n = (p.n + kTile - 1) / kTile;
  const Divided tile_of = Divide(blockIdx.x, tiles_n);
  const int64_t column_begin = tile_of.remainder * kTile, block = tile_of.quotient;
  int64_t batch = 0, row_begin = 0, row_end = p.m;
  View w = p.w;
  if (p.expert_start != nullptr) {
    // Tiles are numbered expert by expert; those past the last expert have nothing to do.
    int64_t expert = 0, tile = block;
    for (; expert < p.experts; ++expert) {
      const int64_t tiles = (p.expert_start[expert + 1] - p.expert_start[expert] + kTile - 1) / kTile;
      if (tile < tiles) break;
      tile -= tiles;
    }
    if (expert == p.experts) return;  // the same for all threads
    row_begin = p.expert_start[expert] + tile * kTile;
    row_end = p.expert_start[expert + 1];
    w.data = reinterpret_cast<void*>(p.weights[expert]);
  } else {
    const int64_t tiles_m = (p.m + kTile - 1) / kTile;
    const Divided rows_of = Divide(block, tiles_m);
    row_begin = rows_of.remainder * kTile;
    batch = rows_of.quotient;
  }
  const int ty = threadIdx.x / kTile, tx = threadIdx.x % kTile;
  const int64_t row = row_begin + ty, column = column_begin + tx;
  float sum = 0;
  for (int64_t k_begin = 0; k_begin < p.k; k_begin += kTile) {
    const int64_t x_k = k_begin + tx;
    x_tile[ty * kPitch + tx] = row < row_end && x_k < p.k ? LoadAt(p.x, batch * p.x_batch + row * p.x_row + x_k) : 0.0f;
    // w_tile[column in tile][k in tile]; read so that neighbouring threads read neighbouring elements.
    const int w_column = p.transposed_w ? tx : ty, w_k = p.transposed_w ? ty : tx;
    const int64_t j = column_begin + w_column, l = k_begin + w_k;
    float value = 0;
    if (j < p.n && l < p.k) value = LoadAt(w, batch * p.w_batch + (p.transposed_w ? l * p.w_row + j : j * p.w_row + l));
    w_tile[w_column * kPitch + w_k] = value;
    __syncthreads();
    for (int l2 = 0; l2 < kTile; ++l2) sum += x_tile[ty * kPitch + l2] * w_tile[tx * kPitch + l2];
    __syncthreads();
  }
  if (row >= row_end || column >= p.n) return;
  if (p.has_bias) sum += LoadAt(p.bias, column);
  const int64_t at = batch * p.out_batch + row * p.out_row + column;
  if (p.accumulate) sum += LoadAt(p.out, at);
  StoreAt(p.out, at, sum);
}

}  // namespace

int64_t GenericGemmBlocks(const GenericGemmLaunch& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return 0;
  const int64_t tiles_n = (p.n + kTile - 1) / kTile;
  // Each expert's last tile may be short: at most one tile an expert more than the rows alone need.
  const int64_t tiles_m = p.expert_start != nullptr ? p.m / kTile + p.experts : (p.m + kTile - 1) / kTile;
  return tiles_n * tiles_m * p.batch;
}

int LaunchGenericGemm(Stream stream, const GenericGemmLaunch& launch) {
  return Launch(stream, GenericGemmKernel, GenericGemmBlocks(launch), kTile * kTile,
                2 * kTile * kPitch * int64_t{sizeof(float)}, launch);
}

}  // namespace hadal::kernels::cuda
