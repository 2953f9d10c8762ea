// SPDX-License-Identifier: Apache-2.0
//
// The matrix products of KernelTable, written once over a vector type (portable_vec.h); as local to the including file
// as that type, see row_loops.h. The short loops over registers are unrolled by pragma: only then do the sums live in
// registers.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/half.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// How factors are loaded and multiplied: here w is widened on load, and products are summed in float32.
template <typename V, typename T>
struct FloatProduct {
  using Vec = V;
  using X = float;
  using W = T;
  using Factor = typename V::Register;
  using AllLanes = typename V::AllLanes;
  static constexpr int kStep = V::kLanes;         // values of k in a factor
  static constexpr int64_t kPrefetchBytes = 512;  // how far ahead weights of long rows are asked for

  static auto FirstLanes(int64_t n) { return V::FirstLanes(n); }
  template <typename U, typename L>
  static Factor Load(const U* p, L lanes) {
    return V::Load(p, lanes);
  }
  static typename V::Register MulAdd(Factor x, Factor w, typename V::Register sum) { return V::MulAdd(x, w, sum); }
};

// c[m, n] = x[m, k] * w[n, k]^T for a product P as above. A sum over k is made of parts of kDepthPart values, added in
// order, and each part of sums by lane; this order holds for every m and n, so that a row's results do not depend on
// its company.
template <typename P>
struct DotLoops {
  using V = typename P::Vec;
  using X = typename P::X;
  using W = typename P::W;
  static constexpr int kColumns = 4;  // rows of w, that is columns of c, at a time

  static constexpr int64_t kDepthPart = 2048;           // so that many rows of x stay in the second-level cache
  static constexpr int64_t kFewRows = 12;               // these do whatever k is
  static constexpr int64_t kShortRowsBytes = 64 << 10;  // of the weights of C columns

  static void Run(const X* x, int64_t ldx, const W* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k) {
    if (m <= kFewRows) {  // each row of w is read from end to end, as it lies in memory
      int64_t j = 0;
      for (; j + kColumns <= n; j += kColumns) Parts<kColumns>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, kColumns, k);
      for (; j < n; ++j) Parts<1>(x, ldx, w + j * ldw, ldw, c + j, ldc, m, 1, k);
    } else {
      Parts<kColumns>(x, ldx, w, ldw, c, ldc, m, n, k);
    }
  }

 private:
  // Which weights to ask for while a step is computed: those a little further on in each of its rows,
  struct SameRows {
    template <int C>
    void Prefetch(const W* w, int64_t ldw, int64_t) const {
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        __builtin_prefetch(reinterpret_cast<const char*>(w + j * ldw) + P::kPrefetchBytes);
      }
    }
  };
  // or, into the second-level cache, the next C rows as they lie in memory: with rows of a few KB the hardware's
  // prefetchers are still finding their way when a row ends.
  struct NextBlock {
    template <int C>
    void Prefetch(const W*, int64_t, int64_t l) const {
      constexpr int kLineBytes = 64, kBytes = C * P::kStep * static_cast<int>(sizeof(W));
      const char* lines = reinterpret_cast<const char*>(begin + C * l);
#pragma GCC unroll 8
      for (int i = 0; i < kBytes; i += kLineBytes) __builtin_prefetch(lines + i, 0, 2);
    }
    const W* begin;
  };

  // The parts of k one after another, for all m rows and, C at a time, n columns.
  template <int C>
  static void Parts(const X* x, int64_t ldx, const W* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n,
                    int64_t k) {
    const bool short_rows = C * ldw * static_cast<int64_t>(sizeof(W)) <= kShortRowsBytes;
    const bool in_order = n == C || k <= kDepthPart;  // one block of columns is read whole, then the next
    for (int64_t l = 0; l == 0 || l < k; l += kDepthPart) {
      const int64_t part = k - l < kDepthPart ? k - l : kDepthPart;
      int64_t j = 0;
      for (; j + C <= n; j += C) {
        if (short_rows && in_order) {
          const W* next = w + j * ldw + C * (ldw + l);
          Columns<C>(x + l, ldx, w + j * ldw + l, ldw, c + j, ldc, m, part, l > 0, NextBlock{next});
        } else {
          Columns<C>(x + l, ldx, w + j * ldw + l, ldw, c + j, ldc, m, part, l > 0, SameRows());
        }
      }
      for (; j < n; ++j) Columns<1>(x + l, ldx, w + j * ldw + l, ldw, c + j, ldc, m, part, l > 0, SameRows());
    }
  }

  // Rows of x inside columns of w: w comes from memory once, x stays in the cache. `add`: to what c holds.
  // `ahead`: a SameRows or NextBlock.
  template <int C, typename Ahead>
  static void Columns(const X* x, int64_t ldx, const W* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t k,
                      bool add, Ahead ahead) {
    int64_t i = 0;
    for (; i + V::kDotRows <= m; i += V::kDotRows) {
      Block<V::kDotRows, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, k, add, ahead);
    }
    LastRows<V::kDotRows - 1, C>(x + i * ldx, ldx, w, ldw, c + i * ldc, ldc, m - i, k, add, ahead);
  }

  // The last m rows, R at most.
  template <int R, int C, typename Ahead>
  static void LastRows(const X* x, int64_t ldx, const W* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t k,
                       bool add, Ahead ahead) {
    if constexpr (R > 0) {
      if (m == R) return Block<R, C>(x, ldx, w, ldw, c, ldc, k, add, ahead);
      LastRows<R - 1, C>(x, ldx, w, ldw, c, ldc, m, k, add, ahead);
    }
  }

  // R rows and C columns: R * C running sums stay in registers.
  template <int R, int C, typename Ahead>
  static void Block(const X* x, int64_t ldx, const W* w, int64_t ldw, float* c, int64_t ldc, int64_t k, bool add,
                    Ahead ahead) {
    typename V::Register sum[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = V::Set(0.0f);
    }
    const typename P::AllLanes all;
    int64_t l = 0;
    for (; l + P::kStep <= k; l += P::kStep) {
      typename P::Factor weight[C];
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) weight[j] = P::Load(w + j * ldw + l, all);
      ahead.template Prefetch<C>(w + l, ldw, l);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename P::Factor value = P::Load(x + r * ldx + l, all);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) sum[r][j] = P::MulAdd(value, weight[j], sum[r][j]);
      }
    }
    if (l < k) {
      const auto lanes = P::FirstLanes(k - l);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename P::Factor value = P::Load(x + r * ldx + l, lanes);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) sum[r][j] = P::MulAdd(value, P::Load(w + j * ldw + l, lanes), sum[r][j]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float sums[C];
      V::StoreSums(sum[r], add ? sums : c + r * ldc);
      if (!add) continue;
      for (int j = 0; j < C; ++j) c[r * ldc + j] += sums[j];
    }
  }
};

// c[m, n] += a[m, k] * b[k, n] in float32.
template <typename V>
struct OuterLoops {
  using AllLanes = typename V::AllLanes;

  static void Run(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k) {
    int64_t i = 0;
    for (; i + V::kOuterRows <= m; i += V::kOuterRows) {
      Rows<V::kOuterRows>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
    }
    for (; i + 2 <= m; i += 2) Rows<2>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
    if (i < m) Rows<1>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, n, k);
  }

 private:
  template <int R>
  static void Rows(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t n,
                   int64_t k) {
    constexpr int kRegisters = V::kOuterRegisters;
    int64_t j = 0;
    for (; j + kRegisters * V::kLanes <= n; j += kRegisters * V::kLanes) {
      Block<R, kRegisters>(a, lda, b + j, ldb, c + j, ldc, k, AllLanes());
    }
    for (; j + V::kLanes <= n; j += V::kLanes) Block<R, 1>(a, lda, b + j, ldb, c + j, ldc, k, AllLanes());
    if (j < n) Block<R, 1>(a, lda, b + j, ldb, c + j, ldc, k, V::FirstLanes(n - j));
  }

  // R rows of c, N registers of columns.
  template <int R, int N, typename L>
  static void Block(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t k,
                    L lanes) {
    typename V::Register sum[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[r][v] = V::Load(c + r * ldc + v * V::kLanes, lanes);
    }
    for (int64_t l = 0; l < k; ++l) {
      typename V::Register row[N];
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) row[v] = V::Load(b + l * ldb + v * V::kLanes, lanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename V::Register factor = V::Set(a[r * lda + l]);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[r][v] = V::MulAdd(factor, row[v], sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) V::Store(c + r * ldc + v * V::kLanes, sum[r][v], lanes);
    }
  }
};

// c[m, n] = x[m, k] * w[n, k]^T with the weights read as stored, by Products::Of<type of w>.
template <typename Products>
void GemmF32(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc, int64_t m,
             int64_t n, int64_t k) {
  const auto run = [&](const auto* weights) {
    DotLoops<typename Products::template Of<std::remove_cvref_t<decltype(*weights)>>>::Run(x, ldx, weights, ldw, c, ldc,
                                                                                           m, n, k);
  };
  if (w_dtype == DType::kBF16) return run(static_cast<const BF16*>(w));
  if (w_dtype == DType::kF16) return run(static_cast<const F16*>(w));
  run(static_cast<const float*>(w));
}

}  // namespace hadal::kernels::cpu
