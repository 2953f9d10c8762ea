// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// The inner loops, compiled for each instruction set. All work on dense rows of `n` values without alignment
// demands; n may be 0. Sums may be taken in any order; NaN in, NaN out. An entry that an instruction set does not
// improve is that of the set below it.
struct KernelTable {
  void (*to_f32)(DType dtype, const void* x, float* out, int64_t n);
  void (*from_f32)(DType dtype, const float* x, void* out, int64_t n);
  float (*sum_squares)(const float* x, int64_t n);
  float (*max)(const float* x, int64_t n);                             // -infinity for n = 0; NaN may be lost
  float (*exp_sum)(float* x, float shift, int64_t n);                  // x = exp(x - shift), returns the sum
  void (*scale)(float factor, const float* x, float* out, int64_t n);  // out = factor * x
  void (*mul)(const float* x, const float* y, float* out, int64_t n);  // out = x * y
  void (*add)(const float* x, const float* y, float* out, int64_t n);  // out = x + y
  void (*axpy)(float factor, const float* x, float* y, int64_t n);     // y += factor * x
  void (*silu_mul)(const float* gate, const float* up, float* out, int64_t n);

  // Small matrices in float32, for attention. c[m, n] = a[m, k] * b[n, k]^T;  c[m, n] += a[m, k] * b[k, n].
  void (*gemm_nt)(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k);
  void (*gemm_nn)(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k);

  // c[m, n] = x[m, k] * w[n, k]^T with the weights read as stored, f32, bf16 or f16.
  void (*gemm_f32)(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc,
                   int64_t m, int64_t n, int64_t k);
  // The same for bf16 times bf16; null where gemm_f32 is the way.
  void (*gemm_bf16)(const BF16* x, int64_t ldx, const BF16* w, int64_t ldw, float* c, int64_t ldc, int64_t m, int64_t n,
                    int64_t k);
};

enum class Isa;  // isa.h; this header stays narrow, since files for an instruction set include it

// The table for an instruction set that the machine has.
const KernelTable& TableFor(Isa isa);

const KernelTable& PortableTable();
const KernelTable& Avx2Table();
const KernelTable& Avx512Table();
const KernelTable& Avx512Bf16Table();

}  // namespace hadal::kernels::cpu
