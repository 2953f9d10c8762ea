// SPDX-License-Identifier: Apache-2.0
//
// Eight elements at a time, and sums over a warp: for kernels that are bound by memory.
#pragma once

#include <cstring>

#include "kernels/cuda/device.cuh"

namespace hadal::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;
inline constexpr int kVector = 8;  // elements that a thread takes at once

template <typename T>
__device__ T FromF32(float value);
template <>
__device__ inline float FromF32<float>(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 FromF32<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ inline __half FromF32<__half>(float value) {
  return __float2half_rn(value);
}

// Eight neighbouring elements, as they lie in memory.
template <typename T>
struct Packed {
  static constexpr int kLoads = kVector * sizeof(T) / kVectorBytes;
  uint4 words[kLoads];

  __device__ void Unpack(float (&values)[kVector]) const {
    T elements[kVector];
    memcpy(elements, words, sizeof(elements));
    for (int i = 0; i < kVector; ++i) values[i] = ToF32(elements[i]);
  }
  // Rounds to T; `values` become what was stored.
  __device__ void Pack(float (&values)[kVector]) {
    T elements[kVector];
    for (int i = 0; i < kVector; ++i) {
      elements[i] = FromF32<T>(values[i]);
      values[i] = ToF32(elements[i]);
    }
    memcpy(words, elements, sizeof(elements));
  }
};

// From and to multiples of sixteen bytes.
template <typename T>
__device__ Packed<T> Load8(const T* from) {
  Packed<T> packed;
  for (int i = 0; i < Packed<T>::kLoads; ++i) packed.words[i] = reinterpret_cast<const uint4*>(from)[i];
  return packed;
}
template <typename T>
__device__ void Store8(T* to, const Packed<T>& packed) {
  for (int i = 0; i < Packed<T>::kLoads; ++i) reinterpret_cast<uint4*>(to)[i] = packed.words[i];
}

// For what is read once in a step, as weights are, and so need not stay in the caches.
template <typename T>
__device__ Packed<T> Stream8(const T* from) {
  Packed<T> packed;
  for (int i = 0; i < Packed<T>::kLoads; ++i) packed.words[i] = __ldcs(reinterpret_cast<const uint4*>(from) + i);
  return packed;
}

// Sum over the lanes of a warp, in one order; every lane gets it.
__device__ inline float WarpSum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// The largest value of the lanes; NaN loses.
__device__ inline float WarpMax(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Sum over a block of whole warps; `scratch` holds a value for each warp. All threads get it.
__device__ inline float BlockSum(float value, float* scratch) {
  const int warp = ThreadIndex() / kWarp, warps = ThreadCount() / kWarp;
  value = WarpSum(value);
  if (warps == 1) return value;
  if (threadIdx.x % kWarp == 0) scratch[warp] = value;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < warps; ++i) sum += scratch[i];
  return sum;
}

// Whether rows of this view can be read and written eight elements at a time.
inline bool WholeVectors(const View& view, int64_t dim) {
  int64_t bits = reinterpret_cast<intptr_t>(view.data);
  for (int d = 0; d < 3; ++d) {
    if (view.size[d] > 1) bits |= view.stride[d] * (view.dtype == DType::kF32 ? 4 : 2);
  }
  return dim % kVector == 0 && bits % kVectorBytes == 0;
}

}  // namespace hadal::kernels::cuda
