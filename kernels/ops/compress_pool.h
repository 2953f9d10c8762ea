// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/ops/ragged_batch.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Pools groups of `ratio` tokens into one entry each (DeepSeek-V4, arXiv:2606.19348, sections 2.3.1 and
// 2.3.2), before norm and rotation. Every token has a value row u and a gate row g;
// entry j of a sequence, for each channel apart:
//
//   out[c] = sum_i softmax_i(g_i[c] + position_bias[p_i mod ratio][c]) * u_i[c],   p_i = ratio * j .. ratio * j + ratio
//   - 1
//
// With overlap the rows hold two series of dim channels each. Entry j pools the second series of its own group and the
// first series of the group before it (2 * ratio rows); entry 0 has no group before it.
//
// The rows of the step's own tokens are in step_rows; those of older tokens in a paged cache whose blocks stand for
// block_tokens tokens and hold `rows` of them in a cycle: position p at row (p % block_tokens) % rows. What an entry
// reads must be among the newest rows of each block; step_rows may be appended only after this op.
//
// Entries may be any of any sequences. Block ids, sequences and entry numbers are the caller's own and trusted. No
// entries: no work. out is f32, bf16 or f16.
// Tolerance: 1e-5 of the largest |u| (exp, order of additions), half types 1 unit in the last place of that.
struct CompressPoolParams {
  TensorView rows;           // f32 [blocks, rows, 2, width]: u, then g; width = dim or, with overlap, 2 * dim
  TensorView step_rows;      // f32 [tokens, 2, width]
  TensorView position_bias;  // f32 [ratio, width], contiguous
  TensorView sequences;      // i32 [entries], contiguous
  TensorView entries;        // i32 [entries], contiguous: number of the entry in its sequence
  TensorView out;            // [entries, dim], written
  RaggedBatch batch;         // the step, with the block tables of `rows`
  int64_t block_tokens = 1;
  bool overlap = false;
};

absl::Status CheckCompressPool(const CompressPoolParams& params);

}  // namespace hadal::kernels
