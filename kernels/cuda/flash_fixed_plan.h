// SPDX-License-Identifier: Apache-2.0
//
// Plans for FlashInfer's kernels in place of its own. Those choose the size of a tile by the mean length of the
// queries, and cut keys into as many pieces as fill the device: both move the order in which a row's keys are added.
// Here a tile has one size and walks all of its keys from one block, so the order follows positions alone, whatever
// else is in the batch. The price: few long sequences keep few multiprocessors busy. Host arithmetic only.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/flash_plan.h"
#include "kernels/ops/ragged_batch.h"

namespace hadal::kernels::cuda {

// `words` are the int workspace that the plan's offsets point into.
struct FlashFixedPaged {
  std::vector<int32_t> words;
  FlashPagedPlan plan;
};
FlashFixedPaged PlanFixedPaged(const RaggedBatch& batch, int64_t group);

// On a device with so many multiprocessors. No partial sums, so no float workspace.
struct FlashFixedMla {
  std::vector<int32_t> words;
  FlashMlaPlan plan;
};
FlashFixedMla PlanFixedMla(const RaggedBatch& batch, const FlashPages& pages, int64_t heads, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
