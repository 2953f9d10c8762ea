// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

// Block that holds a position.
int64_t Block(const RaggedBatch& batch, int64_t sequence, int64_t position, int64_t block_tokens) {
  return batch.block_tables.as<const int32_t>()[sequence * batch.block_tables.stride(0) + position / block_tokens];
}

}  // namespace

void PagedAttention(Context& context, const PagedAttentionParams& p) {
  const KernelTable& table = context.table;
  const int64_t head_dim = p.q.size(2), v_dim = p.v_cache.size(3), block_tokens = p.k_cache.size(1);
  const auto load_query = [&](int64_t token, int64_t first, int64_t count, float* out) {
    for (int64_t h = 0; h < count; ++h) {
      float* row = out + h * head_dim;
      table.to_f32(p.q.dtype, Address(p.q, token * p.q.stride(0) + (first + h) * p.q.stride(1)), row, head_dim);
      table.scale(p.scale, row, row, head_dim);
    }
  };
  const auto load_keys = [&](int64_t sequence, int64_t group, int64_t first, int64_t count, float* keys,
                             float* values) {
    for (int64_t j = 0; j < count; ++j) {
      const int64_t block = Block(p.batch, sequence, first + j, block_tokens), offset = (first + j) % block_tokens;
      const auto at = [&](const TensorView& cache) {
        return Address(cache, block * cache.stride(0) + offset * cache.stride(1) + group * cache.stride(2));
      };
      table.to_f32(p.k_cache.dtype, at(p.k_cache), keys + j * head_dim, head_dim);
      table.to_f32(p.v_cache.dtype, at(p.v_cache), values + j * v_dim, v_dim);
    }
  };
  const auto store = [&](int64_t token, int64_t first, int64_t count, const float* results) {
    for (int64_t h = 0; h < count; ++h) {
      table.from_f32(p.out.dtype, results + h * v_dim,
                     Address(p.out, token * p.out.stride(0) + (first + h) * p.out.stride(1)), v_dim);
    }
  };
  RunAttention(context, p.batch,
               {.groups = p.k_cache.size(2),
                .group_heads = p.q.size(1) / p.k_cache.size(2),
                .heads = p.q.size(1),
                .key_dim = head_dim,
                .value_dim = v_dim,
                .value_in_key = false,
                .load_query = load_query,
                .load_keys = load_keys,
                .store = store});
}

}  // namespace hadal::kernels::cpu
