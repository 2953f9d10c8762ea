// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Causal grouped-query attention over a paged cache; prefill chunks and decode tokens in one ragged batch. The keys and
// values of this step are already in the cache (kv_append). Query head h uses kv head h / (heads / kv_heads).
//
//   out[t, h] = sum_p softmax_p(scale * q[t, h] . k[p]) * v[p],  p = 0..position(t)
//
// Scores, softmax and sums in float32 (online softmax), one rounding to out. q, k_cache, v_cache and out are f32, bf16
// or f16, the caches of one type; strides are free except the last dimension of each. heads is a multiple of kv_heads.
// out may be q when v_dim == head_dim, types and strides agree; else no overlap.
// Tolerance, relative to max |v|: f32 2e-5 (order of additions, exp), f16 2e-3, bf16 1.6e-2 (output rounding, and
// devices may round the probabilities to the cache type before the second product).
struct PagedAttentionParams {
  TensorView q;        // [tokens, heads, head_dim]
  TensorView k_cache;  // [blocks, block_tokens, kv_heads, head_dim]
  TensorView v_cache;  // [blocks, block_tokens, kv_heads, v_dim]
  TensorView out;      // [tokens, heads, v_dim], written
  RaggedBatch batch;
  float scale = 1.0f;
};

absl::Status CheckPagedAttention(const PagedAttentionParams& params);

}  // namespace hadal::kernels
