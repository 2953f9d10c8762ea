// SPDX-License-Identifier: Apache-2.0
#include "server/engine/prefix_cache.h"

#include <algorithm>
#include <functional>

#include "server/base/check.h"

namespace hadal::engine {
namespace {

// Finaliser of SplitMix64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

PrefixCache::PrefixCache(const Options& options)
    : block_tokens_(options.block_tokens),
      enabled_(options.enabled),
      windows_(options.windows != nullptr && options.windows->enabled() ? options.windows : nullptr),
      events_(options.events),
      seed_(std::hash<std::string_view>()(options.fingerprint)),
      limit_(options.num_blocks),
      pool_(options.num_blocks),
      nodes_(options.num_blocks),
      evictable_(options.num_blocks) {
  if (enabled_) by_hash_.reserve(options.num_blocks);
}

uint64_t PrefixCache::Hash(uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) const {
  uint64_t hash = Mix(seed_ ^ Mix(parent + 0x9e3779b97f4a7c15ULL) ^ Mix(salt + 0x2545f4914f6cdd1dULL));
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9fb21c651e98df25ULL;
    hash ^= hash >> 32;
  }
  return Mix(hash);
}

int32_t PrefixCache::Find(uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) const {
  if (parent != 0) salt = 0;
  const auto [begin, end] = by_hash_.equal_range(Hash(parent, salt, tokens));
  for (auto it = begin; it != end; ++it) {
    const Node& node = nodes_[it->second];
    if (node.parent == parent && node.salt == salt && std::equal(tokens.begin(), tokens.end(), node.tokens.begin())) {
      return it->second;
    }
  }
  return -1;
}

PrefixCache::Lookup PrefixCache::Peek(absl::Span<const int32_t> tokens, uint64_t salt, int32_t max_blocks) const {
  Lookup lookup, usable;
  int32_t windows = 0;  // blocks with a window, directly before here
  uint64_t parent = 0;
  while (enabled_ && lookup.blocks < max_blocks) {
    const int32_t block = Find(parent, salt, tokens.subspan(size_t{1} * lookup.blocks * block_tokens_, block_tokens_));
    if (block < 0) break;
    parent = nodes_[block].id;
    ++lookup.blocks;
    if (pool_.refs(block) == 0) ++lookup.evictable;
    if (windows_ == nullptr) continue;
    windows = windows_->Holds(parent) ? windows + 1 : 0;
    if (windows >= std::min(lookup.blocks, windows_->blocks_for_hit())) usable = lookup;
  }
  return windows_ == nullptr ? lookup : usable;
}

void PrefixCache::Match(absl::Span<const int32_t> tokens, uint64_t salt, int32_t max_blocks,
                        std::vector<int32_t>& blocks, PrefixChain& chain, WindowTable& window) {
  chain = PrefixChain();
  int32_t first_window = 0;
  if (windows_ != nullptr) {
    max_blocks = Peek(tokens, salt, max_blocks).blocks;
    first_window = std::max(0, max_blocks - windows_->blocks_for_hit());
    WindowCache::StartAt(window, first_window);
  }
  while (enabled_ && chain.blocks < max_blocks) {
    const int32_t block =
        Find(chain.node, salt, tokens.subspan(size_t{1} * chain.blocks * block_tokens_, block_tokens_));
    if (block < 0) break;
    if (pool_.refs(block) == 0) {
      evictable_.Remove(block);
      pool_.Reacquire(block);
    } else {
      pool_.AddRef(block);
    }
    blocks.push_back(block);
    chain.node = nodes_[block].id;
    if (windows_ != nullptr && chain.blocks >= first_window) windows_->Adopt(window, chain.node);
    ++chain.blocks;
  }
}

bool PrefixCache::Insert(PrefixChain& chain, uint64_t salt, absl::Span<const int32_t> tokens, int32_t block) {
  HADAL_CHECK(static_cast<int32_t>(tokens.size()) == block_tokens_) << tokens.size() << " tokens";
  ++chain.blocks;
  if (!enabled_ || chain.broken) return false;
  const int32_t existing = Find(chain.node, salt, tokens);
  if (existing >= 0) {
    chain.node = nodes_[existing].id;
    return false;
  }
  Node& node = nodes_[block];
  if (node.id != 0) {  // already cached under another chain; cannot be in two
    chain.broken = true;
    return false;
  }
  node.id = next_id_++;
  node.parent = chain.node;
  node.salt = chain.node == 0 ? salt : 0;
  node.tokens.assign(tokens.begin(), tokens.end());
  node.hash = Hash(node.parent, node.salt, tokens);
  by_hash_.emplace(node.hash, block);
  chain.node = node.id;
  if (events_ != nullptr) events_->OnStored(node.id, node.parent, node.salt, tokens);
  return true;
}

void PrefixCache::Drop(int32_t block) {
  Node& node = nodes_[block];
  const auto [begin, end] = by_hash_.equal_range(node.hash);
  for (auto it = begin; it != end; ++it) {
    if (it->second == block) {
      by_hash_.erase(it);
      break;
    }
  }
  if (windows_ != nullptr) windows_->Forget(node.id);
  if (events_ != nullptr) events_->OnRemoved(node.id);
  node.id = 0;
}

void PrefixCache::TellAll() {
  events_->OnReset();
  std::vector<const Node*> cached;
  for (const Node& node : nodes_) {
    if (node.id != 0) cached.push_back(&node);
  }
  std::sort(cached.begin(), cached.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  for (const Node* node : cached) events_->OnStored(node->id, node->parent, node->salt, node->tokens);
  events_->EndRound();
}

void PrefixCache::Forget(int32_t block) {
  if (nodes_[block].id == 0) return;
  if (pool_.refs(block) == 0) {
    evictable_.Remove(block);
    pool_.AddToFreeList(block);
  }
  Drop(block);
}

void PrefixCache::EvictOldest() {
  const int32_t victim = evictable_.oldest();
  evictable_.Remove(victim);
  Drop(victim);
  pool_.AddToFreeList(victim);
}

void PrefixCache::SetLimit(int32_t blocks) {
  limit_ = blocks;
  while (pool_.total() - pool_.free() > limit_ && evictable_.oldest() >= 0) EvictOldest();
}

int32_t PrefixCache::Allocate() {
  if ((pool_.free() == 0 || AtLimit()) && evictable_.oldest() >= 0) EvictOldest();
  return pool_.Allocate();
}

void PrefixCache::Release(std::vector<int32_t>& blocks) {
  for (size_t i = blocks.size(); i-- > 0;) {
    const int32_t block = blocks[i];
    if (!pool_.Unref(block)) continue;
    if (nodes_[block].id != 0) {
      evictable_.PushNewest(block);
    } else {
      pool_.AddToFreeList(block);
    }
  }
  blocks.clear();
}

}  // namespace hadal::engine
