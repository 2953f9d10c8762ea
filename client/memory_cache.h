// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::client {

// Encoded answers in memory, the least lately used dropped first. Thread-safe.
class MemoryCache {
 public:
  // Bounds keys, values and their bookkeeping together; 0 keeps nothing.
  explicit MemoryCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  std::optional<std::string> Find(const std::string& key, absl::Time now);
  // Replaces an older value. One above the bound is not kept.
  void Add(const std::string& key, const std::string& value, absl::Time expires);
  int64_t bytes() const;

 private:
  struct Item {
    std::string key;
    std::string value;
    absl::Time expires;
  };
  using Items = std::list<Item>;  // the lately used first

  void Erase(Items::iterator item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  mutable base::Mutex mutex_;
  Items items_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, Items::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal::client
