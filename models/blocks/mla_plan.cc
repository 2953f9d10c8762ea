// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mla_plan.h"

#include "models/status_macros.h"

namespace hadal::models {

bool MlaPlanner::Expand(int64_t new_tokens, int64_t context_tokens) const {
  if (new_tokens <= 1 || context_tokens > kMaxExpansion * new_tokens || form_ == MlaForm::kAbsorbed) return false;
  if (form_ == MlaForm::kExpanded) return true;
  // Multiplications per head. A pair is a new token and a token it sees.
  const int64_t pairs = new_tokens * (context_tokens - new_tokens) + new_tokens * (new_tokens + 1) / 2;
  const int64_t projection = config_.kv_lora_rank * (config_.qk_nope_head_dim + config_.v_head_dim);
  const int64_t expanded = pairs * (config_.qk_head_dim() + config_.v_head_dim) + context_tokens * projection;
  const int64_t absorbed = pairs * (config_.latent_dim() + config_.kv_lora_rank) + new_tokens * projection;
  return expanded < absorbed;
}

void MlaPlanner::Plan(const StepInput& input, StepUpload& upload) {
  drafts_.clear();
  runs_.clear();
  for (int32_t s = 0; s < input.sequences(); ++s) {
    const int32_t new_tokens = input.query_start[s + 1] - input.query_start[s];
    const int32_t context_tokens = input.context_lens[s];
    const bool sparse = config_.indexer.has_value() && context_tokens > config_.indexer->top_k;
    const bool expanded = !sparse && Expand(new_tokens, context_tokens);
    if (runs_.empty() || runs_.back().expanded != expanded || runs_.back().sparse != sparse) {
      Draft& draft = drafts_.emplace_back();
      draft.sequence_begin = s;
      draft.query_start.push_back(0);
      draft.kv_start.push_back(0);
      MlaRun& run = runs_.emplace_back();
      run.token_begin = input.query_start[s];
      run.expanded = expanded;
      run.sparse = sparse;
    }
    Draft& draft = drafts_.back();
    MlaRun& run = runs_.back();
    ++draft.sequence_count;
    run.token_count += new_tokens;
    draft.query_start.push_back(run.token_count);
    if (!expanded) continue;
    run.cached_prefix = run.cached_prefix || context_tokens > new_tokens;
    run.kv_tokens += context_tokens;
    draft.kv_start.push_back(static_cast<int32_t>(run.kv_tokens));
  }
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_.size() > 1) drafts_[i].query_start_handle = upload.Add(absl::MakeConstSpan(drafts_[i].query_start));
    if (runs_[i].expanded) drafts_[i].kv_start_handle = upload.Add(absl::MakeConstSpan(drafts_[i].kv_start));
  }
}

void MlaPlanner::Bind(const StepUpload& upload, const StepBatch& batch) {
  const kernels::RaggedBatch& step = batch.ragged;
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Draft& draft = drafts_[i];
    MlaRun& run = runs_[i];
    run.ragged = step;
    if (runs_.size() > 1) {
      run.ragged.query_start = upload.View(draft.query_start_handle, {draft.sequence_count + 1});
      run.ragged.context_lens = step.context_lens.Slice(0, draft.sequence_begin, draft.sequence_count);
      run.ragged.block_tables = step.block_tables.Slice(0, draft.sequence_begin, draft.sequence_count);
      run.ragged.host_query_start = absl::MakeConstSpan(draft.query_start);
      run.ragged.host_context_lens = step.host_context_lens.subspan(draft.sequence_begin, draft.sequence_count);
    }
    if (run.expanded) run.kv_start = upload.View(draft.kv_start_handle, {draft.sequence_count + 1});
  }
}

void MlaPlanner::AddBatches(std::vector<kernels::RaggedBatch>& batches) const {
  for (const MlaRun& run : runs_) {
    if (!run.expanded) batches.push_back(run.ragged);
  }
}

void MlaPlanner::AddExpandedBatches(std::vector<kernels::RaggedBatch>& batches) const {
  for (const MlaRun& run : runs_) {
    if (run.expanded) batches.push_back(run.ragged);
  }
}

absl::Status MlaPlanner::VisitWorstSteps(const StepBatch& batch, absl::FunctionRef<absl::Status()> run) {
  MlaRun absorbed;
  absorbed.token_count = static_cast<int32_t>(batch.tokens());
  absorbed.ragged = batch.ragged;
  runs_ = {absorbed};
  HADAL_RETURN_IF_ERROR(run());
  if (config_.indexer.has_value()) {
    runs_[0].sparse = true;
    HADAL_RETURN_IF_ERROR(run());
  }
  MlaRun expanded = absorbed;
  expanded.expanded = true;
  expanded.cached_prefix = true;
  expanded.kv_tokens = kMaxExpansion * batch.tokens();
  expanded.kv_start = batch.ragged.query_start;  // of the same shape
  const int32_t context_tokens = static_cast<int32_t>(expanded.kv_tokens);
  expanded.ragged.host_context_lens = absl::MakeConstSpan(&context_tokens, 1);
  kernels::TensorView& tables = expanded.ragged.block_tables;
  tables = kernels::TensorView(tables.data, tables.dtype, {1, kMaxExpansion * tables.size(1)});
  runs_ = {expanded};
  const absl::Status status = run();
  runs_.clear();  // they refer to this call's arrays
  return status;
}

}  // namespace hadal::models
