// SPDX-License-Identifier: Apache-2.0
#include "server/engine/window_cache.h"

#include <algorithm>
#include <limits>

#include "server/base/check.h"

namespace hadal::engine {
namespace {

models::KvLayout Layout(const WindowCache::Options& options) { return {{}, options.window_tokens}; }

}  // namespace

WindowCache::WindowCache(const Options& options)
    : options_(options),
      per_sequence_(static_cast<int32_t>(Layout(options).window_blocks_per_sequence(options.block_tokens))),
      // A query at the hit's end reads window_tokens - 1 tokens before it, and the hit ends at a block's end.
      for_hit_(options.window_tokens > 0 ? (options.window_tokens + options.block_tokens - 2) / options.block_tokens
                                         : 0),
      max_sequences_(std::numeric_limits<int32_t>::max()),
      pool_(options.blocks),
      evictable_(options.blocks),
      nodes_(options.blocks, 0) {
  if (!enabled()) return;
  const int64_t for_chunks = Layout(options).window_blocks_for(options.block_tokens, 0, options.max_batch_tokens);
  max_sequences_ = static_cast<int32_t>(std::max<int64_t>(0, options.blocks - for_chunks) / per_sequence_);
  excess_limit_ = options.blocks - max_sequences_ * per_sequence_;
  HADAL_CHECK(max_sequences_ > 0) << options.blocks << " window blocks are not enough for one sequence";
}

int32_t WindowCache::FirstColumn(int32_t position) const {
  return std::max(0, position - options_.window_tokens + 1) / options_.block_tokens;
}

int32_t WindowCache::Allocate() {
  if (pool_.free() == 0 && evictable_.oldest() >= 0) {
    const int32_t victim = evictable_.oldest();
    evictable_.Remove(victim);
    Drop(victim);
    pool_.AddToFreeList(victim);
  }
  const int32_t block = pool_.Allocate();
  // Reservations and the room for chunks add up to the pool; a shared block only leaves more.
  HADAL_CHECK(block >= 0) << "a running sequence found no window block";
  return block;
}

void WindowCache::StartAt(WindowTable& table, int32_t column) {
  HADAL_CHECK(table.blocks.empty()) << "the table has begun";
  table.blocks.assign(column, 0);
  table.begin = column;
}

void WindowCache::Adopt(WindowTable& table, uint64_t node) {
  const auto it = by_node_.find(node);
  HADAL_CHECK(it != by_node_.end()) << "node " << node << " has no window";
  const int32_t block = it->second;
  if (pool_.refs(block) == 0) {
    evictable_.Remove(block);
    pool_.Reacquire(block);
  } else {
    pool_.AddRef(block);
  }
  table.blocks.push_back(block);
}

int32_t WindowCache::Extend(WindowTable& table, int32_t end) {
  while (static_cast<int64_t>(table.blocks.size()) * options_.block_tokens < end) {
    if (table.held() >= per_sequence_) {
      if (excess_ >= excess_limit_) break;
      ++excess_;
    }
    table.blocks.push_back(Allocate());
  }
  return static_cast<int32_t>(
      std::min<int64_t>(end, static_cast<int64_t>(table.blocks.size()) * options_.block_tokens));
}

void WindowCache::Register(WindowTable& table, int32_t column, uint64_t node) {
  if (!options_.reuse || column < table.begin) return;
  const int32_t block = table.blocks[column];
  // A block that was adopted is registered already, under this very node unless the chain was cached anew.
  if (nodes_[block] != 0 || !by_node_.emplace(node, block).second) return;
  nodes_[block] = node;
  table.nodes.push_back(node);
}

void WindowCache::Advance(WindowTable& table, int32_t position) {
  const int32_t end = std::min(FirstColumn(position), static_cast<int32_t>(table.blocks.size()));
  if (end <= table.begin) return;
  excess_ -= Excess(table);
  for (; table.begin < end; ++table.begin) {
    Unref(table.blocks[table.begin]);
    table.blocks[table.begin] = 0;
  }
  excess_ += Excess(table);
}

void WindowCache::Forget(uint64_t node) {
  const auto it = by_node_.find(node);
  if (it == by_node_.end()) return;
  const int32_t block = it->second;
  Drop(block);
  if (pool_.refs(block) > 0) return;
  evictable_.Remove(block);
  pool_.AddToFreeList(block);
}

void WindowCache::Forget(WindowTable& table) {
  for (const uint64_t node : table.nodes) Forget(node);
  table.nodes.clear();
}

void WindowCache::Release(WindowTable& table) {
  excess_ -= Excess(table);
  for (size_t column = table.begin; column < table.blocks.size(); ++column) Unref(table.blocks[column]);
  table = WindowTable();
}

void WindowCache::Unref(int32_t block) {
  if (!pool_.Unref(block)) return;
  if (nodes_[block] != 0) {
    evictable_.PushNewest(block);
  } else {
    pool_.AddToFreeList(block);
  }
}

void WindowCache::Drop(int32_t block) {
  by_node_.erase(nodes_[block]);
  nodes_[block] = 0;
}

}  // namespace hadal::engine
