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

// Turns a step's sample rows into the sample op's terms and its results back. Scratch vectors are reused from step to
// step, so one in the steady state allocates only what its output holds. Thread-compatible.
class SampleRows {
 public:
  // Takes the rows of a step, which must outlive its calls of Run.
  void Begin(absl::Span<const SampleRow> rows);
  // What the op will be told of them, until the next Begin.
  absl::Span<const kernels::SampleRowParams> params() const { return params_; }

  // Samples or scores the step's rows from `first` on, one for each row of `logits` (f32 [rows, vocab]), and appends
  // their results to `output`. Takes its device outputs from the arena: at most ArenaBytesFor(rows).
  absl::Status Run(kernels::Backend& backend, Arena& arena, size_t first, const kernels::TensorView& logits,
                   StepOutput& output);

  static int64_t ArenaBytesFor(int64_t rows);

 private:
  absl::Span<const SampleRow> rows_;
  std::vector<kernels::SampleRowParams> params_;
  std::vector<kernels::SamplePenalty> penalties_;
  std::vector<kernels::SampleBias> biases_;
  std::vector<int32_t> host_;
};

}  // namespace hadal::models
