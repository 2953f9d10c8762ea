// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Attention of DeepSeek-V4 (arXiv:2606.19348, section 2.3): all heads share one vector that
// is key and value. The query at position t sees the rows of the last window_tokens positions, its own included, and
// compressed entries that each stand for tokens_per_entry tokens. With a the scores and m their maximum:
//
//   a_s       = scale * q[t, h] . kv_s
//   out[t, h] = sum_s e^(a_s - m) * kv_s / (sum_s e^(a_s - m) + e^(sink[h] - m))
//
//   s: window rows of positions max(0, t - window_tokens + 1)..t;
//      entries j of selected[t] (-1: none), or without selected all with (j + 1) * tokens_per_entry <= t + 1
//
// The sink only enters the denominator. Rows and entries of this step are already in the caches. Two sets of block
// tables: window_batch's for the rows (columns wholly before the window are not read), `batch`'s for the entries, entry
// j in block table[j * r / block_tokens] at offset (j * r % block_tokens) / r with r = tokens_per_entry. Both describe
// the same queries. Selected entries are trusted to be visible and distinct.
// q, caches and out are f32, bf16 or f16, both caches of one type; strides are free except the last dimension of each.
// out must not overlap the inputs. Tolerance as for paged_attention.
struct HybridAttentionParams {
  TensorView q;         // [tokens, heads, dim]
  TensorView window;    // [blocks, block_tokens, dim]
  TensorView entries;   // optional [blocks, block_tokens / tokens_per_entry, dim]
  TensorView selected;  // optional i32 [tokens, k], contiguous; only with entries
  TensorView sink;      // f32 [heads]
  TensorView out;       // [tokens, heads, dim], written
  RaggedBatch window_batch;
  RaggedBatch batch;  // with entries
  int64_t window_tokens = 1;
  int64_t tokens_per_entry = 1;
  float scale = 1.0f;
};

absl::Status CheckHybridAttention(const HybridAttentionParams& params);

}  // namespace hadal::kernels
