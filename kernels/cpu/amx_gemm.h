// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/half.h"

namespace hadal::kernels::cpu {

// bf16 matrix products on AMX tiles. The weights are the left factor and are read as stored, row by row; x is the right
// factor and is rearranged once. Results come out transposed and are turned back 16 x 16 at a time.

// Rows of x that one call of AmxGemm takes at most.
inline constexpr int64_t kAmxMaxRows = 512;

// Size of the rearranged x, in values.
inline int64_t AmxPackedSize(int64_t m, int64_t k) { return (m + 15) / 16 * 16 * ((k + 31) / 32 * 32); }

// Rearranges rows [16 * begin, 16 * end) of x[m, k]; blocks may be done in parallel.
void AmxPack(const BF16* x, int64_t ldx, int64_t m, int64_t k, int64_t begin, int64_t end, BF16* packed);

// Scratch floats for AmxGemm over n columns.
int64_t AmxScratchFloats(int64_t m, int64_t n);

// c[m, n] = x[first_row .. first_row + m, k] * w[n, k]^T with x packed by AmxPack; first_row is a multiple of 16 and m
// at most kAmxMaxRows.
void AmxGemm(const BF16* packed, int64_t first_row, int64_t m, int64_t k, const BF16* w, int64_t ldw, int64_t n,
             float* c, int64_t ldc, float* scratch);

}  // namespace hadal::kernels::cpu
