// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/context.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// The rows of x in the form that the inner loops read.
struct PreparedX {
  TensorView rows;               // [m, k]: f32, or bf16 when multiplied as bf16
  const BF16* packed = nullptr;  // the same in AMX order; rows is then used for its sizes only

  // Rows [begin, begin + count); begin is a multiple of 16 when packed.
  PreparedX Slice(int64_t begin, int64_t count) const;
};

// How a product of these types over k values is computed. The number of rows has no say: a row gets the same sums, to
// the last bit, alone and next to others.
enum class GemmPath { kFloat, kBf16, kAmx };
GemmPath ChooseGemmPath(const Context& context, DType x, DType w, int64_t k);

// Brings x into that form: as it is, or converted into `scratch`, by all workers (Prepare) or the calling one.
PreparedX PrepareX(Context& context, const TensorView& x, GemmPath path);
PreparedX PrepareXHere(const KernelTable& table, const TensorView& x, GemmPath path, Scratch& scratch);

// A matrix product over some output columns, as one worker does it: out[m, n] = x[m, k] * w[n, k]^T (+ bias) (+ out).
struct GemmTile {
  PreparedX x;
  TensorView w;     // [n, k]
  TensorView bias;  // optional [n]
  TensorView out;   // [m, n]
  bool accumulate = false;
};

// Columns of w that one piece of work covers.
int64_t ColumnGrain(const Context& context, int64_t m, int64_t n, int64_t k);

// Runs on the calling worker.
void RunGemmTile(const Context& context, Scratch& scratch, const GemmTile& tile);

// The bare product c[m, n] = x[m, k] * w[n, k]^T in float32, for attention: few columns at a time, read once more by
// the caller. On the calling worker.
void MultiplyTile(const Context& context, Scratch& scratch, const PreparedX& x, const TensorView& w, float* c,
                  int64_t ldc);

}  // namespace hadal::kernels::cpu
