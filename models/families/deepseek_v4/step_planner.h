// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/ops/ragged_batch.h"
#include "models/blocks/step_planner.h"
#include "models/config/config.h"
#include "models/families/deepseek_v4/entry_plan.h"

namespace hadal::models {

// What the layers of DeepSeek-V4 share in a step: the window pool's arrays, the compressed entries that the step
// completes, and where the rows go that CSA entries are made from. Thread-compatible; one user at a time.
class V4StepPlanner : public StepPlanner {
 public:
  explicit V4StepPlanner(const config::HybridAttentionConfig& config);

  // Called once, before the first step: tokens of a cache block.
  void set_block_tokens(int64_t block_tokens) { block_tokens_ = block_tokens; }

  void Plan(const StepInput& input, StepUpload& upload) override;
  void Bind(const StepUpload& upload, const StepBatch& batch) override;
  // One step: every token completes an entry of each kind.
  absl::Status VisitWorstSteps(const StepBatch& batch, absl::FunctionRef<absl::Status()> run) override;

  // As StepBatch::ragged, with the block tables of the window pool.
  const kernels::RaggedBatch& window() const { return window_; }
  // i64 [tokens]: slots in caches of the window pool that hold a row for every token.
  const kernels::TensorView& window_slots() const { return window_slots_; }
  // i64 [tokens]: slots of the rows that CSA entries are made from; -1: not kept.
  const kernels::TensorView& csa_input_slots() const { return csa_inputs_.slots(); }
  const EntryBatch& csa_entries() const { return csa_entries_.entries(); }
  const EntryBatch& hca_entries() const { return hca_entries_.entries(); }

 private:
  int64_t block_tokens_ = 0;
  EntryPlanner csa_entries_;
  EntryPlanner hca_entries_;
  CyclePlanner csa_inputs_;
  StepUpload::Handle window_slots_handle_, window_tables_handle_;
  kernels::RaggedBatch window_;
  kernels::TensorView window_slots_;
};

}  // namespace hadal::models
