// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void SoftmaxSum(int64_t keys, int64_t value_dim, const std::function<float(int64_t)>& score,
                const std::function<void(int64_t, float*)>& value, const std::function<void(int64_t, float)>& store) {
  std::vector<float> weights(keys), sums(value_dim, 0.0f), row(value_dim);
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < keys; ++j) {
    weights[j] = score(j);
    largest = std::max(largest, weights[j]);
  }
  float total = 0;
  for (int64_t j = 0; j < keys; ++j) {
    weights[j] = std::exp(weights[j] - largest);
    total += weights[j];
    value(j, row.data());
    for (int64_t d = 0; d < value_dim; ++d) sums[d] += weights[j] * row[d];
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
  std::vector<float> q(p.q.size(2)), key(p.q.size(2));
  ForEachQuery(p.batch, [&](int64_t s, int64_t row, int64_t keys) {
    const auto block = [&](int64_t position) {
      return p.batch.block_tables.as<const int32_t>()[Offset(p.batch.block_tables, s, position / block_tokens)];
    };
    for (int64_t h = 0; h < p.q.size(1); ++h) {
      LoadRow(p.q, Offset(p.q, row, h, 0), q.size(), q.data());
      const auto score = [&](int64_t j) {
        LoadRow(p.k_cache, Offset(p.k_cache, block(j), j % block_tokens, h / group, 0), key.size(), key.data());
        return std::inner_product(q.begin(), q.end(), key.begin(), 0.0f) * p.scale;
      };
      const auto value = [&](int64_t j, float* out) {
        LoadRow(p.v_cache, Offset(p.v_cache, block(j), j % block_tokens, h / group, 0), p.v_cache.size(3), out);
      };
      SoftmaxSum(keys, p.v_cache.size(3), score, value,
                 [&](int64_t d, float result) { StoreAt(p.out, Offset(p.out, row, h, d), result); });
    }
  });
}

}  // namespace hadal::kernels::reference
