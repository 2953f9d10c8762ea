// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

enum class RopeLayout {
  kHalfSplit,    // pairs (x[i], x[i + d/2]): llama, qwen, deepseek-llm
  kInterleaved,  // pairs (x[2i], x[2i + 1]): the MLA rope part of V2 and V3
};

// Rotary position embedding, in place (Su et al., arXiv:2104.09864): for each pair (a, b) with c, s from the tables'
// row positions[t], (a, b) := (a*c - b*s, b*c + a*s), computed in float32, rounded once. d = 2 * columns of the tables;
// the first d values of each head are rotated, the rest stay. To rotate a later part pass a Slice of the last
// dimension. `inverse` rotates back: s is negated.
//
// q and k are f32, bf16 or f16 with free strides except the last; either may be absent. A position outside the tables
// leaves its row unchanged: the tables must cover the model's length. Tolerance: f32 1e-6, half types 1 unit in the
// last place (contraction to fused multiply-add).
struct RopeParams {
  TensorView q;          // [tokens, heads, dim], optional, read and written
  TensorView k;          // [tokens, kv_heads, dim], optional, read and written
  TensorView positions;  // i32 [tokens]
  TensorView cos;        // f32 [max_positions, d / 2], contiguous
  TensorView sin;        // f32, the same shape
  RopeLayout layout = RopeLayout::kHalfSplit;
  bool inverse = false;
};

absl::Status CheckRope(const RopeParams& params);

}  // namespace hadal::kernels
