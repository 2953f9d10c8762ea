// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/kernel_table.h"

namespace hadal::kernels::cpu {
namespace {

// Independent partial sums let the compiler use vector registers without changing the meaning of the code.
constexpr int kLanes = 8;

float SumLanes(const float (&lanes)[kLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

template <typename T>
void Widen(const T* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = ToFloat(x[i]);
}

template <typename T>
void Narrow(const float* x, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = FromFloat<T>(x[i]);
}

void ToF32(DType dtype, const void* x, float* out, int64_t n) {
  if (dtype == DType::kBF16) return Widen(static_cast<const BF16*>(x), out, n);
  if (dtype == DType::kF16) return Widen(static_cast<const F16*>(x), out, n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

void FromF32(DType dtype, const float* x, void* out, int64_t n) {
  if (dtype == DType::kBF16) return Narrow(x, static_cast<BF16*>(out), n);
  if (dtype == DType::kF16) return Narrow(x, static_cast<F16*>(out), n);
  if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
}

template <typename T>
float Dot(const float* a, const T* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * ToFloat(b[i + l]);
  }
  for (; i < n; ++i) lanes[0] += a[i] * ToFloat(b[i]);
  return SumLanes(lanes);
}

float SumSquares(const float* x, int64_t n) { return Dot(x, x, n); }

float Max(const float* x, int64_t n) {
  float best = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

float ExpSum(float* x, float shift, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - shift);
  return sum;
}

void Scale(float factor, const float* x, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = factor * x[i];
}

void Mul(const float* x, const float* y, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * y[i];
}

void Add(const float* x, const float* y, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] + y[i];
}

void Axpy(float factor, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

void SiluMul(const float* gate, const float* up, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

template <typename T>
void GemmRows(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n,
              int64_t k) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) c[i * ldc + j] = Dot(x + i * ldx, w + j * ldw, k);
  }
}

void GemmNt(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
            int64_t k) {
  GemmRows(a, lda, b, ldb, c, ldc, m, n, k);
}

void GemmNn(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
            int64_t k) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l) Axpy(a[i * lda + l], b + l * ldb, c + i * ldc, n);
  }
}

void GemmF32(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc, int64_t m,
             int64_t n, int64_t k) {
  if (w_dtype == DType::kBF16) return GemmRows(x, ldx, static_cast<const BF16*>(w), ldw, c, ldc, m, n, k);
  if (w_dtype == DType::kF16) return GemmRows(x, ldx, static_cast<const F16*>(w), ldw, c, ldc, m, n, k);
  GemmRows(x, ldx, static_cast<const float*>(w), ldw, c, ldc, m, n, k);
}

}  // namespace

const KernelTable& PortableTable() {
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
      .gemm_nt = GemmNt,
      .gemm_nn = GemmNn,
      .gemm_f32 = GemmF32,
      .gemm_bf16 = nullptr,
  };
  return table;
}

}  // namespace hadal::kernels::cpu
