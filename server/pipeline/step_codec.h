// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/model.h"

namespace hadal::pipeline {

// What the plan of a pipeline allows a step to be.
struct StepLimits {
  int32_t max_tokens = 0;     // of a step
  int32_t max_sequences = 0;  // of a step
  int32_t max_model_len = 0;
  int32_t block_tokens = 0;
  int32_t vocab_size = 0;
  int64_t state_bytes = 0;  // of one token's state between two parts

  // Columns of a block table.
  int64_t max_blocks() const { return (int64_t{max_model_len} + block_tokens - 1) / block_tokens; }
  // Rows that a step may sample or score: each token, and each sequence once more.
  int64_t max_samples() const { return int64_t{max_tokens} + max_sequences; }
  // The longest encoded step, without its state: every row with penalties over a whole context, a bias and a ban for
  // every token, and a mask.
  int64_t MaxStepBytes() const;
  int64_t MaxStateBytes() const { return max_tokens * state_bytes; }
  int64_t MaxOutputBytes() const;
};

// Appends a step to `out`. Block tables are written up to the last entry of a row that is not 0.
void EncodeStep(const models::StepInput& input, std::vector<std::byte>* out);
// InvalidArgument, naming the part and its limit, for bytes that are no step within the limits. What the entries say is
// for models::StepChecker to check.
absl::StatusOr<models::StepInput> DecodeStep(absl::Span<const std::byte> bytes, const StepLimits& limits);

// What one part of a pipeline measured of a step.
struct PartFacts {
  uint64_t busy_us = 0;     // on its own layers
  uint64_t wait_us = 0;     // from handing the step on until its samples were back; 0 for the last
  uint64_t sent_bytes = 0;  // to the part after it
};

// A step's samples, and the facts of every part from the sender on.
struct StepResult {
  models::StepOutput output;
  std::vector<PartFacts> facts;
};

inline constexpr uint32_t kMaxParts = 256;

void EncodeResult(const StepResult& result, std::vector<std::byte>* out);
absl::StatusOr<StepResult> DecodeResult(absl::Span<const std::byte> bytes, const StepLimits& limits);

}  // namespace hadal::pipeline
