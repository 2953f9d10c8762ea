// SPDX-License-Identifier: Apache-2.0
#include "server/engine/batch_plan.h"

#include <algorithm>

#include "server/base/check.h"

namespace hadal::engine {
namespace {

int32_t BlocksFor(int32_t tokens, int32_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

void AppendRows(const PlanEntry& entry, int32_t block_tokens, models::StepInput& input) {
  const Sequence& sequence = *entry.sequence;
  const int32_t known = static_cast<int32_t>(sequence.tokens.size());
  for (int32_t position = entry.start; position < entry.start + entry.count; ++position) {
    input.token_ids.push_back(position < known ? sequence.tokens[position] : 0);
    input.positions.push_back(position);
    input.slot_mapping.push_back(int64_t{1} * sequence.blocks[position / block_tokens] * block_tokens +
                                 position % block_tokens);
  }
}

// The window blocks of the entry, without the columns that its first token does not reach any more.
void AppendWindow(const PlanEntry& entry, const BlockShape& shape, size_t row, models::StepInput& input) {
  const std::vector<int32_t>& blocks = entry.sequence->window.blocks;
  const int32_t end = entry.start + entry.count;
  const int32_t first = std::max(0, entry.start - shape.window_tokens + 1) / shape.block_tokens;
  for (int32_t position = entry.start; position < end; ++position) {
    input.window_slot_mapping.push_back(int64_t{1} * blocks[position / shape.block_tokens] * shape.block_tokens +
                                        position % shape.block_tokens);
  }
  std::copy(blocks.begin() + first, blocks.begin() + BlocksFor(end, shape.block_tokens),
            input.window_block_tables.begin() + row * input.block_table_stride + first);
}

void AppendSamples(const PlanEntry& entry, models::StepInput& input) {
  const Sequence& sequence = *entry.sequence;
  for (int32_t i = 0; i < entry.scores; ++i) {
    models::SampleRow& row = input.samples.emplace_back();
    row.token_index = entry.first_row + i;
    row.target_token = sequence.tokens[entry.start + i + 1];
    row.top_logprobs = std::max(sequence.owner->request->top_logprobs, 0);
  }
  if (!entry.samples) return;
  models::SampleRow& row = input.samples.emplace_back();
  row.token_index = entry.first_row + entry.count - 1;
  const int32_t position = entry.start + entry.count;
  sequence.sampling.FillRow(position, position - sequence.prompt_tokens, row);
}

}  // namespace

void BuildInput(const BlockShape& shape, BatchPlan& plan) {
  const int32_t block_tokens = shape.block_tokens;
  models::StepInput& input = plan.input;
  input = models::StepInput();
  std::erase_if(plan.entries, [](const PlanEntry& entry) { return entry.dropped; });
  plan.tokens = 0;
  int32_t stride = 1;
  for (const PlanEntry& entry : plan.entries) {
    plan.tokens += entry.count;
    stride = std::max(stride, BlocksFor(entry.start + entry.count, block_tokens));
  }
  if (plan.entries.empty()) {
    plan.sample_rows = 0;
    return;
  }
  input.token_ids.reserve(plan.tokens);
  input.positions.reserve(plan.tokens);
  input.slot_mapping.reserve(plan.tokens);
  input.query_start.reserve(plan.entries.size() + 1);
  input.context_lens.reserve(plan.entries.size());
  input.samples.reserve(plan.sample_rows);
  input.block_table_stride = stride;
  input.block_tables.assign(plan.entries.size() * stride, 0);
  if (shape.window_tokens > 0) {
    input.window_slot_mapping.reserve(plan.tokens);
    input.window_block_tables.assign(plan.entries.size() * stride, 0);
  }
  input.query_start.push_back(0);
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    PlanEntry& entry = plan.entries[i];
    const int32_t end = entry.start + entry.count;
    entry.first_row = input.tokens();
    entry.first_sample = static_cast<int32_t>(input.samples.size());
    AppendRows(entry, block_tokens, input);
    AppendSamples(entry, input);
    input.query_start.push_back(input.tokens());
    input.context_lens.push_back(end);
    const auto blocks = entry.sequence->blocks.begin();
    std::copy(blocks, blocks + BlocksFor(end, block_tokens), input.block_tables.begin() + i * stride);
    if (shape.window_tokens > 0) AppendWindow(entry, shape, i, input);
  }
  plan.sample_rows = static_cast<int32_t>(input.samples.size());
}

bool FeedInput(const BatchPlan& before, BatchPlan& plan) {
  if (plan.empty() || plan.preempted || static_cast<size_t>(plan.decode_entries) != plan.entries.size()) return false;
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = *entry.sequence;
    if (sequence.constraint != nullptr || sequence.sampling.depends_on_output()) return false;
  }
  for (const PlanEntry& entry : before.entries) entry.sequence->next_sample = entry.first_sample + entry.scores;
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = *entry.sequence;
    const auto known = static_cast<int32_t>(sequence.tokens.size());
    if (entry.start < known) continue;
    HADAL_CHECK(entry.start == known) << "token " << known << " of a decode row is not known to be sampled";
    plan.input.token_ids[entry.first_row] = models::FedToken(sequence.next_sample);
  }
  return true;
}

void PatchInput(const BlockShape& shape, BatchPlan& plan) {
  const bool dropped =
      std::any_of(plan.entries.begin(), plan.entries.end(), [](const PlanEntry& e) { return e.dropped; });
  if (dropped) {
    BuildInput(shape, plan);
    return;
  }
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& sequence = *entry.sequence;
    const int32_t last = entry.start + entry.count - 1;
    HADAL_CHECK(last < static_cast<int32_t>(sequence.tokens.size())) << "token " << last << " is not known";
    plan.input.token_ids[entry.first_row + entry.count - 1] = sequence.tokens[last];
    if (!entry.samples || !sequence.sampling.depends_on_output()) continue;
    models::SampleRow& row = plan.input.samples[entry.first_sample + entry.scores];
    sequence.sampling.FillRow(last + 1, last + 1 - sequence.prompt_tokens, row);
  }
}

}  // namespace hadal::engine
