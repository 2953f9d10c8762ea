// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/context.h"
#include "kernels/ops/ragged_batch.h"

namespace hadal::kernels::cpu {

// Causal attention with an online softmax (Milakov and Gimelshein, arXiv:1805.02867) over tiles, in float32. What
// differs between grouped-query, latent and expanded attention is how queries and keys are fetched.
//
// Query heads are taken in groups that share keys: kv heads with their query heads, or tiles of MLA's heads.
struct AttentionSource {
  int64_t groups = 0;
  int64_t group_heads = 0;  // query heads of a group; the last group may have fewer
  int64_t heads = 0;        // of all groups
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  bool value_in_key = false;  // values are the first value_dim columns of the keys
  // The queries of one token's heads [first, first + count), times the softmax scale: out [count, key_dim].
  absl::FunctionRef<void(int64_t token, int64_t first_head, int64_t count, float* out)> load_query;
  // Keys [count, key_dim] and, unless value_in_key, values [count, value_dim] of positions first..first+count-1.
  absl::FunctionRef<void(int64_t sequence, int64_t group, int64_t first, int64_t count, float* keys, float* values)>
      load_keys;
  // Results of one token's heads: [count, value_dim].
  absl::FunctionRef<void(int64_t token, int64_t first_head, int64_t count, const float* results)> store;
};

// Work is spread over sequences, groups, tiles of queries and, when those are too few for the threads, ranges of keys.
void RunAttention(Context& context, const RaggedBatch& batch, const AttentionSource& source);

}  // namespace hadal::kernels::cpu
