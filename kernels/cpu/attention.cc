// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kKeyBlock = 64;   // keys widened at a time
constexpr int64_t kTileRows = 64;   // query rows (tokens times heads) that share widened keys
constexpr int64_t kSpanKeys = 256;  // keys [i * kSpanKeys, (i + 1) * kSpanKeys) are summed in order
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A row's result must not depend on how its keys were shared out, so additions follow a tree whose shape the positions
// alone decide: spans of keys are leaves, and a parent merges two neighbours of equal size, the left one always whole.
// A worker takes some leaves that have a common parent; what a row does not see is skipped, not added as zero.

// Some queries of one group of heads against a range of keys.
struct Item {
  int64_t sequence, group, token, tokens;  // tokens: query tokens in the tile
  int64_t visible;                         // keys that the first of them sees
  int64_t key_begin, key_end;              // key_begin is a multiple of the range's size, a power of two of spans
  int64_t partial;  // where the unfinished result goes, in floats; -1: the item is the whole range
};

// The state of an online softmax for the rows of a tile, in one piece of memory.
struct TileState {
  float* maximum;  // [rows]
  float* total;    // [rows]
  float* sums;     // [rows, value_dim]

  TileState(float* memory, int64_t rows) : maximum(memory), total(memory + rows), sums(memory + 2 * rows) {}
  static int64_t Floats(int64_t rows, int64_t value_dim) { return rows * (value_dim + 2); }

  void Clear(int64_t rows, int64_t value_dim) {
    std::fill(maximum, maximum + rows, kMinusInfinity);
    std::fill(total, total + rows, 0.0f);
    std::fill(sums, sums + rows * value_dim, 0.0f);
  }
};

int64_t GroupHeads(const AttentionSource& source, int64_t group) {
  return std::min(source.group_heads, source.heads - group * source.group_heads);
}

// Turns scores[n] of a row into weights and rescales what the row has summed so far.
void SoftmaxRow(const KernelTable& table, float* scores, int64_t n, TileState& state, int64_t row, int64_t value_dim) {
  const float before = state.maximum[row];
  const float maximum = std::max(before, table.max(scores, n));
  const float shift = maximum == kMinusInfinity ? 0.0f : maximum;
  const float keep = std::exp(before - shift);
  state.maximum[row] = maximum;
  state.total[row] = state.total[row] * keep + table.exp_sum(scores, shift, n);
  float* sums = state.sums + row * value_dim;
  if (keep != 1.0f) table.scale(keep, sums, sums, value_dim);
}

// Adds the partial result `from` of later keys to `into`, both over the same rows.
void Merge(const KernelTable& table, const TileState& from, const TileState& into, int64_t rows, int64_t value_dim) {
  for (int64_t row = 0; row < rows; ++row) {
    if (from.total[row] == 0.0f) continue;  // the row sees none of those keys
    const float maximum = std::max(from.maximum[row], into.maximum[row]);
    const float shift = maximum == kMinusInfinity ? 0.0f : maximum;
    const float keep = std::exp(into.maximum[row] - shift), add = std::exp(from.maximum[row] - shift);
    into.maximum[row] = maximum;
    into.total[row] = into.total[row] * keep + from.total[row] * add;
    float* sums = into.sums + row * value_dim;
    table.scale(keep, sums, sums, value_dim);
    table.axpy(add, from.sums + row * value_dim, sums, value_dim);
  }
}

// The tree's additions for one tile: leaves go in from the left, equal subtrees merge at once. Memory holds one state a
// level.
class MergeTree {
 public:
  MergeTree(const KernelTable& table, float* memory, int64_t rows, int64_t value_dim)
      : table_(table), memory_(memory), rows_(rows), value_dim_(value_dim) {}

  // States that a tree of so many leaves needs at most.
  static int64_t Levels(int64_t leaves) { return std::bit_width(static_cast<uint64_t>(std::max<int64_t>(leaves, 1))); }

  // Where the next leaf goes, and its memory.
  TileState Next() const { return At(depth_); }
  float* NextMemory() const { return memory_ + depth_ * TileState::Floats(rows_, value_dim_); }
  void Add() {
    ++depth_;
    // A trailing one bit of the count is a subtree as large as the one that has just become whole.
    for (int64_t count = leaves_++; (count & 1) != 0; count >>= 1) MergeTop();
  }
  // The sum of all leaves. At least one has been added.
  TileState Finish() {
    while (depth_ > 1) MergeTop();
    return At(0);
  }

 private:
  TileState At(int64_t level) const { return TileState(memory_ + level * TileState::Floats(rows_, value_dim_), rows_); }
  void MergeTop() {
    --depth_;
    Merge(table_, At(depth_), At(depth_ - 1), rows_, value_dim_);
  }

  const KernelTable& table_;
  float* memory_;
  int64_t rows_, value_dim_;
  int64_t depth_ = 0, leaves_ = 0;
};

// One span of keys [begin, end) of an item, into `state`. `queries` are those of the item; `memory` holds keys, values
// and scores.
void RunSpan(const KernelTable& table, const AttentionSource& source, const Item& item, int64_t span_begin,
             int64_t span_end, const float* queries, float* memory, TileState& state) {
  const int64_t heads = GroupHeads(source, item.group), rows = item.tokens * heads;
  const int64_t key_dim = source.key_dim, value_dim = source.value_dim;
  float* keys = memory;
  float* values = source.value_in_key ? keys : keys + kKeyBlock * key_dim;
  float* scores = keys + kKeyBlock * (key_dim + (source.value_in_key ? 0 : value_dim));
  const int64_t value_stride = source.value_in_key ? key_dim : value_dim;
  state.Clear(rows, value_dim);
  for (int64_t first = span_begin; first < span_end; first += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, span_end - first);
    source.load_keys(item.sequence, item.group, first, count, keys, values);
    // Tokens before this one see none of the block's keys.
    const int64_t skipped = std::clamp<int64_t>(first - item.visible + 1, 0, item.tokens);
    const int64_t begin = skipped * heads;
    table.gemm_nt(queries + begin * key_dim, key_dim, keys, key_dim, scores + begin * kKeyBlock, kKeyBlock,
                  rows - begin, count, key_dim);
    int64_t ready = begin;  // rows from here see the whole block and share one product
    for (int64_t t = skipped; t < item.tokens; ++t) {
      const int64_t seen = std::min(count, item.visible + t - first);
      for (int64_t h = 0; h < heads; ++h) {
        SoftmaxRow(table, scores + (t * heads + h) * kKeyBlock, seen, state, t * heads + h, value_dim);
      }
      if (seen == count) continue;
      // The diagonal: only the keys that the token may see, so that a later key's NaN cannot reach it.
      table.gemm_nn(scores + t * heads * kKeyBlock, kKeyBlock, values, value_stride, state.sums + t * heads * value_dim,
                    value_dim, heads, value_dim, seen);
      ready = (t + 1) * heads;
    }
    table.gemm_nn(scores + ready * kKeyBlock, kKeyBlock, values, value_stride, state.sums + ready * value_dim,
                  value_dim, rows - ready, value_dim, count);
  }
}

// One item: all its spans, through `tree`. `memory` is the worker's.
TileState RunItem(const KernelTable& table, const AttentionSource& source, const Item& item, MergeTree& tree,
                  float* memory) {
  const int64_t heads = GroupHeads(source, item.group);
  float* queries = memory;
  for (int64_t t = 0; t < item.tokens; ++t) {
    source.load_query(item.token + t, item.group * source.group_heads, heads, queries + t * heads * source.key_dim);
  }
  float* span_memory = queries + item.tokens * heads * source.key_dim;
  for (int64_t begin = item.key_begin; begin < item.key_end; begin += kSpanKeys) {
    TileState state = tree.Next();
    RunSpan(table, source, item, begin, std::min(begin + kSpanKeys, item.key_end), queries, span_memory, state);
    tree.Add();
  }
  return tree.Finish();
}

void StoreItem(const KernelTable& table, const AttentionSource& source, const Item& item, const TileState& state) {
  const int64_t heads = GroupHeads(source, item.group), value_dim = source.value_dim;
  for (int64_t row = 0; row < item.tokens * heads; ++row) {
    float* sums = state.sums + row * value_dim;
    const float total = state.total[row];
    table.scale(1.0f / total, sums, sums, value_dim);
  }
  for (int64_t t = 0; t < item.tokens; ++t) {
    source.store(item.token + t, item.group * source.group_heads, heads, state.sums + t * heads * value_dim);
  }
}

struct Plan {
  std::vector<Item> items;  // the parts of one split tile are neighbours
  int64_t partial_floats = 0;
  int64_t max_rows = 0;
  int64_t max_keys = 0;  // of an item
};

Plan MakePlan(const RaggedBatch& batch, const AttentionSource& source, int threads) {
  const int64_t tile_tokens = std::max<int64_t>(1, kTileRows / source.group_heads);
  int64_t tiles = 0;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t tokens = batch.host_query_start[s + 1] - batch.host_query_start[s];
    tiles += (tokens + tile_tokens - 1) / tile_tokens * source.groups;
  }
  const int64_t wanted_splits =
      tiles >= 4 * threads || threads == 1 ? 1 : (4 * threads + tiles - 1) / std::max<int64_t>(tiles, 1);
  Plan plan;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t begin = batch.host_query_start[s], end = batch.host_query_start[s + 1];
    // Later tiles see more keys: they go first, so that the workers finish together.
    for (int64_t tile = (end - begin + tile_tokens - 1) / tile_tokens - 1; tile >= 0; --tile) {
      const int64_t token = begin + tile * tile_tokens, tokens = std::min(tile_tokens, end - token);
      const int64_t visible = batch.host_context_lens[s] - (end - token) + 1;
      const int64_t keys = visible + tokens - 1;
      const int64_t spans = (keys + kSpanKeys - 1) / kSpanKeys;
      const int64_t splits = std::min(spans, wanted_splits);
      const int64_t split_keys =
          kSpanKeys * static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>((spans + splits - 1) / splits)));
      plan.max_keys = std::max(plan.max_keys, std::min(keys, split_keys));
      for (int64_t g = 0; g < source.groups; ++g) {
        const int64_t rows = tokens * GroupHeads(source, g);
        plan.max_rows = std::max(plan.max_rows, rows);
        for (int64_t key = 0; key < keys; key += split_keys) {
          Item item{s, g, token, tokens, visible, key, std::min(keys, key + split_keys), -1};
          if (split_keys < keys) {
            item.partial = plan.partial_floats;
            plan.partial_floats += TileState::Floats(rows, source.value_dim);
          }
          plan.items.push_back(item);
        }
      }
    }
  }
  return plan;
}

// Merges the parts of split tiles and stores the results. Parts are subtrees of equal size, all but the last whole.
void MergeSplits(Context& context, const AttentionSource& source, const Plan& plan, float* partials) {
  std::vector<size_t> firsts;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    if (plan.items[i].partial >= 0 && plan.items[i].key_begin == 0) firsts.push_back(i);
  }
  context.pool.ParallelFor(static_cast<int64_t>(firsts.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t f = begin; f < end; ++f) {
      const Item& item = plan.items[firsts[f]];
      const int64_t rows = item.tokens * GroupHeads(source, item.group);
      // The parts lie one after another: the tree grows over those that it has consumed.
      MergeTree tree(context.table, partials + item.partial, rows, source.value_dim);
      for (size_t i = firsts[f]; i < plan.items.size() && (i == firsts[f] || plan.items[i].key_begin > 0); ++i) {
        const float* part = partials + plan.items[i].partial;
        float* next = tree.NextMemory();
        if (next != part) std::copy(part, part + TileState::Floats(rows, source.value_dim), next);
        tree.Add();
      }
      StoreItem(context.table, source, item, tree.Finish());
    }
  });
}

}  // namespace

void RunAttention(Context& context, const RaggedBatch& batch, const AttentionSource& source) {
  if (source.heads == 0 || source.value_dim == 0) return;
  const Plan plan = MakePlan(batch, source, context.pool.threads());
  float* partials = context.shared_scratch.Get<float>(plan.partial_floats);
  const int64_t work_floats =
      plan.max_rows * (source.key_dim + kKeyBlock) + kKeyBlock * (source.key_dim + source.value_dim);
  const int64_t tree_floats = MergeTree::Levels((plan.max_keys + kSpanKeys - 1) / kSpanKeys) *
                              TileState::Floats(plan.max_rows, source.value_dim);
  context.pool.ParallelFor(static_cast<int64_t>(plan.items.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    float* memory = context.worker_scratch[worker].Get<float>(tree_floats + work_floats);
    for (int64_t i = begin; i < end; ++i) {
      const Item& item = plan.items[i];
      const int64_t rows = item.tokens * GroupHeads(source, item.group);
      MergeTree tree(context.table, memory, rows, source.value_dim);
      const TileState state = RunItem(context.table, source, item, tree, memory + tree_floats);
      if (item.partial < 0) {
        StoreItem(context.table, source, item, state);
      } else {
        std::copy(state.maximum, state.maximum + TileState::Floats(rows, source.value_dim), partials + item.partial);
      }
    }
  });
  if (plan.partial_floats > 0) MergeSplits(context, source, plan, partials);
}

}  // namespace hadal::kernels::cpu
