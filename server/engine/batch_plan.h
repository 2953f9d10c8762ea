// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/model.h"
#include "server/engine/sequence.h"

namespace hadal::engine {

// The rows of one sequence in a step: tokens [start, start + count) of the sequence.
struct PlanEntry {
  Sequence* sequence = nullptr;
  int32_t start = 0;
  int32_t count = 0;
  uint32_t epoch = 0;
  bool samples = false;      // the last row's logits give the next token
  int32_t scores = 0;        // leading rows that score the prompt token after them
  bool dropped = false;      // the sequence has ended or was preempted after planning
  int32_t first_row = 0;     // in StepInput::token_ids
  int32_t first_sample = 0;  // in StepInput::samples: `scores` of them, then the sampled one
};

// The sequences that one step will run, and the model's input for it.
struct BatchPlan {
  std::vector<PlanEntry> entries;
  models::StepInput input;
  int32_t decode_entries = 0;  // the first ones; the others are of prompts
  int32_t decode_others = 0;   // of them, those that are not of class batch
  int32_t tokens = 0;
  int64_t decode_context_tokens = 0;  // attended to by the decode entries
  int32_t token_limit = 0;            // StepTokenBudget::Limit for its decode entries
  int32_t prefill_tokens = 0;
  int32_t recomputed_tokens = 0;  // lost to an earlier preemption
  int32_t sample_rows = 0;
  bool prompts_of_others = false;  // not of class batch
  bool full = false;               // the token limit left prompts for later steps
  bool preempted = false;          // a sequence was preempted, so no waiting request was started

  bool empty() const { return tokens == 0; }
};

// How the model's caches are cut into blocks.
struct BlockShape {
  int32_t block_tokens = 0;
  int32_t window_tokens = 0;  // KvLayout::window_tokens
};

// Fills plan.input from its entries. Tokens that a step in flight has yet to sample are left as 0; PatchInput sets
// them.
void BuildInput(const BlockShape& shape, BatchPlan& plan);
// For a plan to be launched while `before` is in flight: refers to the tokens that `before` samples (FedToken). False,
// without changes, if the plan cannot be launched early: it contains prompts (more urgent ones may still arrive), or
// sequences whose penalties or grammar need the token itself, or it preempted a sequence.
bool FeedInput(const BatchPlan& before, BatchPlan& plan);
// Sets what was unknown when the input was built: sampled tokens, penalties, forbidden tokens. All tokens must be known
// now. If entries were dropped, rebuilds the input without them.
void PatchInput(const BlockShape& shape, BatchPlan& plan);

}  // namespace hadal::engine
