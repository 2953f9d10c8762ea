// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace hadal::engine {

// Ids of the KV blocks with their reference counts. A block is free (on the free list), used (one reference or more),
// or evictable: without references, but held back from the free list by the prefix cache. Owned by the engine thread.
class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);

  // A free block with one reference, or -1 when the free list is empty.
  int32_t Allocate();
  void AddRef(int32_t block);
  // Drops a reference; true when it was the last one. The block is then evictable until AddToFreeList or Reacquire.
  bool Unref(int32_t block);
  // An evictable block gets its first reference again.
  void Reacquire(int32_t block);
  // An evictable block goes to the free list.
  void AddToFreeList(int32_t block);

  int32_t total() const { return static_cast<int32_t>(refs_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t used() const { return used_; }
  int32_t evictable() const { return total() - free() - used(); }
  int32_t refs(int32_t block) const { return refs_[block]; }

 private:
  std::vector<int32_t> refs_;
  std::vector<int32_t> free_;
  int32_t used_ = 0;
};

}  // namespace hadal::engine
