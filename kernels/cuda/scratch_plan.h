// SPDX-License-Identifier: Apache-2.0
//
// How much device memory the ops take besides their operands, at most, in the steps of a model: so that it can be taken
// at the start, inside the budget. Host arithmetic only.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/backend.h"
#include "kernels/ops/sample.h"

namespace hadal::kernels::cuda {

// Rows of a call share so much, in turns; a single row may need more.
inline constexpr int64_t kSampleScratchBytes = int64_t{64} << 20;
inline constexpr int64_t kScoreScratchBytes = int64_t{64} << 20;  // an indexer's scores

// Scratch memory in which sampled rows are worked on (launch.h), in bytes from its start.
struct SampleScratch {
  int64_t chunks = 0, states = 0, bins = 0, top_choices = 0, bytes = 0;
  int32_t chunk_count = 0;
};
SampleScratch LayOutSample(int64_t rows, int64_t vocab, int64_t top_columns);
// Of one row with the most columns: its record, its lists, its mask, and what it is worked on in.
int64_t SampleRowBytes(const SampleRowParams& row, int64_t vocab);
// How many of the first rows fit into the scratch memory together; at least 1. Their lists are aligned apart.
int64_t SampleRowsAtOnce(absl::Span<const SampleRowParams> rows, int64_t vocab);

// Of the steps within `bounds` (with expanded_kv_tokens only where FlashInfer's kernel for Hopper is used) on a device
// with so many multiprocessors. A row may be penalised for every token of the vocabulary.
int64_t ScratchBound(const StepBounds& bounds, int64_t multiprocessors);
// Of a step's lists: what its plan for FlashInfer takes, page lists and int workspace, and what its sampled rows take
// with some penalties and biases each. Rows with more of them bring their lists to the scratch memory.
int64_t SampleListBound(const StepBounds& bounds);
int64_t FlashPlanBound(const StepBounds& bounds, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
