// SPDX-License-Identifier: Apache-2.0
//
// Vector helpers for the files compiled for AVX-512, and for those alone: everything is local to the including file, so
// that no AVX-512 code can be linked into a caller for other machines.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/half.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int kVec = 16;  // floats in a register

// The first `n` of 16 lanes.
[[maybe_unused]] __mmask16 FirstLanes(int64_t n) {
  return n >= kVec ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << n) - 1);
}

[[maybe_unused]] inline __m512 Widen(__m256i half, BF16) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
[[maybe_unused]] inline __m512 Widen(__m256i half, F16) { return _mm512_cvtph_ps(half); }

// 16 values as floats; with a mask, the other lanes are 0 and their memory is not touched.
[[maybe_unused]] inline __m512 Load(const float* p) { return _mm512_loadu_ps(p); }
[[maybe_unused]] inline __m512 Load(const float* p, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
template <typename T>
inline __m512 Load(const T* p) {
  return Widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), T{});
}
template <typename T>
inline __m512 Load(const T* p, __mmask16 lanes) {
  return Widen(_mm256_maskz_loadu_epi16(lanes, p), T{});
}

// Round to nearest even.
[[maybe_unused]] inline __m256i Narrow(__m512 value, F16) {
  return _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
[[maybe_unused]] inline __m256i Narrow(__m512 value, BF16) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(rounded);
}

[[maybe_unused]] inline void Store(float* p, __m512 value) { _mm512_storeu_ps(p, value); }
[[maybe_unused]] inline void Store(float* p, __m512 value, __mmask16 lanes) { _mm512_mask_storeu_ps(p, lanes, value); }
template <typename T>
inline void Store(T* p, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Narrow(value, T{}));
}
template <typename T>
inline void Store(T* p, __m512 value, __mmask16 lanes) {
  _mm256_mask_storeu_epi16(p, lanes, Narrow(value, T{}));
}

// Relative error below 2e-7; exact 0 below -104, infinity above 89, NaN for NaN.
[[maybe_unused]] inline __m512 Exp(__m512 x) {
  // max and min return their second operand when one is NaN.
  x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);  // ln 2 in two parts
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  // Cephes expf: exp(r) = 1 + r + r^2 p(r) on |r| <= ln 2 / 2.
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

// Sums of four registers, in lanes 0..3.
[[maybe_unused]] inline __m128 SumFour(__m512 a, __m512 b, __m512 c, __m512 d) {
  const auto fold = [](__m512 v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); };
  const __m256 ab = _mm256_hadd_ps(fold(a), fold(b)), cd = _mm256_hadd_ps(fold(c), fold(d));
  const __m256 all = _mm256_hadd_ps(ab, cd);
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

}  // namespace
}  // namespace hadal::kernels::cpu
