// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// The lightning indexer of sparse attention (DeepSeek-V3.2, arXiv:2512.02556, section 2.1; DeepSeek-V4,
// arXiv:2606.19348, section 2.3.1): which cached entries each query attends to.
//
//   I[t, j]        = sum_h weights[t, h] * relu(q[t, h] . keys[j])      in float32, relu(NaN) = 0
//   selected[t, :] = the top_k visible entries of largest I[t, :] in rising order of j, then -1
//
// An entry stands for r = tokens_per_entry tokens: 1 in V3.2, 4 in V4. Entry j of a sequence lies in cache block
// block_tables[s][j * r / block_tokens] at offset j * r % block_tokens / r, where block_tokens = r * keys.size(1), and
// is visible to the query at position p when (j + 1) * r <= p + 1. A query that sees no more than top_k entries lists
// all of them, unscored; one that sees none lists -1 only. Equal scores: the lower entry wins; a score of NaN counts as
// minus infinity. A positive factor common to all heads changes nothing and is left out.
//
// q and keys are f32, bf16 or f16; strides free except the last dimension. Scratch is bounded: scores are made for a
// tile of queries at a time. Tolerance: a choice, exact up to the order of the float32 additions at near-ties.
struct IndexTopKParams {
  TensorView q;         // [tokens, heads, dim]
  TensorView weights;   // f32 [tokens, heads]
  TensorView keys;      // [blocks, block_tokens / tokens_per_entry, dim]
  TensorView selected;  // i32 [tokens, top_k], written
  RaggedBatch batch;
  int64_t tokens_per_entry = 1;
};

absl::Status CheckIndexTopK(const IndexTopKParams& params);

}  // namespace hadal::kernels
