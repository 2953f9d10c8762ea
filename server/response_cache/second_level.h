// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/circuit_breaker.h"
#include "server/response_cache/lookup.h"
#include "server/response_cache/response_cache_metrics.h"
#include "server/response_cache/store.h"
#include "server/response_cache/timer.h"

namespace hadal::response_cache {

// Accesses a store on separate threads, so that a slow, full or unavailable store only causes misses:
//
//   look-ups   wait in a bounded queue for a few threads, and count as misses at their deadline
//   writes     wait in a queue bounded by bytes for one thread, and are dropped beyond that
//   breakers   one for look-ups and one for writes: after several failures the store is not accessed for a while, then
//              one call probes it
//
// Callers never block. Thread-safe. The destructor drops waiting work; it may take as long as the store's time-outs.
class SecondLevel {
 public:
  using Entry = Lookup::Entry;
  struct Options {
    absl::Duration lookup_timeout = absl::Milliseconds(5);
    absl::Duration write_timeout = absl::Seconds(1);
    int lookup_threads = 4;
    size_t max_lookups = 1024;
    int64_t max_write_bytes = int64_t{32} << 20;
    absl::Duration ttl = absl::InfiniteDuration();  // of what is written
    base::CircuitBreaker::Options breaker = {.window = absl::Seconds(5),
                                             .min_calls = 3,
                                             .bad_share = 0.5,
                                             .open_for = absl::Seconds(1),
                                             .max_open_for = absl::Seconds(15)};
  };
  // `timer` and `metrics` outlive it.
  SecondLevel(Options options, std::unique_ptr<Store> store, Timer* timer, ResponseCacheMetrics* metrics);
  ~SecondLevel();
  SecondLevel(const SecondLevel&) = delete;
  SecondLevel& operator=(const SecondLevel&) = delete;

  const Store& store() const { return *store_; }
  // Sets the look-up's entry, now or within the time-out.
  void Find(std::shared_ptr<Lookup> lookup);
  void Put(const CacheKey& key, Entry entry);
  // 0: closed, 1: half-open, 2: open.
  int lookup_circuit() const;
  int write_circuit() const;

 private:
  struct Write {
    CacheKey key;
    Entry entry;
  };

  void RunLookups();
  void RunWrites();
  int CircuitOf(const base::CircuitBreaker& breaker) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountError(ResponseCacheMetrics::StoreError error) { metrics_->store_errors.At(error).Increment(); }

  const Options options_;
  const std::unique_ptr<Store> store_;
  Timer* const timer_;
  ResponseCacheMetrics* const metrics_;

  mutable base::Mutex mutex_;
  base::CondVar lookups_changed_, writes_changed_;
  std::deque<std::shared_ptr<Lookup>> lookups_ ABSL_GUARDED_BY(mutex_);
  std::deque<Write> writes_ ABSL_GUARDED_BY(mutex_);
  int64_t write_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // that wait
  base::CircuitBreaker lookup_breaker_ ABSL_GUARDED_BY(mutex_), write_breaker_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::response_cache
