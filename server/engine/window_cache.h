// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "models/kv_layout.h"
#include "server/engine/block_lru.h"
#include "server/engine/block_pool.h"

namespace hadal::engine {

// The window blocks of one sequence: column j holds the block of tokens [j * block_tokens, (j + 1) * block_tokens).
// Columns before `begin` are out of the window and have been returned; they hold 0.
struct WindowTable {
  std::vector<int32_t> blocks;
  int32_t begin = 0;
  std::vector<uint64_t> nodes;  // of the prefix cache, to which this sequence gave a window block

  int32_t held() const { return static_cast<int32_t>(blocks.size()) - begin; }
};

// The pool of window blocks of a model with windowed caches (KvLayout::window_tokens), and the windows that later
// requests may reuse. A sequence's table grows with its tokens and shrinks as its window advances. Full blocks are
// registered under their node of the prefix cache; unused registered blocks stay and are evicted in LRU order.
//
// Each running sequence has a reservation of blocks_per_sequence() blocks, so that a decode row always finds its block.
// Prompt chunks may exceed the reservation, in total by at most the unreserved blocks; a chunk that would exceed this
// is shortened. Owned by the engine thread. Without a window every call does nothing.
class WindowCache {
 public:
  struct Options {
    int32_t window_tokens = 0;     // 0: the model has no windowed cache
    int32_t blocks = 0;            // of the pool
    int32_t block_tokens = 64;     // as in the full-attention KV pool
    int32_t max_batch_tokens = 0;  // of a step
    bool reuse = true;             // false: nothing is registered
  };
  explicit WindowCache(const Options& options);

  bool enabled() const { return options_.window_tokens > 0; }
  // Sequences that may run, paused ones included; no limit without a window.
  int32_t max_sequences() const { return max_sequences_; }
  // Blocks reserved for each running sequence.
  int32_t blocks_per_sequence() const { return per_sequence_; }
  // Window blocks directly before a prefix hit's end that must be there: all of them when the prefix is shorter.
  int32_t blocks_for_hit() const { return for_hit_; }
  // The first column that a query at `position` or later reads.
  int32_t FirstColumn(int32_t position) const;
  const BlockPool& pool() const { return pool_; }

  // A window block is registered for that node.
  bool Holds(uint64_t node) const { return by_node_.contains(node); }
  // Starts an empty table at that column: earlier ones are out of the window.
  static void StartAt(WindowTable& table, int32_t column);
  // Adds a column with the registered block of `node`.
  void Adopt(WindowTable& table, uint64_t node);
  // Adds columns until the table covers tokens [0, end) or the room for chunks is used up; the tokens that it covers,
  // at most `end`. Columns within the sequence's reservation are always granted.
  int32_t Extend(WindowTable& table, int32_t end);
  // Registers a full block of the table under its node, unless the node has one.
  void Register(WindowTable& table, int32_t column, uint64_t node);
  // Returns the columns that no query at `position` or later reads.
  void Advance(WindowTable& table, int32_t position);
  // Removes the window of that node from the cache, although it may be in use: the node is gone, or must
  // not be trusted.
  void Forget(uint64_t node);
  // The same for everything that the table's sequence has registered.
  void Forget(WindowTable& table);
  // Returns everything.
  void Release(WindowTable& table);

 private:
  int32_t Allocate();
  void Unref(int32_t block);
  void Drop(int32_t block);
  // Blocks of the table beyond its reservation.
  int32_t Excess(const WindowTable& table) const {
    return table.held() > per_sequence_ ? table.held() - per_sequence_ : 0;
  }

  const Options options_;
  const int32_t per_sequence_;
  const int32_t for_hit_;
  int32_t max_sequences_;
  int32_t excess_limit_ = 0;
  int32_t excess_ = 0;  // blocks that tables hold beyond their reservations, shared ones counted for each
  BlockPool pool_;
  BlockLru evictable_;
  std::vector<uint64_t> nodes_;                    // [blocks] 0: not registered
  std::unordered_map<uint64_t, int32_t> by_node_;  // node to block
};

}  // namespace hadal::engine
