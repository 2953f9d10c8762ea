// SPDX-License-Identifier: Apache-2.0
//
// The vector type for AVX-512 (F, BW, DQ, VL); see portable_vec.h for the meaning of its members. For files compiled
// with these flags alone, to which everything here is local.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/half.h"

namespace hadal::kernels::cpu {
namespace {

struct Avx512Vec {
  using Register = __m512;
  static constexpr int kLanes = 16;

  static constexpr int kDotRows = 6;
  static constexpr int kOuterRows = 6;
  static constexpr int kOuterRegisters = 4;

  struct AllLanes {};
  using Lanes = __mmask16;
  static Lanes FirstLanes(int64_t n) {
    return n >= kLanes ? static_cast<Lanes>(0xFFFF) : static_cast<Lanes>((1u << n) - 1);
  }

  static Register Set(float value) { return _mm512_set1_ps(value); }

  static Register Load(const float* p, AllLanes) { return _mm512_loadu_ps(p); }
  static Register Load(const BF16* p, AllLanes) { return Widen(LoadHalves(p)); }
  static Register Load(const F16* p, AllLanes) { return _mm512_cvtph_ps(LoadHalves(p)); }
  static Register Load(const float* p, Lanes lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
  static Register Load(const BF16* p, Lanes lanes) { return Widen(_mm256_maskz_loadu_epi16(lanes, p)); }
  static Register Load(const F16* p, Lanes lanes) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p)); }

  static void Store(float* p, Register value, AllLanes) { _mm512_storeu_ps(p, value); }
  static void Store(BF16* p, Register value, AllLanes) { StoreHalves(p, Narrow(value)); }
  static void Store(F16* p, Register value, AllLanes) { StoreHalves(p, NarrowF16(value)); }
  static void Store(float* p, Register value, Lanes lanes) { _mm512_mask_storeu_ps(p, lanes, value); }
  static void Store(BF16* p, Register value, Lanes lanes) { _mm256_mask_storeu_epi16(p, lanes, Narrow(value)); }
  static void Store(F16* p, Register value, Lanes lanes) { _mm256_mask_storeu_epi16(p, lanes, NarrowF16(value)); }

  static Register Select(AllLanes, Register a, Register) { return a; }
  static Register Select(Lanes lanes, Register a, Register b) { return _mm512_mask_blend_ps(lanes, b, a); }

  static Register MulAdd(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
  static Register Max(Register a, Register b) { return _mm512_max_ps(a, b); }

  // 0 below -104, infinity above 89.
  static Register Exp(Register x) {
    // max and min return their second operand when one is NaN.
    x = _mm512_min_ps(Set(89.0f), _mm512_max_ps(Set(-104.0f), x));
    const __m512 n =
        _mm512_roundscale_ps(_mm512_mul_ps(x, Set(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, Set(0.693359375f), x);  // ln 2 in two parts
    r = _mm512_fnmadd_ps(n, Set(-2.12194440e-4f), r);
    // Cephes expf: exp(r) = 1 + r + r^2 p(r) on |r| <= ln 2 / 2.
    __m512 p = Set(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, Set(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, Set(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, Set(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, Set(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, Set(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, Set(1.0f)));
    return _mm512_scalef_ps(p, n);
  }

  static float Sum(Register v) { return _mm512_reduce_add_ps(v); }
  static float MaxLane(Register v) { return _mm512_reduce_max_ps(v); }
  // Four registers together take half the additions.
  static void StoreSums(const Register (&sums)[4], float* out) {
    _mm_storeu_ps(out, SumFour(sums[0], sums[1], sums[2], sums[3]));
  }
  static void StoreSums(const Register (&sums)[1], float* out) {
    _mm_store_ss(out, SumFour(sums[0], _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()));
  }

 private:
  static __m256i LoadHalves(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void StoreHalves(void* p, __m256i halves) { _mm256_storeu_si256(static_cast<__m256i*>(p), halves); }

  static Register Widen(__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
  }
  static __m256i Narrow(Register value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(rounded);
  }
  static __m256i NarrowF16(Register value) {
    return _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }

  // Their sums in lanes 0..3.
  static __m128 SumFour(Register a, Register b, Register c, Register d) {
    const __m256 ab = _mm256_hadd_ps(Fold(a), Fold(b)), cd = _mm256_hadd_ps(Fold(c), Fold(d));
    const __m256 all = _mm256_hadd_ps(ab, cd);
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
  }
  static __m256 Fold(Register v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); }
};

}  // namespace
}  // namespace hadal::kernels::cpu
