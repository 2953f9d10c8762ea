// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/ops/ragged_batch.h"
#include "models/blocks/step_planner.h"
#include "models/config/config.h"

namespace hadal::models {

// Which form of latent attention a sequence takes. kAuto compares the operations of both; the others force one, for
// tests and measurements. Decode tokens always take the absorbed form, and so does, with an indexer, every sequence
// whose context exceeds what it keeps.
enum class MlaForm { kAuto, kAbsorbed, kExpanded };

// How the new tokens of some neighbouring sequences attend in a latent-attention layer. Decided once a step, for all
// layers.
struct MlaRun {
  int32_t token_begin = 0;  // rows of the step
  int32_t token_count = 0;
  bool expanded = false;         // keys and values expanded for every head; else the absorbed form
  bool sparse = false;           // absorbed, over the positions that the layer's indexer lists
  bool cached_prefix = false;    // expanded: some sequence has older tokens, so latents come from the cache
  int64_t kv_tokens = 0;         // expanded: sum of the contexts
  kernels::RaggedBatch ragged;   // rows from 0
  kernels::TensorView kv_start;  // expanded: i32 [sequences + 1]
};

// Splits a step into runs of neighbouring sequences that attend in the same form (arXiv:2405.04434, section 2.1):
// absorbed for decode and for short chunks after a long prefix, expanded where the new tokens are many. With an
// indexer, a sequence of more than its top_k tokens is sparse: a choice is needed, and only the absorbed form reads
// single positions. Thread-compatible; one user at a time. Its host arrays back the planned runs until the next Plan.
class MlaPlanner : public StepPlanner {
 public:
  // A sequence is expanded only when its context is at most this many times its new tokens: bounds the workspace.
  static constexpr int64_t kMaxExpansion = 2;

  MlaPlanner(const config::MlaConfig& config, MlaForm form) : config_(config), form_(form) {}

  void Plan(const StepInput& input, StepUpload& upload) override;
  void Bind(const StepUpload& upload, const StepBatch& batch) override;
  void AddBatches(std::vector<kernels::RaggedBatch>& batches) const override;
  void AddExpandedBatches(std::vector<kernels::RaggedBatch>& batches) const override;
  // One run in the absorbed form; with an indexer the sizes of its scores follow the lengths.
  bool Replayable() const override { return !config_.indexer.has_value(); }
  // All tokens in one run: absorbed, sparse with an indexer, and expanded with the longest context that Plan lets
  // through.
  absl::Status VisitWorstSteps(const StepBatch& batch, absl::FunctionRef<absl::Status()> run) override;

  // Of the step that was bound last: together they cover its tokens in order.
  absl::Span<const MlaRun> runs() const { return runs_; }

 private:
  struct Draft {
    int32_t sequence_begin = 0;
    int32_t sequence_count = 0;
    std::vector<int32_t> query_start;  // rebased to 0
    std::vector<int32_t> kv_start;     // expanded only
    StepUpload::Handle query_start_handle;
    StepUpload::Handle kv_start_handle;
  };

  bool Expand(int64_t new_tokens, int64_t context_tokens) const;

  config::MlaConfig config_;
  MlaForm form_;
  std::vector<Draft> drafts_;
  std::vector<MlaRun> runs_;
};

}  // namespace hadal::models
