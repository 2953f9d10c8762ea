// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Layer norm over the last dimension (Ba et al., arXiv:1607.06450): of the indexer's keys
// (DeepSeek-V3.2, arXiv:2512.02556, section 2.1).
//
//   out = round_out((x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps) * weight + bias)     in float32
//
// x, weight, bias and out are f32, bf16 or f16; row strides are free. out may be x itself (same data and strides), or
// not overlap it. eps >= 0; dim >= 1. Tolerance against the reference: f32 1e-5 relative to the terms (summation
// order), bf16 and f16 1 unit in the last place.
struct LayerNormParams {
  TensorView x;       // [rows, dim]
  TensorView weight;  // [dim]
  TensorView bias;    // [dim]
  TensorView out;     // [rows, dim], written
  float eps = 1e-6f;
};

absl::Status CheckLayerNorm(const LayerNormParams& params);

}  // namespace hadal::kernels
