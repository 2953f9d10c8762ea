// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "models/model.h"

namespace hadal::models {

// What a step may not exceed. All values are those of the model and of its allocated caches.
struct StepLimits {
  int32_t vocab_size = 0;     // token ids are in [0, vocab_size)
  int32_t max_model_len = 0;  // positions are in [0, max_model_len)
  int32_t num_blocks = 0;     // block ids are in [0, num_blocks)
  int32_t block_tokens = 0;   // tokens in a block
  int32_t window_tokens = 0;  // KvLayout::window_tokens; 0: the step has no window arrays
  int32_t window_blocks = 0;  // window block ids are in [0, window_blocks)
  int32_t max_tokens = 0;     // token rows of one step; 0 is no limit
  int32_t max_sequences = 0;  // sequences of one step; 0 is no limit
};

// InvalidArgument when no cache of that layout can have that size: no blocks, blocks that do not hold whole entries, or
// window blocks without a window.
absl::Status CheckCacheSize(const KvLayout& layout, const KvCacheSize& size);

// Whether some token of the step is one that the step before samples (FedToken).
bool IsFed(const StepInput& input);

// Verifies that a StepInput is consistent before anything runs on it, so that no kernel ever sees an index out of
// range. A valid step: every vector has its stated size; every sequence owns at least one token row; its positions are
// consecutive and end at context_len - 1; every slot is the one that the sequence's block table gives for that
// position; no two tokens write the same slot; the same holds for the window blocks that a window still reaches;
// samples point to existing rows and name tokens of the vocabulary. Thread-compatible: it keeps marks between calls so
// that a check costs no allocation. The cost is linear in the step.
class StepChecker {
 public:
  explicit StepChecker(const StepLimits& limits);

  // InvalidArgument names the vector, the index, the value and the limit. `fed_samples`: of the step before, which the
  // tokens of this one may name (FedToken); 0 when none is in flight.
  absl::Status Check(const StepInput& input, int32_t fed_samples = 0);

  const StepLimits& limits() const { return limits_; }

 private:
  // Who writes into a block in the step being checked. Stale once `step` differs from step_.
  struct BlockWriter {
    uint64_t step = 0;
    int32_t sequence = 0;
    int32_t table_index = 0;
  };

  // One pool's side of a step: its arrays with their names, its size, and who writes into its blocks.
  struct Pool {
    const char* table_name;
    const char* slot_name;
    int32_t blocks;
    std::vector<BlockWriter> writers;  // [blocks]
  };

  absl::Status CheckSizes(const StepInput& input) const;
  absl::Status CheckSequence(const StepInput& input, int32_t sequence);
  // The blocks of table columns [first_column, blocks that the context uses), and the slots of the new tokens.
  absl::Status CheckSlots(const StepInput& input, int32_t sequence, int32_t first_column,
                          const std::vector<int32_t>& tables, const std::vector<int64_t>& slots, Pool& pool) const;
  absl::Status CheckSample(const StepInput& input, int32_t sample) const;

  StepLimits limits_;
  uint64_t step_ = 0;
  int32_t fed_samples_ = 0;
  Pool kept_;
  Pool window_;
};

}  // namespace hadal::models
