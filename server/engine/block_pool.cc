// SPDX-License-Identifier: Apache-2.0
#include "server/engine/block_pool.h"

#include "server/base/check.h"

namespace hadal::engine {

BlockPool::BlockPool(int32_t num_blocks) : refs_(num_blocks, 0) {
  free_.reserve(num_blocks);
  for (int32_t block = num_blocks - 1; block >= 0; --block) free_.push_back(block);  // low ids first
}

int32_t BlockPool::Allocate() {
  if (free_.empty()) return -1;
  const int32_t block = free_.back();
  free_.pop_back();
  refs_[block] = 1;
  ++used_;
  return block;
}

void BlockPool::AddRef(int32_t block) {
  HADAL_CHECK(refs_[block] > 0) << "block " << block << " is not in use";
  ++refs_[block];
}

bool BlockPool::Unref(int32_t block) {
  HADAL_CHECK(refs_[block] > 0) << "block " << block << " is not in use";
  if (--refs_[block] > 0) return false;
  --used_;
  return true;
}

void BlockPool::Reacquire(int32_t block) {
  HADAL_CHECK(refs_[block] == 0) << "block " << block << " is in use";
  refs_[block] = 1;
  ++used_;
}

void BlockPool::AddToFreeList(int32_t block) {
  HADAL_CHECK(refs_[block] == 0) << "block " << block << " is in use";
  free_.push_back(block);
}

}  // namespace hadal::engine
