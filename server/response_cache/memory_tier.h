// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/response_cache/output_key.h"

namespace hadal::response_cache {

// The first level: encoded outputs in memory, dropped by S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO Queues are All
// You Need for Cache Eviction", SOSP 2023). New entries pass through a small queue, a tenth of the bytes, and enter the
// main queue only if they are requested again, or are added again soon after their eviction. A scan of requests that
// are never repeated therefore evicts nothing else. Thread-safe.
class MemoryTier {
 public:
  using Entry = std::shared_ptr<const std::string>;

  // Bounds keys, entries and their bookkeeping together; 0 keeps nothing.
  explicit MemoryTier(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Null when there is none, or it has expired at `now`.
  Entry Find(const CacheKey& key, absl::Time now);
  // Replaces an older entry of the key. False for one above an eighth of the bound: it is not kept.
  bool Add(const CacheKey& key, Entry entry, absl::Time expires);
  void Remove(const CacheKey& key);

  struct Counts {
    int64_t bytes = 0;
    int64_t entries = 0;
    uint64_t evictions = 0;  // for want of room, since the start
  };
  Counts counts() const;

 private:
  struct Item {
    CacheKey key;
    Entry entry;
    int64_t bytes = 0;
    absl::Time expires;
    uint8_t uses = 0;  // since it entered its queue or was passed over; at most 3
    bool main = false;
  };
  using Queue = std::list<Item>;  // the newest first

  void Evict() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EvictFromSmall() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EvictFromMain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MoveToMain(Queue* from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(Queue::iterator item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddGhost(const CacheKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeGhost(const CacheKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  mutable base::Mutex mutex_;
  Queue small_ ABSL_GUARDED_BY(mutex_), main_ ABSL_GUARDED_BY(mutex_);
  int64_t small_bytes_ ABSL_GUARDED_BY(mutex_) = 0, main_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string_view, Queue::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  // Keys lately dropped from the small queue, as hashes: at most as many as there are entries. The newest last, with
  // the number of its ghost; a hash in the map with another number has come again since.
  struct Ghost {
    size_t hash = 0;
    uint64_t number = 0;
  };
  std::deque<Ghost> ghosts_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<size_t, uint64_t> ghost_numbers_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_ghost_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t evictions_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace hadal::response_cache
