// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/avx512_gemm.h"

#include "kernels/cpu/avx512_vec.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int kRows = 6;     // rows of x that share a load of w
constexpr int kColumns = 4;  // rows of w, that is columns of c, at a time
constexpr int64_t kPrefetchBytes = 512;

// The short loops over registers are unrolled by pragma: only then do the sums live in registers.
// c[R, C] = x[R, k] * w[C, k]^T: R * C running sums stay in registers.
template <typename T, int R, int C>
void DotBlock(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t k) {
  __m512 sum[R][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) sum[r][j] = _mm512_setzero_ps();
  }
  int64_t l = 0;
  for (; l + kVec <= k; l += kVec) {
    __m512 weight[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      weight[j] = Load(w + j * ldw + l);
      _mm_prefetch(reinterpret_cast<const char*>(w + j * ldw + l) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 value = Load(x + r * ldx + l);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = _mm512_fmadd_ps(value, weight[j], sum[r][j]);
    }
  }
  if (l < k) {
    const __mmask16 lanes = FirstLanes(k - l);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 value = Load(x + r * ldx + l, lanes);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = _mm512_fmadd_ps(value, Load(w + j * ldw + l, lanes), sum[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m128 sums = SumFour(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    if (C == 4) {
      _mm_storeu_ps(c + r * ldc, sums);
    } else {
      _mm_mask_storeu_ps(c + r * ldc, static_cast<__mmask8>((1 << C) - 1), sums);
    }
  }
}

// Rows of x inside columns of w: w comes from memory once, x stays in the cache.
template <typename T, int C>
void DotRows(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t k) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) DotBlock<T, kRows, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
  switch (m - i) {
    case 5:
      return DotBlock<T, 5, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 4:
      return DotBlock<T, 4, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 3:
      return DotBlock<T, 3, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 2:
      return DotBlock<T, 2, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 1:
      return DotBlock<T, 1, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    default:
      return;
  }
}

template <typename T>
void Dot(const float* x, int64_t ldx, const T* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n, int64_t k) {
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns) DotRows<T, kColumns>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
  for (; j < n; ++j) DotRows<T, 1>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
}

// c[R, V * 16] += a[R, k] * b[k, V * 16]; `last` masks the last register.
template <int R, int V>
void OuterBlock(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t k,
                __mmask16 last) {
  __m512 sum[R][V];
  const auto lanes = [&](int v) { return v == V - 1 ? last : static_cast<__mmask16>(0xFFFF); };
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[r][v] = Load(c + r * ldc + v * kVec, lanes(v));
  }
  for (int64_t l = 0; l < k; ++l) {
    __m512 row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] = Load(b + l * ldb + v * kVec, lanes(v));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 factor = _mm512_set1_ps(a[r * lda + l]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(factor, row[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) Store(c + r * ldc + v * kVec, sum[r][v], lanes(v));
  }
}

template <int R>
void OuterColumns(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t n,
                  int64_t k) {
  int64_t j = 0;
  for (; j + 4 * kVec <= n; j += 4 * kVec) OuterBlock<R, 4>(a, lda, b + j, ldb, c + j, ldc, k, 0xFFFF);
  for (; j < n; j += kVec) OuterBlock<R, 1>(a, lda, b + j, ldb, c + j, ldc, k, FirstLanes(n - j));
}

}  // namespace

void Avx512GemmNt(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k) {
  Dot(a, lda, b, ldb, c, ldc, m, n, k);
}

void Avx512GemmNn(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) OuterColumns<kRows>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
  for (; i + 2 <= m; i += 2) OuterColumns<2>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
  if (i < m) OuterColumns<1>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
}

void Avx512GemmF32(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc,
                   int64_t m, int64_t n, int64_t k) {
  if (w_dtype == DType::kBF16) return Dot(x, ldx, static_cast<const BF16*>(w), ldw, c, ldc, m, n, k);
  if (w_dtype == DType::kF16) return Dot(x, ldx, static_cast<const F16*>(w), ldw, c, ldc, m, n, k);
  Dot(x, ldx, static_cast<const float*>(w), ldw, c, ldc, m, n, k);
}

}  // namespace hadal::kernels::cpu
