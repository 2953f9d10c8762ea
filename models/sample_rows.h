// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "models/blocks/arena.h"
#include "models/model.h"

namespace hadal::models {

// Turns the engine's sample rows into the sample op's terms and its results back. Scratch vectors are reused from call
// to call, so a step in the steady state allocates only what its output holds. Thread-compatible.
class SampleRows {
 public:
  // Samples or scores each row of `logits` (f32 [rows, vocab]) and appends one result a row to `output`. Takes its
  // device outputs from the arena: at most ArenaBytesFor(rows).
  absl::Status Run(kernels::Backend& backend, Arena& arena, absl::Span<const SampleRow> rows,
                   const kernels::TensorView& logits, StepOutput& output);

  static int64_t ArenaBytesFor(int64_t rows);

 private:
  void Translate(absl::Span<const SampleRow> rows);

  std::vector<kernels::SampleRowParams> params_;
  std::vector<kernels::SamplePenalty> penalties_;
  std::vector<kernels::SampleBias> biases_;
  std::vector<int32_t> host_;
};

}  // namespace hadal::models
