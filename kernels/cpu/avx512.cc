// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <limits>

#include "kernels/cpu/avx512_gemm.h"
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/kernel_table.h"

namespace hadal::kernels::cpu {
namespace {

// Calls body(index, lanes) for each 16 values; the last lanes may be fewer.
template <typename Body>
inline void ForEachVec(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kVec <= n; i += kVec) body(i, static_cast<__mmask16>(0xFFFF));
  if (i < n) body(i, FirstLanes(n - i));
}

template <typename T>
void Widen(const T* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kVec <= n; i += kVec) Store(out + i, Load(x + i));
  if (i < n) Store(out + i, Load(x + i, FirstLanes(n - i)), FirstLanes(n - i));
}

template <typename T>
void NarrowRow(const float* x, T* out, int64_t n) {
  int64_t i = 0;
  for (; i + kVec <= n; i += kVec) Store(out + i, Load(x + i));
  if (i < n) Store(out + i, Load(x + i, FirstLanes(n - i)), FirstLanes(n - i));
}

void ToF32(DType dtype, const void* x, float* out, int64_t n) {
  if (dtype == DType::kBF16) return Widen(static_cast<const BF16*>(x), out, n);
  if (dtype == DType::kF16) return Widen(static_cast<const F16*>(x), out, n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

void FromF32(DType dtype, const float* x, void* out, int64_t n) {
  if (dtype == DType::kBF16) return NarrowRow(x, static_cast<BF16*>(out), n);
  if (dtype == DType::kF16) return NarrowRow(x, static_cast<F16*>(out), n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

float SumSquares(const float* x, int64_t n) {
  __m512 sum = _mm512_setzero_ps();
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    const __m512 v = Load(x + i, lanes);
    sum = _mm512_fmadd_ps(v, v, sum);
  });
  return _mm512_reduce_add_ps(sum);
}

float Max(const float* x, int64_t n) {
  __m512 best = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) { best = _mm512_mask_max_ps(best, lanes, best, Load(x + i, lanes)); });
  return _mm512_reduce_max_ps(best);
}

float ExpSum(float* x, float shift, int64_t n) {
  const __m512 offset = _mm512_set1_ps(shift);
  __m512 sum = _mm512_setzero_ps();
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    const __m512 v = Exp(_mm512_sub_ps(Load(x + i, lanes), offset));
    Store(x + i, v, lanes);
    sum = _mm512_mask_add_ps(sum, lanes, sum, v);
  });
  return _mm512_reduce_add_ps(sum);
}

void Scale(float factor, const float* x, float* out, int64_t n) {
  const __m512 f = _mm512_set1_ps(factor);
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) { Store(out + i, _mm512_mul_ps(f, Load(x + i, lanes)), lanes); });
}

void Mul(const float* x, const float* y, float* out, int64_t n) {
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    Store(out + i, _mm512_mul_ps(Load(x + i, lanes), Load(y + i, lanes)), lanes);
  });
}

void Add(const float* x, const float* y, float* out, int64_t n) {
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    Store(out + i, _mm512_add_ps(Load(x + i, lanes), Load(y + i, lanes)), lanes);
  });
}

void Axpy(float factor, const float* x, float* y, int64_t n) {
  const __m512 f = _mm512_set1_ps(factor);
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    Store(y + i, _mm512_fmadd_ps(f, Load(x + i, lanes), Load(y + i, lanes)), lanes);
  });
}

void SiluMul(const float* gate, const float* up, float* out, int64_t n) {
  const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
  ForEachVec(n, [&](int64_t i, __mmask16 lanes) {
    const __m512 g = Load(gate + i, lanes);
    const __m512 sigmoid_inverse = _mm512_add_ps(one, Exp(_mm512_sub_ps(zero, g)));
    Store(out + i, _mm512_mul_ps(_mm512_div_ps(g, sigmoid_inverse), Load(up + i, lanes)), lanes);
  });
}

}  // namespace

const KernelTable& Avx512Table() {
  static const KernelTable table = {
      .to_f32 = ToF32,
      .from_f32 = FromF32,
      .sum_squares = SumSquares,
      .max = Max,
      .exp_sum = ExpSum,
      .scale = Scale,
      .mul = Mul,
      .add = Add,
      .axpy = Axpy,
      .silu_mul = SiluMul,
      .gemm_nt = Avx512GemmNt,
      .gemm_nn = Avx512GemmNn,
      .gemm_f32 = Avx512GemmF32,
      .gemm_bf16 = nullptr,
  };
  return table;
}

}  // namespace hadal::kernels::cpu
