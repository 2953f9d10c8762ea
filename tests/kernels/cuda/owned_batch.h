// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/ops/ragged_batch.h"

namespace hadal::kernels::cuda {

// A batch whose lists live with it; what the host plans reads the lengths alone, so the block tables are any.
struct OwnedBatch {
  // As the ops have them: sequence s has the tokens [starts[s], starts[s + 1]).
  OwnedBatch(std::vector<int32_t> query_starts, std::vector<int32_t> context_lens)
      : starts(std::move(query_starts)), contexts(std::move(context_lens)) {
    const auto n = static_cast<int64_t>(contexts.size());
    batch.query_start = TensorView(starts.data(), DType::kI32, {n + 1});
    batch.context_lens = TensorView(contexts.data(), DType::kI32, {n});
    batch.block_tables = TensorView(contexts.data(), DType::kI32, {n, 1});
    batch.host_query_start = starts;
    batch.host_context_lens = contexts;
  }
  OwnedBatch(const OwnedBatch&) = delete;
  OwnedBatch& operator=(const OwnedBatch&) = delete;

  // By the number of tokens of each sequence.
  static OwnedBatch OfQueries(const std::vector<int32_t>& queries, std::vector<int32_t> context_lens) {
    std::vector<int32_t> starts = {0};
    for (const int32_t count : queries) starts.push_back(starts.back() + count);
    return OwnedBatch(std::move(starts), std::move(context_lens));
  }

  std::vector<int32_t> starts, contexts;
  RaggedBatch batch;
};

}  // namespace hadal::kernels::cuda
