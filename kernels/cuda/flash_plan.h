// SPDX-License-Identifier: Apache-2.0
//
// Which attention calls FlashInfer's kernels take, and what they want to know about a batch. Host arithmetic only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cuda/flashinfer.h"
#include "kernels/ops/mla_attention.h"
#include "kernels/ops/paged_attention.h"

namespace hadal::kernels::cuda {

// The pages of a batch in FlashInfer's terms: those of sequence s are [first_page[s], first_page[s + 1]) of one list,
// and the last of them holds last_page_tokens[s] tokens.
struct FlashPages {
  std::vector<int32_t> first_page;        // [sequences + 1]
  std::vector<int32_t> last_page_tokens;  // [sequences]
  int64_t pages() const { return first_page.back(); }
};

// InvalidArgument cannot happen: the batch has passed its check. Nothing when there are more pages than an int32
// counts.
std::optional<FlashPages> PlanPages(const RaggedBatch& batch, int64_t block_tokens);

// The launch without its device lists, or nothing when FlashInfer has no kernel for it: then the generic kernel serves.
// Taken are bf16 and f16, everything of one type, 16-byte aligned rows, strides and the offsets of rows below 2^31;
// paged attention with heads of 64 or 128, out contiguous and apart from q; MLA with 512 + 64 and a number of heads
// that divides its tile of packed rows (FlashInfer's causal bound forgets a token that only begins in a tile).
std::optional<FlashPagedLaunch> PlanFlashPaged(const PagedAttentionParams& params);
std::optional<FlashMlaLaunch> PlanFlashMla(const MlaAttentionParams& params, bool batch_invariant);

// A plan and the words that its offsets point into, to be put on the device as they are. Partial sums take float_bytes.
struct FlashPagedLists {
  std::vector<int32_t> words;
  FlashPagedPlan plan;
  int64_t float_bytes = 0;
};
FlashPagedLists LayOutPaged(const FlashPagedSplit& split, int64_t heads, int64_t kv_heads, int64_t head_dim);

// The same lists without the room that FlashInfer's plan leaves for more work: it is as large for one sequence as for
// thousands.
struct FlashMlaLists {
  std::vector<int32_t> words;
  FlashMlaPlan plan;
};
// Every list of pieces has room for `least_pieces`, so that plans with fewer lie alike.
FlashMlaLists CompactMla(const std::vector<int32_t>& ints, const FlashMlaPlan& plan, int64_t least_pieces);

// Every row of a view starts at a multiple of 16 bytes, as FlashInfer loads and stores, and strides fit 32 bits.
bool FlashAligned(const TensorView& view);

// Appends a list at a multiple of 16 bytes; returns its place in bytes.
int64_t AppendList(const std::vector<int32_t>& list, std::vector<int32_t>& words);

// Pieces of work that FlashInfer's plan for MLA may make, at most; its workspace holds kFlashMlaMaxWork.
int64_t FlashMlaWorkBound(const RaggedBatch& batch, int64_t heads, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
