// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"
#include "kernels/weight_view.h"

namespace hadal::kernels {

// out[m, n] = x[m, k] * w[n, k]^T (+ bias[n]) (+ out when accumulate), the linear layer of a checkpoint as
// it is stored.
//
// x, bias, out and a plain w are f32, bf16 or f16 in any combination; products of the stored values are summed in
// float32 and rounded once to out. (Mixed types are widened, never narrowed.)
// Row strides of x, w and out are free, so a slice of a fused weight or output works. out must not
// overlap x or w. m, n or k of 0 is legal; k = 0 gives the bias.
// Tolerance, relative to sum |x||w| of the element: f32 1e-5 (order of k additions), f16 1e-3, bf16 8e-3 (one rounding
// of the output, 2^-11 and 2^-8, with room for the order).
struct GemmParams {
  TensorView x;     // [m, k]
  WeightView w;     // [n, k]
  TensorView bias;  // optional [n]
  TensorView out;   // [m, n], written; read too when accumulate
  bool accumulate = false;
};

absl::Status CheckGemm(const GemmParams& params);

// out[t, h, :] = w[h] * x[t, h, :] for each head h: the absorbed projections of multi-head latent attention
// (DeepSeek-V2, arXiv:2405.04434, section 2.1.2). w[h] is [n, k]: with W_UV rows of kv_b_proj it is used as stored; for
// q_lat = q_nope * W_UK set `transpose_w`, and w[h] is read as [k, n].
//
// Types, rounding and tolerance as for gemm. All strides but the last of x, w and out are free; the last dimension of
// each is dense. out must not overlap x or w.
struct BatchedGemmParams {
  TensorView x;    // [tokens, heads, k]
  WeightView w;    // [heads, n, k], or [heads, k, n] with transpose_w
  TensorView out;  // [tokens, heads, n], written
  bool transpose_w = false;
};

absl::Status CheckBatchedGemm(const BatchedGemmParams& params);

}  // namespace hadal::kernels
