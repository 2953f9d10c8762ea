// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/entry_plan.h"

#include <algorithm>

#include "absl/types/span.h"

namespace hadal::models {

void EntryPlanner::Plan(const StepInput& input, int64_t block_tokens, StepUpload& upload) {
  block_tokens_ = block_tokens;
  sequences_.clear();
  numbers_.clear();
  positions_.clear();
  slots_.clear();
  for (int32_t s = 0; s < input.sequences(); ++s) {
    const int64_t context = input.context_lens[s];
    const int64_t first_new = context - (input.query_start[s + 1] - input.query_start[s]);
    for (int64_t j = first_new / ratio_; j < context / ratio_; ++j) {
      const int64_t position = j * ratio_;
      const int64_t block = input.block_tables[int64_t{s} * input.block_table_stride + position / block_tokens];
      sequences_.push_back(s);
      numbers_.push_back(static_cast<int32_t>(j));
      positions_.push_back(static_cast<int32_t>(position));
      slots_.push_back((block * block_tokens + position % block_tokens) / ratio_);
    }
  }
  sequences_handle_ = upload.Add(absl::MakeConstSpan(sequences_));
  numbers_handle_ = upload.Add(absl::MakeConstSpan(numbers_));
  positions_handle_ = upload.Add(absl::MakeConstSpan(positions_));
  slots_handle_ = upload.Add(absl::MakeConstSpan(slots_));
}

void EntryPlanner::Bind(const StepUpload& upload) {
  const int64_t count = static_cast<int64_t>(sequences_.size());
  batch_ = {.sequences = upload.View(sequences_handle_, {count}),
            .numbers = upload.View(numbers_handle_, {count}),
            .positions = upload.View(positions_handle_, {count}),
            .slots = upload.View(slots_handle_, {count}),
            .block_tokens = block_tokens_};
}

void EntryPlanner::BindWorst(const StepBatch& batch, int64_t block_tokens) {
  // Arrays of the step that have the shapes and types wanted.
  batch_ = {.sequences = batch.token_ids,
            .numbers = batch.token_ids,
            .positions = batch.positions,
            .slots = batch.slot_mapping,
            .block_tokens = block_tokens};
}

void CyclePlanner::Plan(const StepInput& input, int64_t block_tokens, StepUpload& upload) {
  slots_.clear();
  const int64_t rows = block_tokens / spacing_;
  for (int32_t s = 0; s < input.sequences(); ++s) {
    const int64_t context = input.context_lens[s];
    const int64_t first_new = context - (input.query_start[s + 1] - input.query_start[s]);
    for (int64_t position = first_new; position < context; ++position) {
      const int64_t column = position / block_tokens;
      const int64_t written_end = std::min(context, (column + 1) * block_tokens);  // of this block, in this step
      const int64_t block = input.window_block_tables[int64_t{s} * input.block_table_stride + column];
      const bool kept = position + rows >= written_end;
      slots_.push_back(kept ? block * rows + position % block_tokens % rows : -1);
    }
  }
  handle_ = upload.Add(absl::MakeConstSpan(slots_));
}

}  // namespace hadal::models
