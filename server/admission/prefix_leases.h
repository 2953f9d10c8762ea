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

// A request's part in PrefixLeases: who has leased each full block of its prompt. Kept by its ticket, changed by
// PrefixLeases only.
class PrefixHold {
 public:
  // Full blocks of the prompt that equal prompts can share; the last token is computed by each, so its block is not.
  int32_t blocks() const { return static_cast<int32_t>(states_.size()); }
  // Those of them that are not in the request's own lease.
  int32_t shared() const;

 private:
  friend class PrefixLeases;
  enum class State : uint8_t {
    kOwn,     // in its own lease, for it alone
    kLent,    // in its own lease, and others may share it
    kShared,  // in the lease of its lender, or without one in that of the table
  };
  std::vector<uint64_t> hashes_;  // of the block's tokens and all before them
  std::vector<State> states_;
};

// Leases prompt blocks once for all requests that share them in the prefix cache. A block that a running request has
// in the cache is in the lease of that request, its lender. Requests with the same prefix count on it from Claim on
// and lease only the rest. When the lender leaves, the table takes the bytes over for as long as anybody counts on
// them: a sharer whose blocks were evicted before it started finds them reserved, and computes them again.
// So the sum of all leases covers what is held: nobody starts on a share whose bytes another needs (Start). A hash
// stands for its tokens, with a seed of the process's own: a collision would lease a block too little, and mix no
// contents. Thread-safe; blocks of one model, whose pool outlives it.
class PrefixLeases {
 public:
  PrefixLeases(KvPoolLedger* pool, int32_t block_tokens, int64_t block_bytes);

  // A hold for that prompt, which shares as many of its leading blocks as others have leased. To be given to Release.
  std::unique_ptr<PrefixHold> Claim(absl::Span<const int32_t> prompt, uint64_t salt);
  // The request takes blocks for its prompt, of which the prefix cache has the first `cached_blocks`. Those that others
  // lease leave `lease`. Shares that are not in the cache any more enter it, with the bytes that were kept for them;
  // where another request is about to compute such a block, with free bytes of the pool. False when there are none: the
  // request must wait for that other one, and nothing was changed.
  bool Start(PrefixHold& hold, int32_t cached_blocks, MemoryLease& lease);
  // Its own block at `index` of the prompt is in the prefix cache now.
  void Publish(PrefixHold& hold, int32_t index);
  // The request has returned its blocks and will Start again.
  void Suspend(PrefixHold& hold, MemoryLease& lease);
  // The request ends; what others count on leaves `lease`.
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
  // Whether a request that finds the block in the cache, or does not, cannot have its lender's.
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
