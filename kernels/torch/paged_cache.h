// SPDX-License-Identifier: Apache-2.0
//
// Rows of a paged cache in the order of their positions. Fused kernels of libtorch take no block tables, so what a
// sequence sees is gathered first.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "kernels/ops/ragged_batch.h"

namespace hadal::kernels::torch {

// Elements of scores that are held at a time; queries are walked in pieces of so many.
inline constexpr int64_t kScoreValues = int64_t{16} << 20;

inline int64_t QueriesAtOnce(int64_t scores_of_one) {
  return std::max<int64_t>(1, kScoreValues / std::max<int64_t>(1, scores_of_one));
}

// Positions [begin, end), at least one, of a sequence, from cache [blocks, block_tokens, ...]: dense rows
// [end - begin, ...].
inline at::Tensor CachedRows(const at::Tensor& cache, const at::Tensor& block_tables, int64_t sequence, int64_t begin,
                             int64_t end) {
  const int64_t block_tokens = cache.size(1), first = begin / block_tokens;
  const int64_t columns = (end - 1) / block_tokens + 1 - first;
  const at::Tensor ids = block_tables.select(0, sequence).narrow(0, first, columns);
  return cache.index_select(0, ids).flatten(0, 1).narrow(0, begin - first * block_tokens, end - begin);
}

// The query rows of one sequence of a step.
struct QueryRange {
  int64_t sequence = 0;
  int64_t begin = 0, count = 0;  // rows
  int64_t first_position = 0;    // of the first row
  int64_t context_tokens = 0;
};

// Calls visit(QueryRange) for each sequence with query rows.
template <typename Visit>
void ForEachSequence(const RaggedBatch& batch, Visit visit) {
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t begin = batch.host_query_start[s], count = batch.host_query_start[s + 1] - begin;
    const int64_t context = batch.host_context_lens[s];
    if (count > 0) visit(QueryRange{s, begin, count, context - count, context});
  }
}

}  // namespace hadal::kernels::torch
