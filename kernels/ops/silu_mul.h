// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// SwiGLU's middle: out = round(gate / (1 + exp(-gate)) * up), in float32, rounded once (Shazeer, arXiv:2002.05202; the
// rounding of silu before the product that the Hugging Face classes add is within tolerance). With a limit L > 0 gate
// is cut to min(gate, L) and up to [-L, L] first (5.9.5); NaN stays NaN.
//
// gate, up and out share one shape and may differ in type (f32, bf16, f16) and row stride; halves of one
// [tokens, 2 * inter] are two Slices. out may be gate or up itself. Tolerance: f32 1e-5 relative (exp approximation),
// half types 1 unit in the last place.
struct SiluMulParams {
  TensorView gate;  // [tokens, inter]
  TensorView up;    // [tokens, inter]
  TensorView out;   // [tokens, inter], written
  float limit = 0;  // 0: none
};

absl::Status CheckSiluMul(const SiluMulParams& params);

}  // namespace hadal::kernels
