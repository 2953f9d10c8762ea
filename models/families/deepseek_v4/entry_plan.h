// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/blocks/context.h"
#include "models/blocks/step_upload.h"
#include "models/model.h"

namespace hadal::models {

// The compressed entries that a step completes, over all its sequences: those whose last token is among the new ones.
struct EntryBatch {
  kernels::TensorView sequences;  // i32 [entries]
  kernels::TensorView numbers;    // i32 [entries] which entry of its sequence
  kernels::TensorView positions;  // i32 [entries] first token of the group: where the entry is rotated to
  kernels::TensorView slots;      // i64 [entries] cache slot: block id * entries of a block + place in it
  int64_t block_tokens = 0;

  int64_t count() const { return sequences.size(0); }
};

// Finds them once a step, for all layers of one ratio. Thread-compatible; one user at a time.
class EntryPlanner {
 public:
  // `ratio` tokens make an entry.
  explicit EntryPlanner(int64_t ratio) : ratio_(ratio) {}

  // Adds the step's arrays to the upload. ratio divides block_tokens.
  void Plan(const StepInput& input, int64_t block_tokens, StepUpload& upload);
  // Takes the arrays on the device, once the upload is committed.
  void Bind(const StepUpload& upload);
  // Instead of Plan and Bind, for arrays without memory: every token of the step completes an entry, as when many
  // sequences decode at once.
  void BindWorst(const StepBatch& batch, int64_t block_tokens);

  // Of the step that was bound last.
  const EntryBatch& entries() const { return batch_; }

 private:
  int64_t ratio_;
  int64_t block_tokens_ = 0;
  std::vector<int32_t> sequences_, numbers_, positions_;
  std::vector<int64_t> slots_;
  StepUpload::Handle sequences_handle_, numbers_handle_, positions_handle_, slots_handle_;
  EntryBatch batch_;
};

// Where the rows of a step's tokens go in a windowed cache that keeps a cycle of them: of the tokens of a block the
// newest block_tokens / spacing, position p at row (p % block_tokens) % (block_tokens / spacing). A row that a later
// token of the same step would overwrite is not written at all. Thread-compatible; one user at a time.
class CyclePlanner {
 public:
  // A block keeps a row for every `spacing` of its tokens. 1: all of them.
  explicit CyclePlanner(int64_t spacing) : spacing_(spacing) {}

  // Adds the step's array to the upload. spacing divides block_tokens.
  void Plan(const StepInput& input, int64_t block_tokens, StepUpload& upload);
  // Instead of Plan and Bind, for arrays without memory.
  void BindWorst(const StepBatch& batch) { view_ = batch.slot_mapping; }
  void Bind(const StepUpload& upload) { view_ = upload.View(handle_, {static_cast<int64_t>(slots_.size())}); }

  // i64 [tokens]: window block id * rows of a block + row, or -1.
  const kernels::TensorView& slots() const { return view_; }

 private:
  int64_t spacing_;
  std::vector<int64_t> slots_;
  StepUpload::Handle handle_;
  kernels::TensorView view_;
};

}  // namespace hadal::models
