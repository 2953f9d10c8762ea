// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kKeyBlock = 64;                   // keys multiplied at a time
constexpr int64_t kTileRows = 512;                  // query rows (tokens times heads) that share a reading of the keys
constexpr int64_t kRangeKeys = 1024;                // keys that a worker scores at a time
constexpr int64_t kScoreFloats = int64_t{4} << 20;  // scores that are kept at a time, or one tile's
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Neighbouring queries of one sequence that see more than top_k entries.
struct Tile {
  int64_t sequence, token, tokens;
  int64_t visible;  // entries that the last of them sees, and the distance of two rows of scores
  int64_t scores;   // where they start, in floats
};

// Entries that a query sees, by its row.
int64_t Visible(const IndexTopKParams& p, int64_t sequence, int64_t row) {
  const int64_t later_rows = p.batch.host_query_start[sequence + 1] - row - 1;
  return (p.batch.host_context_lens[sequence] - later_rows) / p.tokens_per_entry;
}

// Lists every visible entry of the rows that need no choice, and cuts the others into tiles.
std::vector<Tile> MakeTiles(const IndexTopKParams& p) {
  const int64_t top_k = p.selected.size(1);
  // Tokens whose heads follow each other at one distance make one matrix.
  const bool joined = p.q.stride(0) == p.q.size(1) * p.q.stride(1);
  const int64_t tile_tokens = joined ? std::max<int64_t>(1, kTileRows / std::max<int64_t>(p.q.size(1), 1)) : 1;
  std::vector<Tile> tiles;
  for (int64_t s = 0; s < p.batch.sequences(); ++s) {
    const int64_t end = p.batch.host_query_start[s + 1];
    int64_t row = p.batch.host_query_start[s];
    for (; row < end && Visible(p, s, row) <= top_k; ++row) {
      int32_t* selected = p.selected.row<int32_t>(row);
      const int64_t visible = Visible(p, s, row);
      std::iota(selected, selected + visible, 0);
      std::fill(selected + visible, selected + top_k, -1);
    }
    for (; row < end; row += tile_tokens) {
      const int64_t tokens = std::min(tile_tokens, end - row);
      tiles.push_back({s, row, tokens, Visible(p, s, row + tokens - 1), 0});
    }
  }
  return tiles;
}

// The tile's queries as a matrix [tokens * heads, dim].
TensorView Queries(const IndexTopKParams& p, const Tile& tile) {
  const int64_t heads = p.q.size(1), dim = p.q.size(2);
  TensorView rows(Address(p.q, tile.token * p.q.stride(0)), p.q.dtype, {tile.tokens * heads, dim});
  rows.strides[0] = p.q.stride(1);
  return rows;
}

// Scores of a tile's queries against entries [begin, end). The queries are prepared in one scratch, the products and
// what makes them lie in the other two.
void ScoreRange(Context& context, const IndexTopKParams& p, const Tile& tile, int64_t begin, int64_t end, int worker,
                float* scores) {
  const int64_t heads = p.q.size(1), dim = p.q.size(2), rows = tile.tokens * heads, block_entries = p.keys.size(1);
  const int32_t* blocks = p.batch.block_tables.as<const int32_t>() + tile.sequence * p.batch.block_tables.stride(0);
  const TensorView q = Queries(p, tile);
  const PreparedX queries = PrepareXHere(context.table, q, ChooseGemmPath(context, q.dtype, p.keys.dtype, dim),
                                         context.worker_scratch2[worker]);
  float* products = context.worker_scratch3[worker].Get<float>(rows * kKeyBlock);
  for (int64_t first = begin, count = 0; first < end; first += count) {
    // Entries of one cache block are neighbours in memory and are multiplied where they lie.
    const int64_t offset = first % block_entries;
    count = std::min({kKeyBlock, end - first, block_entries - offset});
    const TensorView keys = p.keys.At(blocks[first / block_entries]).Slice(0, offset, count);
    MultiplyTile(context, context.worker_scratch[worker], queries, keys, products, kKeyBlock);
    for (int64_t t = 0; t < tile.tokens; ++t) {
      const float* weights = p.weights.row<const float>(tile.token + t);
      float* sums = scores + t * tile.visible + first;
      std::fill(sums, sums + count, 0.0f);
      for (int64_t h = 0; h < heads; ++h) {
        const float weight = weights[h];
        const float* product = products + (t * heads + h) * kKeyBlock;
        for (int64_t j = 0; j < count; ++j) sums[j] += weight * (product[j] > 0 ? product[j] : 0.0f);
      }
    }
  }
}

// Rises with the score; NaN is below everything, and both zeros are one.
uint32_t OrderOf(float score) {
  if (std::isnan(score)) score = kMinusInfinity;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// The top_k best of `n` scores, rising. `order` holds 2 * n values.
void Select(const float* scores, int64_t n, int64_t top_k, uint32_t* order, int32_t* selected) {
  uint32_t* sorted = order + n;
  for (int64_t j = 0; j < n; ++j) order[j] = OrderOf(scores[j]);
  std::memcpy(sorted, order, n * sizeof(uint32_t));
  std::nth_element(sorted, sorted + top_k - 1, sorted + n, std::greater<uint32_t>());
  const uint32_t last = sorted[top_k - 1];  // the least that is taken, perhaps not everywhere
  int64_t equal = std::count(sorted, sorted + top_k, last);
  for (int64_t j = 0, taken = 0; taken < top_k; ++j) {
    if (order[j] < last || (order[j] == last && equal == 0)) continue;
    if (order[j] == last) --equal;
    selected[taken++] = static_cast<int32_t>(j);
  }
}

// Scores the tiles and chooses; their scores lie in `scores`.
void RunTiles(Context& context, const IndexTopKParams& p, const std::vector<Tile>& tiles, float* scores) {
  struct Range {
    const Tile* tile;
    int64_t begin;
  };
  std::vector<Range> ranges;
  std::vector<std::pair<const Tile*, int64_t>> rows;
  for (const Tile& tile : tiles) {
    for (int64_t begin = 0; begin < tile.visible; begin += kRangeKeys) ranges.push_back({&tile, begin});
    for (int64_t t = 0; t < tile.tokens; ++t) rows.emplace_back(&tile, t);
  }
  context.pool.ParallelFor(static_cast<int64_t>(ranges.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const Tile& tile = *ranges[i].tile;
      ScoreRange(context, p, tile, ranges[i].begin, std::min(tile.visible, ranges[i].begin + kRangeKeys), worker,
                 scores + tile.scores);
    }
  });
  context.pool.ParallelFor(static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [tile, t] = rows[i];
      uint32_t* order = context.worker_scratch[worker].Get<uint32_t>(2 * tile->visible);
      Select(scores + tile->scores + t * tile->visible, Visible(p, tile->sequence, tile->token + t), p.selected.size(1),
             order, p.selected.row<int32_t>(tile->token + t));
    }
  });
}

}  // namespace

void IndexTopK(Context& context, const IndexTopKParams& p) {
  std::vector<Tile> round;
  int64_t floats = 0;
  const auto run = [&] {
    if (!round.empty()) RunTiles(context, p, round, context.shared_scratch.Get<float>(floats));
    round.clear();
    floats = 0;
  };
  for (Tile tile : MakeTiles(p)) {
    if (floats + tile.tokens * tile.visible > kScoreFloats) run();
    tile.scores = floats;
    floats += tile.tokens * tile.visible;
    round.push_back(tile);
  }
  run();
}

}  // namespace hadal::kernels::cpu
