// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/types/span.h"
#include "server/engine/block_events.h"
#include "server/engine/block_lru.h"
#include "server/engine/block_pool.h"
#include "server/engine/window_cache.h"

namespace hadal::engine {

// A sequence's position in the cache's chain of full blocks: the node of its last cached block.
struct PrefixChain {
  uint64_t node = 0;    // 0: the root
  int32_t blocks = 0;   // full blocks up to and including that node
  bool broken = false;  // a block could not be linked; later ones are not cached either
};

// Full KV blocks, indexed by their tokens and everything before them, so that equal prefixes are computed once. The
// blocks form a trie: a node is found by (parent node, tokens of the block), hashed for speed and compared in full, so
// different prefixes are never confused. Roots are separated by salt and model fingerprint. Unused blocks stay in the
// cache until evicted in LRU order, and count as available. With a window cache, a prefix is usable only up to a block
// before which the windows are cached as well; longer hits are shortened. Owns the block pool. Owned by the engine
// thread.
class PrefixCache {
 public:
  struct Options {
    int32_t num_blocks = 0;
    int32_t block_tokens = 64;
    std::string_view fingerprint;    // of the model
    bool enabled = true;             // false: nothing is ever cached, blocks are only counted
    WindowCache* windows = nullptr;  // of the same model; outlives the cache; null: no windows
    BlockEvents* events = nullptr;   // outlives the cache; may be null
  };
  explicit PrefixCache(const Options& options);

  struct Lookup {
    int32_t blocks = 0;     // leading blocks of the prompt that are cached
    int32_t evictable = 0;  // of these, unused ones: taking them reduces available()
  };
  // What Match would find among the first `max_blocks` blocks.
  Lookup Peek(absl::Span<const int32_t> tokens, uint64_t salt, int32_t max_blocks) const;
  // Appends the cached leading blocks to `blocks`, each with a reference of the caller's, and sets `chain` to where
  // they end. With a window cache, also puts the windows before their end into the empty `window`.
  void Match(absl::Span<const int32_t> tokens, uint64_t salt, int32_t max_blocks, std::vector<int32_t>& blocks,
             PrefixChain& chain, WindowTable& window);
  // Registers `block`, which is in use by the caller and filled with `tokens` (a full block), as the next one of the
  // chain. If an equal block is already cached, the chain continues there and `block` stays private. Returns whether
  // `block` is the one that others will find.
  bool Insert(PrefixChain& chain, uint64_t salt, absl::Span<const int32_t> tokens, int32_t block);
  // Removes a block from the cache even if it is in use, because its content must not be trusted.
  void Forget(int32_t block);

  // The blocks that may hold anything. Unused ones above it are evicted at once and later before a free block is taken;
  // blocks in use stay, and Allocate fails no sooner than without a limit: who may use blocks is decided by leases.
  void SetLimit(int32_t blocks);
  // A block for the caller, evicting the least recently used one when none is free; -1 when there is none.
  int32_t Allocate();
  // Returns the blocks of one sequence, last block first, so that a chain is evicted from its end.
  void Release(std::vector<int32_t>& blocks);

  // Ends a round of the engine for the receiver of block events.
  void EndRound() {
    if (events_ != nullptr && !events_->EndRound()) TellAll();
  }

  int32_t available() const { return pool_.free() + pool_.evictable(); }
  const BlockPool& pool() const { return pool_; }

 private:
  struct Node {
    uint64_t id = 0;  // 0: the block is not cached
    uint64_t parent = 0;
    uint64_t salt = 0;  // of a first block; 0 in later ones
    uint64_t hash = 0;
    std::vector<int32_t> tokens;
  };

  uint64_t Hash(uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) const;
  // Block of that node, or -1.
  int32_t Find(uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) const;
  void Drop(int32_t block);
  void EvictOldest();
  bool AtLimit() const { return pool_.total() - pool_.free() >= limit_; }
  // Reports every cached block, parents before children.
  void TellAll();

  const int32_t block_tokens_;
  const bool enabled_;
  WindowCache* const windows_;
  BlockEvents* const events_;
  uint64_t seed_;
  uint64_t next_id_ = 1;
  int32_t limit_;
  BlockPool pool_;
  std::vector<Node> nodes_;                             // [num_blocks]
  std::unordered_multimap<uint64_t, int32_t> by_hash_;  // hash to block
  BlockLru evictable_;
};

}  // namespace hadal::engine
