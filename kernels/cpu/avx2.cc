// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/avx2_gemm.h"
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/kernel_table.h"

namespace hadal::kernels::cpu {
namespace {

// Calls body(index) for each whole register and returns where the rest begins.
template <typename Body>
inline int64_t ForEachVec(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kVec <= n; i += kVec) body(i);
  return i;
}

template <typename From, typename To>
void ConvertRow(const From* x, To* out, int64_t n) {
  int64_t i = ForEachVec(n, [&](int64_t at) { Store(out + at, Load(x + at)); });
  for (; i < n; ++i) out[i] = FromFloat<To>(ToFloat(x[i]));
}

void ToF32(DType dtype, const void* x, float* out, int64_t n) {
  if (dtype == DType::kBF16) return ConvertRow(static_cast<const BF16*>(x), out, n);
  if (dtype == DType::kF16) return ConvertRow(static_cast<const F16*>(x), out, n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

void FromF32(DType dtype, const float* x, void* out, int64_t n) {
  if (dtype == DType::kBF16) return ConvertRow(x, static_cast<BF16*>(out), n);
  if (dtype == DType::kF16) return ConvertRow(x, static_cast<F16*>(out), n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

float SumSquares(const float* x, int64_t n) {
  __m256 sum = _mm256_setzero_ps();
  int64_t i = ForEachVec(n, [&](int64_t at) {
    const __m256 v = Load(x + at);
    sum = _mm256_fmadd_ps(v, v, sum);
  });
  float total = Sum(sum);
  for (; i < n; ++i) total += x[i] * x[i];
  return total;
}

float Max(const float* x, int64_t n) {
  __m256 best = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  int64_t i = ForEachVec(n, [&](int64_t at) { best = _mm256_max_ps(best, Load(x + at)); });
  float lanes[kVec];
  Store(lanes, best);
  float result = lanes[0];
  for (float lane : lanes) result = lane > result ? lane : result;
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

float ExpSum(float* x, float shift, int64_t n) {
  const __m256 offset = _mm256_set1_ps(shift);
  __m256 sum = _mm256_setzero_ps();
  int64_t i = ForEachVec(n, [&](int64_t at) {
    const __m256 v = Exp(_mm256_sub_ps(Load(x + at), offset));
    Store(x + at, v);
    sum = _mm256_add_ps(sum, v);
  });
  float total = Sum(sum);
  for (; i < n; ++i) total += x[i] = std::exp(x[i] - shift);
  return total;
}

void Scale(float factor, const float* x, float* out, int64_t n) {
  const __m256 f = _mm256_set1_ps(factor);
  int64_t i = ForEachVec(n, [&](int64_t at) { Store(out + at, _mm256_mul_ps(f, Load(x + at))); });
  for (; i < n; ++i) out[i] = factor * x[i];
}

void Mul(const float* x, const float* y, float* out, int64_t n) {
  int64_t i = ForEachVec(n, [&](int64_t at) { Store(out + at, _mm256_mul_ps(Load(x + at), Load(y + at))); });
  for (; i < n; ++i) out[i] = x[i] * y[i];
}

void Add(const float* x, const float* y, float* out, int64_t n) {
  int64_t i = ForEachVec(n, [&](int64_t at) { Store(out + at, _mm256_add_ps(Load(x + at), Load(y + at))); });
  for (; i < n; ++i) out[i] = x[i] + y[i];
}

void Axpy(float factor, const float* x, float* y, int64_t n) {
  const __m256 f = _mm256_set1_ps(factor);
  int64_t i = ForEachVec(n, [&](int64_t at) { Store(y + at, _mm256_fmadd_ps(f, Load(x + at), Load(y + at))); });
  for (; i < n; ++i) y[i] += factor * x[i];
}

void SiluMul(const float* gate, const float* up, float* out, int64_t n) {
  const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
  int64_t i = ForEachVec(n, [&](int64_t at) {
    const __m256 g = Load(gate + at);
    const __m256 sigmoid_inverse = _mm256_add_ps(one, Exp(_mm256_sub_ps(zero, g)));
    Store(out + at, _mm256_mul_ps(_mm256_div_ps(g, sigmoid_inverse), Load(up + at)));
  });
  for (; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

}  // namespace

const KernelTable& Avx2Table() {
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
      .gemm_nt = Avx2GemmNt,
      .gemm_nn = Avx2GemmNn,
      .gemm_f32 = Avx2GemmF32,
      .gemm_bf16 = nullptr,
  };
  return table;
}

}  // namespace hadal::kernels::cpu
