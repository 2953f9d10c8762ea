// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matrix_loops.h"

namespace hadal::kernels::cpu {
namespace {

// vdpbf16ps adds pairs of products to float32 sums.
struct Bf16Product {
  using Vec = Avx512Vec;
  using X = BF16;
  using W = BF16;
  using Factor = __m512bh;
  struct AllLanes {};
  static constexpr int kStep = 2 * Avx512Vec::kLanes;
  static constexpr int64_t kPrefetchBytes = 1024;

  static __mmask32 FirstLanes(int64_t n) { return (1u << n) - 1; }
  static Factor Load(const BF16* p, AllLanes) { return (__m512bh)_mm512_loadu_si512(p); }
  static Factor Load(const BF16* p, __mmask32 lanes) { return (__m512bh)_mm512_maskz_loadu_epi16(lanes, p); }
  static __m512 MulAdd(Factor x, Factor w, __m512 sum) { return _mm512_dpbf16_ps(sum, x, w); }
};

}  // namespace

const KernelTable& Avx512Bf16Table() {
  static const KernelTable table = [] {
    KernelTable t = Avx512Table();
    t.gemm_bf16 = DotLoops<Bf16Product>::Run;
    return t;
  }();
  return table;
}

}  // namespace hadal::kernels::cpu
