// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/flash_plan.h"

namespace hadal::kernels::cuda {

// Attention by FlashInfer on one device, which it borrows. A plan depends on the lengths of the sequences, not on the
// layer: within a step it is made and uploaded once for all calls on the same device lists, in memory of its own.
// Batch-invariant, a call follows a fixed plan (flash_fixed_plan.h), and whether FlashInfer takes it does not depend on
// the number of rows. Used by the thread that issues ops.
class FlashAttention {
 public:
  explicit FlashAttention(CudaDevice* device) : device_(*device) {}

  // Device memory for one plan of so many bytes, ahead of the first step.
  absl::Status Reserve(int64_t plan_bytes);
  // Before the first step, a plan lives for one call.
  void BeginStep() { ++step_; }

  // False: FlashInfer has no kernel for these parameters, nothing was queued.
  absl::StatusOr<bool> TryPaged(const PagedAttentionParams& params, bool batch_invariant);
  absl::StatusOr<bool> TryMla(const MlaAttentionParams& params, bool batch_invariant);

 private:
  // What a plan depends on, within a step.
  struct Key {
    const void *query_start = nullptr, *context_lens = nullptr, *block_tables = nullptr;
    int64_t sequences = 0, tokens = 0, heads = 0, kv_heads = 0, head_dim = 0, block_tokens = 0;

    bool operator==(const Key&) const = default;
  };
  // Its lists lie in `memory`: first pages, tokens of the last ones, pages, the int workspace.
  struct Plan {
    int64_t step = 0;  // 0: not valid
    Key key;
    Buffer memory;
    const int32_t *first_page = nullptr, *last_page_tokens = nullptr, *page_indices = nullptr;
    char* int_workspace = nullptr;
    int64_t float_bytes = 0;
    FlashPagedPlan paged;
    FlashMlaPlan mla;
  };

  static Key KeyOf(const RaggedBatch& batch, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t block_tokens);
  // The plan of this step for the key, or a place for one, with step 0.
  Plan& Find(const Key& key);
  void Finish(Plan& plan) { plan.step = step_; }

  // Puts the page lists on the device, and makes room for an int workspace behind them.
  absl::Status PlacePages(const RaggedBatch& batch, const FlashPages& pages, int64_t int_bytes, Plan& plan);
  absl::Status MakePagedPlan(const PagedAttentionParams& params, FlashPagedLaunch launch, const FlashPages& pages,
                             bool batch_invariant, Plan& plan);
  absl::Status MakeMlaPlan(const MlaAttentionParams& params, FlashMlaLaunch launch, const FlashPages& pages,
                           bool batch_invariant, Plan& plan);

  CudaDevice& device_;
  int64_t step_ = 0;
  std::deque<Plan> plans_;  // a step has one or two
};

}  // namespace hadal::kernels::cuda
