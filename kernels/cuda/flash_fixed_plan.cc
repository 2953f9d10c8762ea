// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_fixed_plan.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

namespace hadal::kernels::cuda {
namespace {

int64_t CeilDiv(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int64_t Queries(const RaggedBatch& batch, int64_t sequence) {
  return batch.host_query_start[sequence + 1] - batch.host_query_start[sequence];
}

// A tile of a sequence's queries with all the keys it sees.
struct Work {
  int32_t sequence, first_row, key_end;
};

std::vector<Work> MlaWork(const RaggedBatch& batch, int64_t heads) {
  std::vector<Work> work;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t queries = Queries(batch, s), context = batch.host_context_lens[s];
    for (int64_t row = 0; row < queries * heads; row += kFlashMlaTile) {
      const int64_t seen = std::min(context, context - queries + CeilDiv(row + kFlashMlaTile, heads));
      work.push_back({static_cast<int32_t>(s), static_cast<int32_t>(row), static_cast<int32_t>(seen)});
    }
  }
  return work;
}

// Hands each piece to the pair of blocks that has the fewest keys so far, the largest first.
std::vector<std::vector<Work>> ShareOut(std::vector<Work> work, int64_t pairs) {
  std::stable_sort(work.begin(), work.end(), [](const Work& a, const Work& b) { return a.key_end > b.key_end; });
  using Load = std::pair<int64_t, int64_t>;  // keys, pair
  std::priority_queue<Load, std::vector<Load>, std::greater<Load>> loads;
  for (int64_t i = 0; i < pairs; ++i) loads.push({0, i});
  std::vector<std::vector<Work>> of_pair(pairs);
  for (const Work& piece : work) {
    const auto [keys, pair] = loads.top();
    loads.pop();
    of_pair[pair].push_back(piece);
    loads.push({keys + kFlashMlaTile + piece.key_end, pair});  // a tile costs something even without keys
  }
  return of_pair;
}

}  // namespace

FlashFixedPaged PlanFixedPaged(const RaggedBatch& batch, int64_t group) {
  std::vector<int32_t> sequences, query_tiles;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    for (int64_t tile = 0; tile < CeilDiv(Queries(batch, s) * group, kFlashFixedTile); ++tile) {
      sequences.push_back(static_cast<int32_t>(s));
      query_tiles.push_back(static_cast<int32_t>(tile));
    }
  }
  FlashFixedPaged fixed;
  FlashPagedPlan& plan = fixed.plan;
  plan.tiles = static_cast<int64_t>(sequences.size());
  plan.tile_rows = kFlashFixedTile;
  plan.sequence = AppendList(sequences, fixed.words);
  plan.query_tile = AppendList(query_tiles, fixed.words);
  plan.key_tile = AppendList(std::vector<int32_t>(sequences.size(), 0), fixed.words);
  plan.first_row = AppendList({batch.host_query_start.begin(), batch.host_query_start.end()}, fixed.words);
  plan.chunk = AppendList({std::numeric_limits<int32_t>::max()}, fixed.words);  // one tile holds every key
  return fixed;
}

FlashFixedMla PlanFixedMla(const RaggedBatch& batch, const FlashPages& pages, int64_t heads, int64_t multiprocessors) {
  constexpr int64_t kBlocksOfPair = kFlashMlaTile / 64;
  const int64_t pairs = std::max<int64_t>(multiprocessors / kBlocksOfPair, 1);
  std::vector<int32_t> q_first, kv_first, q_len, kv_len, q_start, kv_end, first_work = {0};
  for (const std::vector<Work>& pieces : ShareOut(MlaWork(batch, heads), pairs)) {
    for (const Work& piece : pieces) {
      q_first.push_back(batch.host_query_start[piece.sequence]);
      kv_first.push_back(pages.first_page[piece.sequence]);
      q_len.push_back(static_cast<int32_t>(Queries(batch, piece.sequence)));
      kv_len.push_back(batch.host_context_lens[piece.sequence]);
      q_start.push_back(piece.first_row);
      kv_end.push_back(piece.key_end);
    }
    first_work.push_back(static_cast<int32_t>(q_first.size()));
  }
  const std::vector<int32_t> none(q_first.size(), -1), zeros(std::max<int64_t>(q_first.size(), pairs * kBlocksOfPair));
  FlashFixedMla fixed;
  FlashMlaPlan& plan = fixed.plan;
  plan.blocks_x = kBlocksOfPair;
  plan.blocks_y = pairs;
  plan.q_first = AppendList(q_first, fixed.words);
  plan.kv_first = AppendList(kv_first, fixed.words);
  plan.partial_first = AppendList(none, fixed.words);  // no piece leaves a partial sum
  plan.q_len = AppendList(q_len, fixed.words);
  plan.kv_len = AppendList(kv_len, fixed.words);
  plan.q_start = AppendList(q_start, fixed.words);
  plan.kv_start = AppendList(zeros, fixed.words);
  plan.kv_end = AppendList(kv_end, fixed.words);
  plan.first_work = AppendList(first_work, fixed.words);
  // Nothing to merge: ranges from 0 to 0.
  plan.merge_start = plan.merge_end = plan.merge_partial_start = plan.merge_partial_end = plan.merge_stride =
      plan.kv_start;
  return fixed;
}

}  // namespace hadal::kernels::cuda
