// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// The matrix entries of the AVX-512 kernel table; see KernelTable for what they compute.
void Avx512GemmNt(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k);
void Avx512GemmNn(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t m, int64_t n,
                  int64_t k);
void Avx512GemmF32(DType w_dtype, const float* x, int64_t ldx, const void* w, int64_t ldw, float* c, int64_t ldc,
                   int64_t m, int64_t n, int64_t k);

}  // namespace hadal::kernels::cpu
