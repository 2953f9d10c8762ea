// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/avx2_gemm.h"

#include "kernels/cpu/avx2_vec.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int kRows = 3;     // rows of x that share a load of w: 12 sums, 4 weights fill the 16 registers
constexpr int kColumns = 4;  // rows of w, that is columns of c, at a time
constexpr int64_t kPrefetchBytes = 512;

// The short loops over registers are unrolled by pragma: only then do the sums live in registers.
// c[R, C] = x[R, k] * w[C, k]^T: R * C running sums stay in registers.
template <typename T, int R, int C>
void DotBlock(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t k) {
  __m256 sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) sum[r][j] = _mm256_setzero_ps();
  }
  int64_t l = 0;
  for (; l + kVec <= k; l += kVec) {
    __m256 weight[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      weight[j] = Load(w + j * ldw + l);
      _mm_prefetch(reinterpret_cast<const char*>(w + j * ldw + l) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256 value = Load(x + r * ldx + l);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = _mm256_fmadd_ps(value, weight[j], sum[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      float total = Sum(sum[r][j]);
      for (int64_t t = l; t < k; ++t) total += x[r * ldx + t] * ToFloat(w[j * ldw + t]);
      c[r * ldc + j] = total;
    }
  }
}

// Rows of x inside columns of w: w comes from memory once, x stays in the cache.
template <typename T, int C>
void DotRows(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t k) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) DotBlock<T, kRows, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
  if (m - i == 2) DotBlock<T, 2, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
  if (m - i == 1) DotBlock<T, 1, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
}

template <typename T>
void Dot(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n, int64_t k) {
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns) DotRows<T, kColumns>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
  for (; j < n; ++j) DotRows<T, 1>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
}

// c[R, V * 8] += a[R, k] * b[k, V * 8].
template <int R, int V>
void OuterBlock(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t k) {
  __m256 sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[r][v] = Load(c + r * ldc + v * kVec);
  }
  for (int64_t l = 0; l < k; ++l) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256 factor = _mm256_set1_ps(a[r * lda + l]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = _mm256_fmadd_ps(factor, Load(b + l * ldb + v * kVec), sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) Store(c + r * ldc + v * kVec, sum[r][v]);
  }
}

template <int R>
void OuterColumns(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t n,
                  int64_t k) {
  int64_t j = 0;
  for (; j + 2 * kVec <= n; j += 2 * kVec) OuterBlock<R, 2>(a, lda, b + j, ldb, c + j, ldc, k);
  for (; j + kVec <= n; j += kVec) OuterBlock<R, 1>(a, lda, b + j, ldb, c + j, ldc, k);
  for (; j < n; ++j) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float total = c[r * ldc + j];
      for (int64_t l = 0; l < k; ++l) total += a[r * lda + l] * b[l * ldb + j];
      c[r * ldc + j] = total;
    }
  }
}

}  // namespace

void Avx2GemmNt(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                int64_t k) {
  Dot(a, lda, b, ldb, c, ldc, m, n, k);
}

void Avx2GemmNn(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                int64_t k) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) OuterColumns<4>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
  for (; i < m; ++i) OuterColumns<1>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
}

void Avx2GemmF32(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc,
                 int64_t m, int64_t n, int64_t k) {
  if (w_dtype == DType::kBF16) return Dot(x, ldx, static_cast<const BF16*>(w), ldw, c, ldc, m, n, k);
  if (w_dtype == DType::kF16) return Dot(x, ldx, static_cast<const F16*>(w), ldw, c, ldc, m, n, k);
  Dot(x, ldx, static_cast<const float*>(w), ldw, c, ldc, m, n, k);
}

}  // namespace hadal::kernels::cpu
