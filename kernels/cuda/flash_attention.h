// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/flash_plan.h"
#include "kernels/cuda/flash_prefill_plan.h"
#include "kernels/cuda/step_area.h"

namespace hadal::kernels::cuda {

// Attention by FlashInfer on one device, which it borrows. A plan depends on the lengths of the sequences, not on the
// layer: within a step it is made once for all calls on the same device lists. The heads and block sizes of calls are
// remembered, so that from the second step on plans are made when it begins, and go up with its arrays; a plan that is
// missing then is made and uploaded for the call that needs it. Batch-invariant, a call follows a fixed plan
// (flash_fixed_plan.h), and whether FlashInfer takes it does not depend on the number of rows. Latent attention has
// kernels of its own for Hopper (flashinfer_hopper.h), which are used where they are switched on. Used by the thread
// that issues ops.
class FlashAttention {
 public:
  // `area` is the step's; what it does not hold lies in memory of the plan's own.
  FlashAttention(CudaDevice* device, StepArea* area) : device_(*device), area_(*area) {}

  // Which kernels for Hopper are used, none at first: that for prompts in the expanded form, that for the absorbed
  // form. Not with batch invariance.
  void set_hopper_prefill(bool on) { hopper_prefill_ = on; }
  void set_hopper_mla(bool on) { hopper_mla_ = on; }
  bool hopper_prefill() const { return hopper_prefill_; }
  bool hopper_mla() const { return hopper_mla_; }

  // Before the first step, a plan lives for one call. Puts plans for these batches into the area, as far as it holds
  // them.
  void BeginStep(const StepLists& lists, bool batch_invariant);
  // Appends what launches with this step's plans depend on. False: some plan is not there yet, so they bring one up.
  bool AppendPlans(std::vector<int64_t>& key) const;
  // Page lists that were to be built by launches that did not run are built again.
  void ForgetPageIndices();

  // False: FlashInfer has no kernel for these parameters, nothing was queued.
  absl::StatusOr<bool> TryPaged(const PagedAttentionParams& params, bool batch_invariant);
  absl::StatusOr<bool> TryMla(const MlaAttentionParams& params, bool batch_invariant);
  absl::StatusOr<bool> TryPrefill(const MlaPrefillParams& params);

 private:
  // Of calls, besides their batch. Without kv_heads: latent attention; without block_tokens, its expanded form.
  struct Shape {
    int64_t heads = 0, kv_heads = 0, head_dim = 0, block_tokens = 0;

    bool latent() const { return kv_heads == 0; }
    bool expanded() const { return block_tokens == 0; }

    bool operator==(const Shape&) const = default;
  };
  // What a plan depends on, within a step.
  struct Key {
    const void *query_start = nullptr, *context_lens = nullptr, *block_tables = nullptr;
    int64_t sequences = 0, tokens = 0;
    Shape shape;

    bool operator==(const Key&) const = default;
  };
  // Who computes what, still on the host.
  struct Draft {
    FlashPages pages;
    std::vector<int32_t> words;  // first pages, tokens of the last ones, then the int workspace at workspace_at
    int64_t workspace_at = 0;    // in bytes
    FlashPagedPlan paged;
    FlashMlaPlan mla;
    FlashPrefillPlan prefill;
    int64_t float_bytes = 0;
  };
  struct Plan {
    int64_t step = 0;  // 0: not valid
    Key key;
    Buffer memory;
    const int32_t *first_page = nullptr, *last_page_tokens = nullptr;
    int32_t* page_indices = nullptr;
    bool indices_built = false;
    int64_t most_pages = 0;
    char* int_workspace = nullptr;
    int64_t float_bytes = 0;
    FlashPagedPlan paged;
    FlashMlaPlan mla;
    FlashPrefillPlan prefill;
  };

  static Key KeyOf(const RaggedBatch& batch, const Shape& shape);
  // The plan of this step for the key, or a place for one, with step 0.
  Plan& Find(const Key& key);
  void Remember(const Shape& shape);

  // Plans for the shapes in that form. True if all are there now.
  bool PlanBatch(const RaggedBatch& batch, bool expanded, bool batch_invariant, bool replayed);
  // OutOfRange for more pages than FlashInfer counts.
  absl::Status MakeDraft(const RaggedBatch& batch, const Shape& shape, bool batch_invariant, bool replayed,
                         Draft& draft) const;
  absl::Status SplitPaged(const RaggedBatch& batch, const Shape& shape, bool replayed, Draft& draft,
                          std::vector<int32_t>& words) const;
  absl::Status SplitMla(const RaggedBatch& batch, const Shape& shape, bool replayed, Draft& draft,
                        std::vector<int32_t>& words) const;
  // `lists` holds the draft's words, `indices` its pages, both on the device.
  static void Place(Draft draft, int64_t most_pages, char* lists, char* indices, Plan& plan);
  // Makes the plan for a call, with an upload of its own.
  absl::Status MakeNow(const RaggedBatch& batch, const Shape& shape, bool batch_invariant, Plan& plan);
  // The plan for a call, with its page list built, or null: FlashInfer does not take the batch.
  absl::StatusOr<const Plan*> PlanFor(const RaggedBatch& batch, const Shape& shape, bool batch_invariant);

  CudaDevice& device_;
  StepArea& area_;
  int64_t step_ = 0;
  std::deque<Plan> plans_;  // a step has one or two
  std::vector<Shape> shapes_;
  bool hopper_prefill_ = false, hopper_mla_ = false;
  bool all_planned_ = false;  // a plan for each batch of the step and each shape is there
};

}  // namespace hadal::kernels::cuda
