// SPDX-License-Identifier: Apache-2.0
//
// The vector type for AVX2 with FMA and F16C; see portable_vec.h for the meaning of its members. For files compiled
// with these flags alone, to which everything here is local.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/half.h"

namespace hadal::kernels::cpu {
namespace {

struct Avx2Vec {
  using Register = __m256;
  static constexpr int kLanes = 8;

  static constexpr int kDotRows = 3;  // 12 sums and 4 weights fill the 16 registers
  static constexpr int kOuterRows = 4;
  static constexpr int kOuterRegisters = 2;

  struct AllLanes {};
  using Lanes = int64_t;
  static Lanes FirstLanes(int64_t n) { return n; }

  static Register Set(float value) { return _mm256_set1_ps(value); }

  static Register Load(const float* p, AllLanes) { return _mm256_loadu_ps(p); }
  static Register Load(const BF16* p, AllLanes) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static Register Load(const F16* p, AllLanes) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Register Load(const float* p, Lanes n) { return _mm256_maskload_ps(p, Mask(n)); }
  template <typename T>
  static Register Load(const T* p, Lanes n) {
    T values[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) values[i] = p[i];
    return Load(values, AllLanes());
  }

  static void Store(float* p, Register value, AllLanes) { _mm256_storeu_ps(p, value); }
  static void Store(F16* p, Register value, AllLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void Store(BF16* p, Register value, AllLanes) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i result = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1)));
  }
  static void Store(float* p, Register value, Lanes n) { _mm256_maskstore_ps(p, Mask(n), value); }
  template <typename T>
  static void Store(T* p, Register value, Lanes n) {
    T values[kLanes];
    Store(values, value, AllLanes());
    for (int64_t i = 0; i < n; ++i) p[i] = values[i];
  }

  static Register Select(AllLanes, Register a, Register) { return a; }
  static Register Select(Lanes n, Register a, Register b) {
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(Mask(n)));
  }

  static Register MulAdd(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }
  static Register Max(Register a, Register b) { return _mm256_max_ps(a, b); }

  // 0 below -87.3 (no subnormal results), infinity above 88.7.
  static Register Exp(Register x) {
    const __m256 tiny = _mm256_cmp_ps(x, Set(-87.3f), _CMP_LT_OQ);
    const __m256 huge = _mm256_cmp_ps(x, Set(88.72f), _CMP_GT_OQ);
    // max and min return their second operand when one is NaN.
    const __m256 in = _mm256_min_ps(Set(88.72f), _mm256_max_ps(Set(-87.3f), x));
    const __m256 n =
        _mm256_round_ps(_mm256_mul_ps(in, Set(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, Set(0.693359375f), in);  // ln 2 in two parts
    r = _mm256_fnmadd_ps(n, Set(-2.12194440e-4f), r);
    // Cephes expf: exp(r) = 1 + r + r^2 p(r) on |r| <= ln 2 / 2.
    __m256 p = Set(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, Set(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, Set(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, Set(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, Set(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, Set(5.0000001201e-1f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, Set(1.0f)));
    // 2^n in two factors, so that n = 128 does not overflow the exponent.
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(_mm256_mul_ps(p, PowerOfTwo(half)), PowerOfTwo(_mm256_sub_epi32(whole, half)));
    p = _mm256_andnot_ps(tiny, p);
    return _mm256_blendv_ps(p, Set(__builtin_inff()), huge);
  }

  static float Sum(Register v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float MaxLane(Register v) {
    float best = v[0];
    for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
    return best;
  }
  template <int C>
  static void StoreSums(const Register (&sums)[C], float* out) {
    for (int j = 0; j < C; ++j) out[j] = Sum(sums[j]);
  }

 private:
  static __m256i Mask(Lanes n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m256 PowerOfTwo(__m256i exponent) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
  }
};

}  // namespace
}  // namespace hadal::kernels::cpu
