// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/context.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// A matrix product over some output columns, as one worker does it: out[m, n] = x[m, k] * w[n, k]^T (+ bias) (+ out).
struct GemmTile {
  TensorView x;     // [m, k], of the type that PreparedX gives
  TensorView w;     // [n, k]
  TensorView bias;  // optional [n]
  TensorView out;   // [m, n]
  bool accumulate = false;
};

// True when rows of x are multiplied as bf16, without going through float32.
bool UsesBf16Kernel(const Context& context, DType x, DType w);

// x in the type the inner loops read: x itself, or a float32 copy in the context's shared scratch.
TensorView PreparedX(Context& context, const TensorView& x, DType w_dtype);

// Columns of w that one piece of work covers.
int64_t ColumnGrain(const Context& context, int64_t m, int64_t n, int64_t k);

// Runs on the calling worker.
void RunGemmTile(const Context& context, Scratch& scratch, const GemmTile& tile);

}  // namespace hadal::kernels::cpu
