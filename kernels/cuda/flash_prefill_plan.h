// SPDX-License-Identifier: Apache-2.0
//
// Which calls of expanded latent attention FlashInfer's kernel for Hopper takes, and how their work is shared out. Host
// arithmetic only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/cuda/flashinfer_hopper.h"
#include "kernels/ops/mla_prefill.h"

namespace hadal::kernels::cuda {

// Keys are joined for as many heads at once as fit into so much, and for one at least.
inline constexpr int64_t kPrefillKeyBytes = int64_t{256} << 20;

// The launch of all heads without keys and lists, or nothing when the kernel does not take it: bf16 and f16, everything
// of one type, 128 + 64 for keys and 128 for values, the parts of a query next to each other, 16-byte aligned rows, out
// apart from the inputs, numbers of rows below 2^31.
std::optional<FlashPrefillLaunch> PlanFlashPrefill(const MlaPrefillParams& params);

// Heads of one launch: a divisor of all, so that their launches are alike.
int64_t PrefillHeadsAtOnce(int64_t heads, int64_t kv_tokens);
// What their keys take.
int64_t PrefillKeyBytes(int64_t heads, int64_t kv_tokens);

// Tiles of a sequence's queries for each head, from the longest context on and from the last tile on, each to the block
// that has the least to do, as FlashInfer's own plan shares them out.
struct FlashPrefillLists {
  std::vector<int32_t> words;
  FlashPrefillPlan plan;
};
FlashPrefillLists PlanPrefillWork(const RaggedBatch& batch, int64_t heads, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
