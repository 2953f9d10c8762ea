// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/memory_tier.h"

#include <algorithm>
#include <utility>

namespace hadal::response_cache {
namespace {

// What the lists, the map and the allocator take for an entry, roughly.
constexpr int64_t kOverheadBytes = 224;
constexpr uint8_t kMaxUses = 3;
// The small queue's share of the bytes.
constexpr int64_t kSmallPart = 10;

size_t HashOf(const CacheKey& key) { return std::hash<std::string_view>()(key); }

}  // namespace

MemoryTier::Entry MemoryTier::Find(const CacheKey& key, absl::Time now) {
  base::MutexLock lock(&mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  Item& item = *found->second;
  if (item.expires <= now) {
    Erase(found->second);
    return nullptr;
  }
  item.uses = std::min<uint8_t>(item.uses + 1, kMaxUses);
  return item.entry;
}

bool MemoryTier::Add(const CacheKey& key, Entry entry, absl::Time expires) {
  const int64_t bytes = static_cast<int64_t>(key.size() + entry->size()) + kOverheadBytes;
  if (bytes > max_bytes_ / 8) return false;
  base::MutexLock lock(&mutex_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    Item& item = *found->second;
    (item.main ? main_bytes_ : small_bytes_) += bytes - item.bytes;
    item.bytes = bytes;
    item.entry = std::move(entry);
    item.expires = expires;
  } else {
    const bool main = TakeGhost(key);
    Queue& queue = main ? main_ : small_;
    queue.push_front({key, std::move(entry), bytes, expires, 0, main});
    by_key_.emplace(queue.front().key, queue.begin());
    (main ? main_bytes_ : small_bytes_) += bytes;
  }
  while (small_bytes_ + main_bytes_ > max_bytes_) Evict();
  return true;
}

void MemoryTier::Remove(const CacheKey& key) {
  base::MutexLock lock(&mutex_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) Erase(found->second);
}

void MemoryTier::Evict() {
  if (small_bytes_ > max_bytes_ / kSmallPart || main_.empty()) {
    EvictFromSmall();
  } else {
    EvictFromMain();
  }
}

void MemoryTier::EvictFromSmall() {
  // The paper asks for two uses. An answer comes again far less often than a block of storage: one tells enough.
  if (small_.back().uses > 0) {
    MoveToMain(&small_);
    return;
  }
  AddGhost(small_.back().key);
  ++evictions_;
  Erase(std::prev(small_.end()));
}

void MemoryTier::EvictFromMain() {
  Item& oldest = main_.back();
  if (oldest.uses > 0) {
    --oldest.uses;
    main_.splice(main_.begin(), main_, std::prev(main_.end()));
    return;
  }
  ++evictions_;
  Erase(std::prev(main_.end()));
}

void MemoryTier::MoveToMain(Queue* from) {
  Item& item = from->back();
  item.uses = 0;
  item.main = true;
  small_bytes_ -= item.bytes;
  main_bytes_ += item.bytes;
  main_.splice(main_.begin(), *from, std::prev(from->end()));
}

void MemoryTier::Erase(Queue::iterator item) {
  by_key_.erase(item->key);
  (item->main ? main_bytes_ : small_bytes_) -= item->bytes;
  (item->main ? main_ : small_).erase(item);
}

void MemoryTier::AddGhost(const CacheKey& key) {
  const size_t hash = HashOf(key);
  ghosts_.push_back({hash, next_ghost_});
  ghost_numbers_[hash] = next_ghost_++;
  while (ghosts_.size() > by_key_.size()) {
    const Ghost oldest = ghosts_.front();
    ghosts_.pop_front();
    const auto found = ghost_numbers_.find(oldest.hash);
    if (found != ghost_numbers_.end() && found->second == oldest.number) ghost_numbers_.erase(found);
  }
}

bool MemoryTier::TakeGhost(const CacheKey& key) { return ghost_numbers_.erase(HashOf(key)) > 0; }

MemoryTier::Counts MemoryTier::counts() const {
  base::MutexLock lock(&mutex_);
  return {small_bytes_ + main_bytes_, static_cast<int64_t>(by_key_.size()), evictions_};
}

}  // namespace hadal::response_cache
