// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/flash_plan.h"

namespace hadal::kernels::cuda {

// Attention by FlashInfer on one device, which it borrows. Plans anew for every call: the plan depends on the lengths.
// Batch-invariant, a call follows a fixed plan (flash_fixed_plan.h), and whether FlashInfer takes it does not depend on
// the number of rows. Used by the thread that issues ops.
class FlashAttention {
 public:
  explicit FlashAttention(CudaDevice* device) : device_(*device) {}

  // False: FlashInfer has no kernel for these parameters, nothing was queued.
  absl::StatusOr<bool> TryPaged(const PagedAttentionParams& params, bool batch_invariant);
  absl::StatusOr<bool> TryMla(const MlaAttentionParams& params, bool batch_invariant);

 private:
  // Where the pieces of one call lie in the scratch memory, 256-byte aligned.
  struct Pieces {
    int32_t *first_page, *last_page_tokens, *page_indices;
    char *int_workspace, *float_workspace;
  };
  absl::StatusOr<Pieces> Prepare(const RaggedBatch& batch, const FlashPages& pages, int64_t int_bytes,
                                 int64_t float_bytes);

  absl::StatusOr<FlashMlaPlan> PlanMla(const FlashMlaLaunch& launch);

  CudaDevice& device_;
  std::vector<int32_t> lists_;  // what is uploaded for the pages
  std::vector<char> host_workspace_;
};

}  // namespace hadal::kernels::cuda
