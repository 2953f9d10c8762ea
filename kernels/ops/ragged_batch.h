// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// Which query rows belong to which sequence, and where the keys of that sequence lie. Sequence s owns the query rows
// [query_start[s], query_start[s+1]); they are its newest tokens, so query row i of n has position
// context_lens[s] - n + i and sees the keys of positions 0..that (causal). A sequence without query rows is legal.
//
// Token position p of sequence s lies in cache block block_tables[s][p / block_tokens] at offset p % block_tokens.
// Block ids are the engine's own and are trusted; entries past the context are not read.
//
// The host copies hold the same values as the device arrays. They let any device plan its launch without reading back,
// and they are what the Check functions validate. They need to live until the call returns.
struct RaggedBatch {
  TensorView query_start;   // i32 [sequences + 1], contiguous
  TensorView context_lens;  // i32 [sequences], contiguous; tokens in the cache, this step's included
  TensorView block_tables;  // i32 [sequences, blocks], row stride free
  absl::Span<const int32_t> host_query_start;
  absl::Span<const int32_t> host_context_lens;

  int64_t sequences() const { return static_cast<int64_t>(host_context_lens.size()); }
  int64_t tokens() const { return host_query_start.empty() ? 0 : host_query_start.back(); }
};

// InvalidArgument when the shapes disagree, query_start does not rise from 0 to `tokens`, a context is shorter than its
// queries, or (with block_tokens > 0) the block table has too few columns for a context.
absl::Status CheckRaggedBatch(absl::string_view op, const RaggedBatch& batch, int64_t tokens, int64_t block_tokens);

}  // namespace hadal::kernels
