// SPDX-License-Identifier: Apache-2.0
//
// The k largest of many values without sorting, by the threads of a block: a threshold on the value plus a number
// of values at that very threshold, lowest indices first. NaN must not occur.
#pragma once

#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {

// Unsigned keys in the order of the floats; both zeros have one key.
__device__ inline uint32_t Key(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// Keeps the values with a larger key, and the first `ties` values with this key.
struct Threshold {
  uint32_t key;
  int64_t ties;
};

// The smallest key such that fewer than top_k values lie above it.
__device__ inline Threshold TopKThreshold(const float* z, int64_t count, int64_t top_k, int64_t* scratch) {
  uint32_t low = 0, high = 0xFFFFFFFFu;  // `high` always satisfies the condition
  int64_t above_high = 0;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    int64_t above = 0;
    for (int64_t t = threadIdx.x; t < count; t += blockDim.x) above += Key(z[t]) > middle ? 1 : 0;
    above = BlockReduce(above, scratch, Add());
    if (above < top_k) {
      high = middle;
      above_high = above;
    } else {
      low = middle + 1;
    }
  }
  return Threshold{high, top_k - above_high};
}

// Indices are dealt to the threads in contiguous chunks, so that prefix sums run in their order.
__device__ inline int64_t ChunkBegin(int64_t count, int64_t thread) {
  const int64_t size = Divide(count + blockDim.x - 1, blockDim.x).quotient;
  return thread * size < count ? thread * size : count;
}

}  // namespace hadal::kernels::cuda
