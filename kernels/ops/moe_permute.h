// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Sorts the (token, choice) pairs by expert and copies each token's row to its places. The order is by expert, then by
// token, then by choice, so it does not depend on timing. Exact.
//
// ids outside [0, experts) are not allowed (moe_route never gives them). x and x_sorted have one type (f32, bf16, f16).
struct MoePermuteParams {
  TensorView ids;       // i32 [tokens, top_k], contiguous
  TensorView x;         // [tokens, hidden], row stride free
  TensorView x_sorted;  // [tokens * top_k, hidden], written
  TensorView row_of;    // i32 [tokens, top_k], contiguous, written: row of x_sorted that holds this pair
  TensorView
      expert_start;  // i32 [experts + 1], contiguous, written: expert e owns rows [expert_start[e], expert_start[e+1])
};

absl::Status CheckMoePermute(const MoePermuteParams& params);

// out[t] = addend[t] + sum over the pairs of t of weights[t, j] * y_sorted[row_of[t, j]], in float32, added in the
// order of the sorted rows (expert order), rounded once. addend is the shared expert's output. Types f32, bf16, f16,
// each view its own; row strides free. out may be addend itself, and must not overlap y_sorted. Tolerance: f32 1e-5
// relative to the largest term, half types 1 unit in the last place (contraction).
struct MoeUnpermuteParams {
  TensorView y_sorted;  // [tokens * top_k, hidden]
  TensorView row_of;    // i32 [tokens, top_k], contiguous
  TensorView weights;   // f32 [tokens, top_k], contiguous
  TensorView addend;    // optional [tokens, hidden]
  TensorView out;       // [tokens, hidden], written
};

absl::Status CheckMoeUnpermute(const MoeUnpermuteParams& params);

}  // namespace hadal::kernels
