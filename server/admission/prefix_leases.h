// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "base/sync.h"
#include "server/admission/memory_ledger.h"

namespace hadal::admission {

// A request's part in PrefixLeases: for each full block of its prompt, whose lease covers it. Held by the request's
// ticket, modified by PrefixLeases only.
class PrefixHold {
 public:
  // Full blocks of the prompt that equal prompts can share. Every request computes its last token, so that token's
  // block is not shared.
  int32_t blocks() const { return static_cast<int32_t>(states_.size()); }
  // How many of them are not in the request's own lease.
  int32_t shared() const;

 private:
  friend class PrefixLeases;
  enum class State : uint8_t {
    kOwn,     // in its own lease, not shared
    kLent,    // in its own lease, others may share it
    kShared,  // in the lender's lease, or in the table's if there is no lender
  };
  std::vector<uint64_t> hashes_;  // of the block's tokens and all before them
  std::vector<State> states_;
};

// Leases prompt blocks once for all requests that share them in the prefix cache. A block that a running request has
// in the cache belongs to the lease of that request, its lender. Requests with the same prefix rely on it from Claim on
// and lease only the rest. When the lender leaves, the table takes over the bytes for as long as a sharer relies on
// them: a sharer whose blocks were evicted before it started finds the bytes reserved and recomputes the blocks.
// The sum of all leases therefore covers all blocks held; Start makes sure that no request uses a share whose bytes
// another one needs. Blocks are identified by a hash of their tokens with a per-process seed: a collision would lease
// one block too few, but never mixes contents. Thread-safe. Covers the blocks of one model, whose pool outlives it.
class PrefixLeases {
 public:
  PrefixLeases(KvPoolLedger* pool, int32_t block_tokens, int64_t block_bytes);

  // A hold for that prompt, which shares as many of its leading blocks as others have leased. To be given to Release.
  std::unique_ptr<PrefixHold> Claim(absl::Span<const int32_t> prompt, uint64_t salt);
  // The request is about to take blocks for its prompt, the first `cached_blocks` of which are in the prefix cache.
  // Blocks that others lease leave `lease`. Shared blocks that are no longer in the cache enter it, with the bytes that
  // were kept for them, or with free bytes of the pool if another request is about to compute the block. False if there
  // are none: the request must wait for that other one, and nothing was changed.
  bool Start(PrefixHold& hold, int32_t cached_blocks, MemoryLease& lease);
  // The request's own block at `index` of the prompt is now in the prefix cache.
  void Publish(PrefixHold& hold, int32_t index);
  // The request has returned its blocks and will Start again.
  void Suspend(PrefixHold& hold, MemoryLease& lease);
  // The request ends; bytes that others rely on leave `lease`.
  void Release(PrefixHold& hold, MemoryLease& lease);

  // Whether there is nothing to share. Lock-free.
  bool empty() const { return size_.load(std::memory_order_relaxed) == 0; }
  // Bytes that the table has leased, for sharers without a lender.
  int64_t kept_bytes() const;

 private:
  using State = PrefixHold::State;
  // Exists while it has a lender or sharers.
  struct Block {
    PrefixHold* lender = nullptr;
    bool cached = false;  // the lender's block is the one in the prefix cache; else it will compute it
    int32_t sharers = 0;
  };
  // Whether a request that finds (or does not find) the block in the cache cannot use its lender's bytes.
  static bool IsLost(const Block& block, bool in_cache) {
    return block.lender != nullptr && !(in_cache && block.cached);
  }
  void Lend(PrefixHold& hold, size_t index, Block& block, bool cached) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  KvPoolLedger* const pool_;
  const int32_t block_tokens_;
  const int64_t block_bytes_;
  const uint64_t seed_;
  mutable base::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Block> blocks_ ABSL_GUARDED_BY(mutex_);
  MemoryLease kept_ ABSL_GUARDED_BY(mutex_);
  std::atomic<size_t> size_{0};  // of blocks_
};

}  // namespace hadal::admission
