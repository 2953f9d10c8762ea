// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace hadal::engine {

// The evictable blocks of a pool in the order of their last use: a linked list over block ids, every operation in
// constant time and without allocation. Owned by the engine thread.
class BlockLru {
 public:
  explicit BlockLru(int32_t num_blocks) : links_(num_blocks) {}

  // The least recently used block; -1 when the list is empty.
  int32_t oldest() const { return oldest_; }

  // `block` is not in the list.
  void PushNewest(int32_t block) {
    links_[block] = {newest_, -1};
    (newest_ >= 0 ? links_[newest_].newer : oldest_) = block;
    newest_ = block;
  }

  // `block` is in the list.
  void Remove(int32_t block) {
    const Link link = links_[block];
    (link.older >= 0 ? links_[link.older].newer : oldest_) = link.newer;
    (link.newer >= 0 ? links_[link.newer].older : newest_) = link.older;
  }

 private:
  struct Link {
    int32_t older = -1;
    int32_t newer = -1;
  };
  std::vector<Link> links_;  // [num_blocks]
  int32_t oldest_ = -1;
  int32_t newest_ = -1;
};

}  // namespace hadal::engine
