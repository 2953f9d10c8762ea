// SPDX-License-Identifier: Apache-2.0
#include "client/memory_cache.h"

namespace hadal::client {
namespace {

// A list node, a map node and two strings' heads.
constexpr int64_t kBookkeeping = 200;

int64_t SizeOf(const std::string& key, const std::string& value) {
  return static_cast<int64_t>(key.size() + value.size()) + kBookkeeping;
}

}  // namespace

std::optional<std::string> MemoryCache::Find(const std::string& key, absl::Time now) {
  base::MutexLock lock(&mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  const Items::iterator item = found->second;
  if (item->expires <= now) {
    Erase(item);
    return std::nullopt;
  }
  items_.splice(items_.begin(), items_, item);
  return item->value;
}

void MemoryCache::Add(const std::string& key, const std::string& value, absl::Time expires) {
  const int64_t size = SizeOf(key, value);
  base::MutexLock lock(&mutex_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) Erase(found->second);
  if (size > max_bytes_) return;
  while (bytes_ + size > max_bytes_) Erase(std::prev(items_.end()));
  items_.push_front({key, value, expires});
  by_key_[items_.front().key] = items_.begin();
  bytes_ += size;
}

void MemoryCache::Erase(Items::iterator item) {
  bytes_ -= SizeOf(item->key, item->value);
  by_key_.erase(item->key);
  items_.erase(item);
}

int64_t MemoryCache::bytes() const {
  base::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace hadal::client
