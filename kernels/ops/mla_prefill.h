// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Copies the cached latent rows of each sequence, positions 0..context_lens[s]-1, one after another into a dense
// matrix: row kv_start[s] + p of `latent` is the row of position p. The input of kv_b_proj before mla_prefill.
// Only the batch's context_lens and block_tables matter. kv_start is the running sum of context_lens. Types f32,
// bf16, f16; exact.
struct MlaGatherParams {
  TensorView cache;     // [blocks, block_tokens, c + r]
  TensorView kv_start;  // i32 [sequences + 1], contiguous
  TensorView latent;    // [kv_tokens, c + r], written; kv_tokens = sum of context_lens
  RaggedBatch batch;
};

absl::Status CheckMlaGather(const MlaGatherParams& params);

// Multi-head latent attention in the naive form, for prefill (DeepSeek-V2, arXiv:2405.04434, section 2.1): keys and
// values expanded for every head, the rope key shared by all heads.
//
//   score     = scale * (q_nope[t, h] . k_nope[j, h] + q_pe[t, h] . k_pe[j])
//   out[t, h] = sum_j softmax_j(score) * v[j, h],   j = kv_start[s] .. kv_start[s] + position(t)
//
// 3.4 times fewer operations per pair than the absorbed form, but it pays only when the new tokens are many compared
// with the cached ones, because every cached latent is expanded. The batch's block_tables are not read. Rounding,
// types, strides and tolerance as for paged_attention; out must not overlap the inputs.
struct MlaPrefillParams {
  TensorView q_nope;    // [tokens, heads, n]
  TensorView q_pe;      // [tokens, heads, r]
  TensorView k_nope;    // [kv_tokens, heads, n]
  TensorView k_pe;      // [kv_tokens, r]
  TensorView v;         // [kv_tokens, heads, v_dim]
  TensorView kv_start;  // i32 [sequences + 1], contiguous: running sum of context_lens
  TensorView out;       // [tokens, heads, v_dim], written
  RaggedBatch batch;
  float scale = 1.0f;
};

absl::Status CheckMlaPrefill(const MlaPrefillParams& params);

}  // namespace hadal::kernels
