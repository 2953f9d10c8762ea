// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/ops/sample.h"

namespace hadal::kernels::cpu {

// The token that row asks for, from z[vocab] (penalties, bias and mask applied, at least one value above -infinity,
// no NaN). weights[vocab] and ids[vocab] are scratch.
int32_t DrawToken(const KernelTable& table, const SampleRowParams& row, const float* z, int64_t vocab, float* weights,
                  int32_t* ids);

// Index of the largest value, the lowest one among equals.
int64_t ArgMax(const KernelTable& table, const float* z, int64_t n);

}  // namespace hadal::kernels::cpu
