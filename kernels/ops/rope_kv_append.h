// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/ops/kv_append.h"
#include "kernels/ops/rms_norm.h"
#include "kernels/ops/rope.h"

namespace hadal::kernels {

// What happens between the projections of an attention layer and its attention, as one op: in this order
//
//   rms_norm(q_norm), rms_norm(k_norm), rope(rope), kv_append(append)
//
// A norm whose x is absent is left out. Every part keeps its own contract, and besides:
//
//   - norms work in place (out is x) on [tokens, heads, dim], without a residual
//   - rope.k is present and not turned back; rope.k and k_norm.x are columns of append.k's heads
//   - with q_norm, rope.q is columns of q_norm.x's heads; q may be absent altogether
//
// So a head is read once, normed, rotated, and written in place and to the cache. Examples:
//
//   GQA with a norm per head: q_norm.x = rope.q, k_norm.x = rope.k = append.k
//   MLA: k_norm.x and rope.k are the two column ranges of the latent rows append.k, which have one head
//
// Tolerance: as rms_norm where there is a norm, else as rope.
struct RopeKvAppendParams {
  RmsNormParams q_norm;  // optional
  RmsNormParams k_norm;  // optional
  RopeParams rope;
  KvAppendParams append;
};

absl::Status CheckRopeKvAppend(const RopeKvAppendParams& params);

// First column of `part` in the heads of `whole`, both [tokens, heads, *]; -1 if it is not columns of them.
int64_t ColumnOf(const TensorView& part, const TensorView& whole);

}  // namespace hadal::kernels
