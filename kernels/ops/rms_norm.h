// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Root mean square norm over the last dimension, rounded as in the Hugging Face classes (Zhang and
// Sennrich, arXiv:1910.07467):
//
//   residual present:  s = round_r(residual + x), stored to residual; else s = x
//   r   = s * rsqrt(mean(s^2) + eps)        in float32
//   out = round_out(weight * round_x(r))    round_x rounds to the type of x (no rounding in float32)
//   out = round_out(weight * r)             with float32_product, as DeepSeek-V4 does
//   out = round_out(r)                      without a weight
//
// x, residual, weight and out are f32, bf16 or f16; row strides are free. x may be [rows, dim] or [rows, heads, dim]
// (a norm per head); all of x, residual and out have the same shape. out may be x itself (same data and strides), or
// not overlap it. With residual, `out` may be absent: then only the sum is stored. eps >= 0; dim >= 1.
// Tolerance against the reference: f32 1e-5 relative (summation order); bf16, f16: 2 units in the last place, since the
// inner rounding may fall on the other side.
struct RmsNormParams {
  TensorView x;
  TensorView residual;  // optional, read and written
  TensorView weight;    // optional [dim]
  TensorView out;       // written
  float eps = 1e-6f;
  bool float32_product = false;  // r is not rounded before the product with the weight
};

absl::Status CheckRmsNorm(const RmsNormParams& params);

}  // namespace hadal::kernels
