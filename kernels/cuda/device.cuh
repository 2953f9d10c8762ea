// SPDX-License-Identifier: Apache-2.0
//
// What all kernels share: elements of a view as floats, reductions over a block, launches. Threads of a block talk
// through shared memory and __syncthreads only, so that results have one order of additions and the kernels also run on
// the emulator of tests/kernels/cuda.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/view.h"

namespace hadal::kernels::cuda {

__device__ inline float ToF32(float value) { return value; }
__device__ inline float ToF32(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float ToF32(__half value) { return __half2float(value); }

__device__ inline float LoadAt(const View& view, int64_t offset) {
  switch (view.dtype) {
    case DType::kBF16:
      return ToF32(static_cast<const __nv_bfloat16*>(view.data)[offset]);
    case DType::kF16:
      return ToF32(static_cast<const __half*>(view.data)[offset]);
    default:
      return static_cast<const float*>(view.data)[offset];
  }
}

__device__ inline void StoreAt(const View& view, int64_t offset, float value) {
  switch (view.dtype) {
    case DType::kBF16:
      static_cast<__nv_bfloat16*>(view.data)[offset] = __float2bfloat16_rn(value);
      break;
    case DType::kF16:
      static_cast<__half*>(view.data)[offset] = __float2half_rn(value);
      break;
    default:
      static_cast<float*>(view.data)[offset] = value;
      break;
  }
}

__device__ inline float RoundTo(DType dtype, float value) {
  if (dtype == DType::kBF16) return ToF32(__float2bfloat16_rn(value));
  if (dtype == DType::kF16) return ToF32(__float2half_rn(value));
  return value;
}

// What is counted in 32 bits, as tokens, positions and blocks of a grid are, divided by another such number: a division
// of 64 bits takes ten times as long.
struct Divided {
  int64_t quotient, remainder;
};
__device__ inline Divided Divide(int64_t value, int64_t unit) {
  const auto narrow = static_cast<uint32_t>(value), by = static_cast<uint32_t>(unit);
  return {narrow / by, narrow % by};
}

inline constexpr int kVectorBytes = 16;  // the most that a thread loads or stores at once

__host__ __device__ inline bool Aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kVectorBytes == 0;
}

// to[0..count) = from[0..count) by the threads of a block; both of one type.
__device__ inline void CopyRow(const View& from, int64_t from_offset, const View& to, int64_t to_offset,
                               int64_t count) {
  const int bytes = from.dtype == DType::kF32 ? 4 : 2;
  const char* source = static_cast<const char*>(from.data) + from_offset * bytes;
  char* target = static_cast<char*>(to.data) + to_offset * bytes;
  uint32_t done = 0;  // of 32 bits, as the loops' numbers: else the compiler divides 64 to unroll them
  if (Aligned(source) && Aligned(target)) {
    const auto vectors = static_cast<uint32_t>(count * bytes / kVectorBytes);
    for (uint32_t i = threadIdx.x; i < vectors; i += blockDim.x) {
      reinterpret_cast<uint4*>(target)[i] = reinterpret_cast<const uint4*>(source)[i];
    }
    done = vectors * (kVectorBytes / bytes);
  }
  for (uint32_t j = done + threadIdx.x; j < static_cast<uint32_t>(count); j += blockDim.x) {
    StoreAt(to, to_offset + j, LoadAt(from, from_offset + j));
  }
}

// Where row (head) of the token's slot begins in a cache [blocks, block_tokens, heads, dim]; -1 for padding. Slots are
// i32 or i64.
__device__ inline int64_t CacheRow(const View& cache, const View& slots, int64_t token, int64_t head) {
  const int64_t slot = slots.dtype == DType::kI64 ? static_cast<const int64_t*>(slots.data)[token]
                                                  : static_cast<const int32_t*>(slots.data)[token];
  const int64_t block_tokens = cache.size[1];
  if (slot < 0 || slot >= cache.size[0] * block_tokens) return -1;
  const bool narrow = ((slot | block_tokens) >> 32) == 0;  // a division of 32 bits is a tenth of one of 64
  const int64_t block =
      narrow ? static_cast<uint32_t>(slot) / static_cast<uint32_t>(block_tokens) : slot / block_tokens;
  return block * cache.stride[0] + (slot - block * block_tokens) * cache.stride[1] + head * cache.stride[2];
}

// silu(g) * u, both cut to a limit above 0.
__device__ inline float SiluTimes(float g, float u, float limit) {
  if (limit > 0) {  // written so that NaN stays
    g = g > limit ? limit : g;
    u = u > limit ? limit : u < -limit ? -limit : u;
  }
  return g / (1.0f + expf(-g)) * u;
}

__device__ inline int ThreadIndex() { return static_cast<int>(threadIdx.x); }
__device__ inline int ThreadCount() { return static_cast<int>(blockDim.x); }

struct Add {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

struct Larger {
  // NaN loses, as in std::max(largest, value).
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Dynamic shared memory of the block, 16-byte aligned.
__device__ inline unsigned char* SharedMemory() {
  extern __shared__ __align__(16) unsigned char hadal_shared_memory[];
  return hadal_shared_memory;
}

// Combines one value from every thread; all threads get the result. `scratch` holds blockDim.x values, and blockDim.x
// is a power of two. The order of combination is fixed.
template <typename T, typename Combine>
__device__ T BlockReduce(T value, T* scratch, Combine combine) {
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) scratch[threadIdx.x] = combine(scratch[threadIdx.x], scratch[threadIdx.x + width]);
    __syncthreads();
  }
  const T result = scratch[0];
  __syncthreads();
  return result;
}

// Sum of the values of the threads before this one; *total is the sum of all. `scratch` holds blockDim.x values.
template <typename T>
__device__ T BlockExclusiveSum(T value, T* scratch, T* total) {
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (unsigned distance = 1; distance < blockDim.x; distance *= 2) {
    const T before = threadIdx.x >= distance ? scratch[threadIdx.x - distance] : T(0);
    __syncthreads();
    scratch[threadIdx.x] += before;
    __syncthreads();
  }
  *total = scratch[blockDim.x - 1];
  const T exclusive = threadIdx.x > 0 ? scratch[threadIdx.x - 1] : T(0);
  __syncthreads();
  return exclusive;
}

// Last index i of a rising array with starts[i] <= row < starts[i + 1], among `count` ranges that cover `row`.
__device__ inline int64_t FindRange(const int32_t* starts, int64_t count, int64_t row) {
  int64_t low = 0, high = count;  // starts[low] <= row < starts[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (starts[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Blocks of a launch. With two dimensions an index needs no division.
struct Grid {
  Grid(int64_t x, int64_t y = 1) : x(x), y(y) {}  // NOLINT: a number is a grid
  int64_t x, y;
};

// Launches one-dimensional blocks; none: no launch. Returns a cudaError_t.
template <typename... Expected, typename... Actual>
int Launch(Stream stream, void (*kernel)(Expected...), Grid grid, int threads, int64_t shared_bytes, Actual... args) {
  if (grid.x <= 0 || grid.y <= 0) return cudaSuccess;
  if (grid.x > kMaxGridBlocks || grid.y > kMaxGridRows) return cudaErrorInvalidConfiguration;
  if (shared_bytes > kDefaultSharedBytes) {
    const cudaError_t raised =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes));
    if (raised != cudaSuccess) return raised;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), 1);
  config.blockDim = dim3(static_cast<unsigned>(threads), 1, 1);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  return cudaLaunchKernelEx(&config, kernel, static_cast<Expected>(args)...);
}

// Blocks of `kThreads` for a loop over `count` items that each thread walks with the stride of the grid.
inline int64_t GridStrideBlocks(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return blocks < kMaxGridStrideBlocks ? blocks : kMaxGridStrideBlocks;
}

// for (int64_t i : the items of this thread). Unrolled, a loop whose step is not known begins with a division.
#define HADAL_GRID_STRIDE(i, count)                                                    \
  _Pragma("unroll 1") for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, \
                           i##_step = int64_t{gridDim.x} * blockDim.x;                 \
                           i < (count); i += i##_step)

}  // namespace hadal::kernels::cuda
