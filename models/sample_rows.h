// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "models/model.h"

namespace hadal::models {

// Where the results of a step's rows lie: in one block of 32-bit words, so that one copy brings all of them to the
// host. In front the sampled tokens [rows], then log-probabilities [rows], status [rows], and the best tokens and
// theirs, [rows, top] each.
struct SampleLayout {
  int64_t rows = 0;
  int64_t top = 0;  // of the row that wants most

  int64_t bytes() const { return rows * (3 + 2 * top) * static_cast<int64_t>(sizeof(int32_t)); }
};

// Turns a step's sample rows into the sample op's terms and its results back. Scratch vectors are reused from step to
// step, so one in the steady state allocates only what its output holds. Thread-compatible.
class SampleRows {
 public:
  // Takes the rows of a step, which must outlive its calls of Run.
  void Begin(absl::Span<const SampleRow> rows);
  // What the op will be told of them, until the next Begin.
  absl::Span<const kernels::SampleRowParams> params() const { return params_; }

  SampleLayout layout() const { return layout_; }

  // Samples or scores the step's rows from `first` on, one for each row of `logits` (f32 [rows, vocab]). `results` is
  // the device memory of the whole step's, layout().bytes().
  absl::Status Run(kernels::Backend& backend, int64_t first, const kernels::TensorView& logits, void* results) const;

  // What the block of such a step says of its rows, once it is in host memory.
  static std::vector<SampleResult> Read(const SampleLayout& layout, absl::Span<const SampleRow> rows,
                                        const void* results);

  // Of the results of so many rows, whatever they want.
  static int64_t MostBytes(int64_t rows);

 private:
  SampleLayout layout_;
  std::vector<kernels::SampleRowParams> params_;
  std::vector<kernels::SamplePenalty> penalties_;
  std::vector<kernels::SampleBias> biases_;
};

}  // namespace hadal::models
