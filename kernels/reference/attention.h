// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/ops/ragged_batch.h"

namespace hadal::kernels::reference {

// out = softmax(scores) * values over `keys` keys, in float32 with the maximum subtracted. value(key, row) fills a row
// of value_dim values.
void SoftmaxSum(int64_t keys, int64_t value_dim, const std::function<float(int64_t key)>& score,
                const std::function<void(int64_t key, float* row)>& value,
                const std::function<void(int64_t column, float result)>& store);

// Calls visit(sequence, query row, keys it sees) for every query row of the batch.
void ForEachQuery(const RaggedBatch& batch,
                  const std::function<void(int64_t sequence, int64_t row, int64_t keys)>& visit);

}  // namespace hadal::kernels::reference
