// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/kernel_table.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int kRows = 6;            // rows of x that share a load of w
constexpr int kColumns = 4;         // rows of w, that is columns of c, at a time
constexpr int kPairVec = 2 * kVec;  // bf16 values in a register
constexpr int64_t kPrefetchBytes = 1024;

__m512bh LoadPairs(const BF16* p) { return (__m512bh)_mm512_loadu_si512(p); }
__m512bh LoadPairs(const BF16* p, __mmask32 lanes) { return (__m512bh)_mm512_maskz_loadu_epi16(lanes, p); }

// The short loops over registers are unrolled by pragma: only then do the sums live in registers.
// c[R, C] = x[R, k] * w[C, k]^T by vdpbf16ps, which adds pairs of products to float32 sums.
template <int R, int C>
void DotBlock(const BF16* x, int64_t ldx, const BF16* w, int64_t ldw, float* c, int64_t ldc, int64_t k) {
  __m512 sum[R][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) sum[r][j] = _mm512_setzero_ps();
  }
  int64_t l = 0;
  for (; l + kPairVec <= k; l += kPairVec) {
    __m512bh weight[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      weight[j] = LoadPairs(w + j * ldw + l);
      _mm_prefetch(reinterpret_cast<const char*>(w + j * ldw + l) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512bh value = LoadPairs(x + r * ldx + l);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], value, weight[j]);
    }
  }
  if (l < k) {
    const __mmask32 lanes = (1u << (k - l)) - 1;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512bh value = LoadPairs(x + r * ldx + l, lanes);
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], value, LoadPairs(w + j * ldw + l, lanes));
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
template <int C>
void DotRows(const BF16* x, int64_t ldx, const BF16* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t k) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) DotBlock<kRows, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
  switch (m - i) {
    case 5:
      return DotBlock<5, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 4:
      return DotBlock<4, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 3:
      return DotBlock<3, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 2:
      return DotBlock<2, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    case 1:
      return DotBlock<1, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k);
    default:
      return;
  }
}

void GemmBf16(const BF16* x, int64_t ldx, const BF16* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n,
              int64_t k) {
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns) DotRows<kColumns>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
  for (; j < n; ++j) DotRows<1>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, k);
}

}  // namespace

const KernelTable& Avx512Bf16Table() {
  static const KernelTable table = [] {
    KernelTable t = Avx512Table();
    t.gemm_bf16 = GemmBf16;
    return t;
  }();
  return table;
}

}  // namespace hadal::kernels::cpu
