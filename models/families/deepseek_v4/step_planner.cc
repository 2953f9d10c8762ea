// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/step_planner.h"

#include "models/families/deepseek_v4/caches.h"

namespace hadal::models {

V4StepPlanner::V4StepPlanner(const config::HybridAttentionConfig& config)
    : csa_entries_(config.csa_ratio), hca_entries_(config.hca_ratio), csa_inputs_(V4CsaInputSpacing(config)) {}

void V4StepPlanner::Plan(const StepInput& input, StepUpload& upload) {
  window_slots_handle_ = upload.Add(absl::MakeConstSpan(input.window_slot_mapping));
  window_tables_handle_ = upload.Add(absl::MakeConstSpan(input.window_block_tables));
  csa_entries_.Plan(input, block_tokens_, upload);
  hca_entries_.Plan(input, block_tokens_, upload);
  csa_inputs_.Plan(input, block_tokens_, upload);
}

void V4StepPlanner::Bind(const StepUpload& upload, const StepBatch& batch) {
  const kernels::TensorView& tables = batch.ragged.block_tables;
  window_ = batch.ragged;
  window_.block_tables = upload.View(window_tables_handle_, {tables.size(0), tables.size(1)});
  window_slots_ = upload.View(window_slots_handle_, {batch.tokens()});
  csa_entries_.Bind(upload);
  hca_entries_.Bind(upload);
  csa_inputs_.Bind(upload);
}

absl::Status V4StepPlanner::VisitWorstSteps(const StepBatch& batch, absl::FunctionRef<absl::Status()> run) {
  window_ = batch.ragged;
  window_slots_ = batch.slot_mapping;
  csa_entries_.BindWorst(batch, block_tokens_);
  hca_entries_.BindWorst(batch, block_tokens_);
  csa_inputs_.BindWorst(batch);
  return run();
}

}  // namespace hadal::models
