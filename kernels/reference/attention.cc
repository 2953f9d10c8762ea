// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void SoftmaxSum(int64_t keys, int64_t value_dim, const std::function<float(int64_t)>& score,
                const std::function<float(int64_t, int64_t)>& value, const std::function<void(int64_t, float)>& store) {
  std::vector<float> weights(keys), sums(value_dim, 0.0f);
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < keys; ++j) {
    weights[j] = score(j);
    largest = std::max(largest, weights[j]);
  }
  float total = 0;
  for (int64_t j = 0; j < keys; ++j) {
    weights[j] = std::exp(weights[j] - largest);
    total += weights[j];
    for (int64_t d = 0; d < value_dim; ++d) sums[d] += weights[j] * value(j, d);
  }
  for (int64_t d = 0; d < value_dim; ++d) store(d, sums[d] / total);
}

void ForEachQuery(const RaggedBatch& batch, const std::function<void(int64_t, int64_t, int64_t)>& visit) {
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t begin = batch.host_query_start[s], end = batch.host_query_start[s + 1];
    for (int64_t row = begin; row < end; ++row) visit(s, row, batch.host_context_lens[s] - (end - row) + 1);
  }
}

void PagedAttention(const PagedAttentionParams& p) {
  const int64_t block_tokens = p.k_cache.size(1), group = p.q.size(1) / p.k_cache.size(2);
  std::vector<float> q(p.q.size(2));
  ForEachQuery(p.batch, [&](int64_t s, int64_t row, int64_t keys) {
    const auto block = [&](int64_t position) {
      return p.batch.block_tables.as<const int32_t>()[Offset(p.batch.block_tables, s, position / block_tokens)];
    };
    for (int64_t h = 0; h < p.q.size(1); ++h) {
      for (size_t d = 0; d < q.size(); ++d) q[d] = Load(p.q, row, h, d);
      const auto score = [&](int64_t j) {
        float sum = 0;
        for (size_t d = 0; d < q.size(); ++d) sum += q[d] * Load(p.k_cache, block(j), j % block_tokens, h / group, d);
        return sum * p.scale;
      };
      const auto value = [&](int64_t j, int64_t d) {
        return Load(p.v_cache, block(j), j % block_tokens, h / group, d);
      };
      SoftmaxSum(keys, p.v_cache.size(3), score, value,
                 [&](int64_t d, float result) { StoreAt(p.out, Offset(p.out, row, h, d), result); });
    }
  });
}

}  // namespace hadal::kernels::reference
