// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Multi-head latent attention in the absorbed form (DeepSeek-V2, arXiv:2405.04434, section 2.1): all heads share one
// key, the cached latent with its rope part, and the value is the latent itself.
//
//   score    = scale * (q_lat[t, h] . cache[p][:c] + q_pe[t, h] . cache[p][c:])
//   o_lat[t, h] = sum_p softmax_p(score) * cache[p][:c],   p = 0..position(t)
//
// With `selected` (sparse attention, arXiv:2512.02556, section 2.1) p runs over the positions that row t lists instead:
// at least one, none after position(t), each once, then -1 to the end; index_top_k makes such lists.
//
// Any mix of prefill chunks and decode tokens; this step's rows are already in the cache. Scores, softmax and sums in
// float32, one rounding to o_lat. Types f32, bf16, f16; strides free except the last dimension of each. o_lat must not
// overlap the inputs. Tolerance as for paged_attention.
struct MlaAttentionParams {
  TensorView q_lat;  // [tokens, heads, c]
  TensorView q_pe;   // [tokens, heads, r]
  TensorView cache;  // [blocks, block_tokens, c + r]
  TensorView o_lat;  // [tokens, heads, c], written
  RaggedBatch batch;
  float scale = 1.0f;
  TensorView selected;  // optional i32 [tokens, k]
  // Other rows over this cache come with `selected`, and a row that lists all its positions must be equal to one
  // without a list: a batch-invariant backend then uses one kernel for both.
  bool may_select = false;
};

absl::Status CheckMlaAttention(const MlaAttentionParams& params);

}  // namespace hadal::kernels
