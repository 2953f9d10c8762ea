// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gathered_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kKeyBlock = 64;  // keys widened at a time
constexpr int64_t kMaxHeads = 64;  // heads that share widened keys
constexpr int64_t kMinHeads = 8;   // fewer are not worth widening the keys once more
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Heads of an item: many when there are tokens enough for the threads, else fewer.
int64_t HeadTile(const GatheredAttention& a, int threads) {
  int64_t tile = std::min(a.heads, kMaxHeads);
  while (threads > 1 && tile > kMinHeads && a.tokens * ((a.heads + tile - 1) / tile) < 4 * threads) {
    tile = (tile + 1) / 2;
  }
  return tile;
}

int64_t MemoryFloats(const GatheredAttention& a, int64_t heads) {
  return heads * (a.key_dim + kKeyBlock + a.value_dim + 2) + kKeyBlock * a.key_dim;
}

// Heads [first, first + heads) of one token. `memory` holds MemoryFloats.
void RunItem(const KernelTable& table, const GatheredAttention& a, int64_t token, int64_t first, int64_t heads,
             const std::vector<const void*>& rows, float* memory) {
  float* queries = memory;
  float* keys = queries + heads * a.key_dim;
  float* scores = keys + kKeyBlock * a.key_dim;
  float* sums = scores + heads * kKeyBlock;
  float* largest = sums + heads * a.value_dim;
  float* total = largest + heads;
  a.load_query(token, first, heads, queries);
  std::fill(sums, sums + heads * a.value_dim, 0.0f);
  std::fill(largest, largest + heads, kMinusInfinity);
  std::fill(total, total + heads, 0.0f);
  const int64_t visible = static_cast<int64_t>(rows.size());
  for (int64_t begin = 0; begin < visible; begin += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, visible - begin);
    for (int64_t i = 0; i < count; ++i) table.to_f32(a.key_dtype, rows[begin + i], keys + i * a.key_dim, a.key_dim);
    table.gemm_nt(queries, a.key_dim, keys, a.key_dim, scores, kKeyBlock, heads, count, a.key_dim);
    for (int64_t h = 0; h < heads; ++h) {
      const float maximum = std::max(largest[h], table.max(scores + h * kKeyBlock, count));
      const float shift = maximum == kMinusInfinity ? 0.0f : maximum;
      const float keep = std::exp(largest[h] - shift);
      largest[h] = maximum;
      total[h] = total[h] * keep + table.exp_sum(scores + h * kKeyBlock, shift, count);
      if (keep != 1.0f) table.scale(keep, sums + h * a.value_dim, sums + h * a.value_dim, a.value_dim);
    }
    table.gemm_nn(scores, kKeyBlock, keys, a.key_dim, sums, a.value_dim, heads, a.value_dim, count);
  }
  for (int64_t h = 0; h < heads; ++h) {
    if (a.sink != nullptr) total[h] += std::exp(a.sink[first + h] - largest[h]);
    table.scale(1.0f / total[h], sums + h * a.value_dim, sums + h * a.value_dim, a.value_dim);
  }
  a.store(token, first, heads, sums);
}

}  // namespace

void RunGatheredAttention(Context& context, const GatheredAttention& a) {
  if (a.heads == 0 || a.value_dim == 0) return;
  const int64_t tile = HeadTile(a, context.pool.threads()), tiles = (a.heads + tile - 1) / tile;
  std::vector<std::vector<const void*>> rows(context.pool.threads());
  context.pool.ParallelFor(a.tokens * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    float* memory = context.worker_scratch[worker].Get<float>(MemoryFloats(a, tile));
    for (int64_t item = begin; item < end; ++item) {
      const int64_t token = item / tiles, first = item % tiles * tile;
      rows[worker].clear();
      a.list_keys(token, rows[worker]);
      RunItem(context.table, a, token, first, std::min(tile, a.heads - first), rows[worker], memory);
    }
  });
}

}  // namespace hadal::kernels::cpu
