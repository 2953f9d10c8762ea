// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Manifold-constrained hyper-connections (DeepSeek-V4, arXiv:2606.19348, section 2.2): the
// residual state of a token is n streams X of `hidden` values. Before a sublayer they are collapsed into its input,
// after it its output is spread over them. All in float32, one rounding to out and streams.

inline constexpr int64_t kMaxHyperStreams = 16;

// With m = mixes * rsqrt(mean(X^2) + norm_eps), the mean over all n * hidden values:
//
//   pre_i  = sigmoid(m_i * scale[0] + base_i) + eps
//   post_j = 2 * sigmoid(m_{n+j} * scale[1] + base_{n+j})
//   C      = softmax over k of (m_{2n+jn+k} * scale[2] + base_{2n+jn+k}) + eps;   C_jk /= sum_j C_jk + eps
//   then sinkhorn_iterations - 1 times:   C_jk /= sum_k C_jk + eps;   C_jk /= sum_j C_jk + eps
//   out    = sum_i pre_i * X_i
//
// Without post and comb only pre exists: mixes has n columns, scale one value (the collapse before the output norm).
// streams and out are f32, bf16 or f16; out must not overlap streams. 1 <= n <= 16, sinkhorn_iterations >= 1.
// Tolerance: f32 1e-4 relative (exp, order of additions), half types 1 unit in the last place.
struct HyperCollapseParams {
  TensorView streams;  // [tokens, n, hidden]
  TensorView mixes;    // f32 [tokens, (2 + n) * n] or [tokens, n]: the product of fn with the flattened streams
  TensorView base;     // f32, as many values as mixes has columns
  TensorView scale;    // f32 [3] or [1]
  TensorView out;      // [tokens, hidden], written
  TensorView post;     // optional f32 [tokens, n], contiguous, written
  TensorView comb;     // optional f32 [tokens, n, n], contiguous, written
  float norm_eps = 1e-6f;
  float eps = 1e-6f;
  int64_t sinkhorn_iterations = 1;
};

absl::Status CheckHyperCollapse(const HyperCollapseParams& params);

// X'_j = post_j * x + sum_i comb_ij * X_i: comb enters transposed, the sum is over its first index.
// streams and x are f32, bf16 or f16 and do not overlap. Tolerance: f32 1e-5 of the largest term, half types 1 unit in
// the last place (contraction).
struct HyperExpandParams {
  TensorView streams;  // [tokens, n, hidden], read and written
  TensorView x;        // [tokens, hidden]: the sublayer's output
  TensorView post;     // f32 [tokens, n], contiguous
  TensorView comb;     // f32 [tokens, n, n], contiguous
};

absl::Status CheckHyperExpand(const HyperExpandParams& params);

}  // namespace hadal::kernels
