// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "server/request/output_reader.h"
#include "server/response_cache/cache_control.h"
#include "server/response_cache/lookup.h"
#include "server/response_cache/memory_tier.h"
#include "server/response_cache/output_key.h"
#include "server/response_cache/reader_options.h"
#include "server/response_cache/recorded_output.h"
#include "server/response_cache/response_cache_metrics.h"
#include "server/response_cache/response_cache_options.h"
#include "server/response_cache/second_level.h"
#include "server/response_cache/shared_output.h"
#include "server/response_cache/timer.h"

namespace hadal::response_cache {

// Outputs of deterministic requests: stored ones, and those of runs in progress.
//
//   worker   Open      what the request asks for, and its key; the second level looks for it meanwhile
//            Find      the answer is stored, or an identical request is running: no memory lease, no engine
//            Lead      otherwise: the request runs, and its output is shared and stored; unless another one came first
//   reader   the end of the output stores it
//
// The same store serves the degradation ladder, which records outputs without a request to do so (Record,
// FindRecorded). Thread-safe. Outlives all outputs and readers that it hands out.
class ResponseCache {
 public:
  struct Options {
    ResponseCacheOptions cache;
    int64_t ladder_bytes = 0;                 // more memory, for the degradation ladder's part; 0: it has none
    ResponseCacheMetrics* metrics = nullptr;  // outlives the cache; null: not exported
    const base::Clock* clock = base::Clock::Real();
    std::function<absl::Time()> wall_time = absl::Now;  // by which entries age, in other processes, too
    std::unique_ptr<Store> store;                       // instead of the one that `cache` names; null: that one
  };
  // InvalidArgument names the flag; FailedPrecondition the SQLite file that cannot be opened.
  static absl::StatusOr<std::unique_ptr<ResponseCache>> Create(Options options);

  // Whether requests may ask for it, and whether the ladder records.
  bool enabled() const { return options_.cache.enabled(); }
  bool records() const { return options_.ladder_bytes > 0; }
  // Tenants get each other's answers.
  bool shared() const { return options_.cache.shared; }

  // Find waits until it is ready, which takes no longer than the time-out for the second level.
  std::shared_ptr<Lookup> Open(CacheKey key, CacheControl control);
  // An answer that needs no engine.
  struct Answer {
    std::shared_ptr<request::OutputReader> reader;
    CacheResult result = CacheResult::kHit;
  };
  std::optional<Answer> Find(const Lookup& lookup, const ReaderOptions& reader);
  // The request runs with `output`, of which `answer` is its own reader; without an output somebody else has begun to
  // lead an equal request since Find, and `answer` is of that.
  struct Leadership {
    std::shared_ptr<SharedOutput> output;
    Answer answer;
  };
  Leadership Lead(const Lookup& lookup, const ReaderOptions& reader, int32_t capacity_tokens);

  // Neither found by others while it runs nor counted.
  std::shared_ptr<SharedOutput> Record(CacheKey key, request::Priority priority, int32_t capacity_tokens);
  std::optional<RecordedOutput> FindRecorded(const CacheKey& key);

  // An answer that nobody runs for: at the pace of replays.
  std::shared_ptr<request::OutputReader> Replay(RecordedOutput output,
                                                std::shared_ptr<request::Notifier> notifier) const;

  void CountMiss() { metrics_.lookups.At(ResponseCacheMetrics::kMiss).Increment(); }
  void CountBypass() { metrics_.lookups.At(ResponseCacheMetrics::kBypass).Increment(); }

 private:
  // An output that others may join.
  struct InFlight {
    uint64_t id = 0;
    std::weak_ptr<SharedOutput> output;
  };

  ResponseCache(Options options, std::unique_ptr<Store> store);

  std::optional<DecodedOutput> FindInMemory(const CacheKey& key);
  // What the second level had; it is in memory from then on.
  std::optional<DecodedOutput> TakeFromStore(const Lookup& lookup);
  bool InFlightNow(const CacheKey& key);
  std::optional<Answer> JoinLocked(const CacheKey& key, const ReaderOptions& reader)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Time ExpiryOf(absl::Time stored_at) const;
  void Keep(const CacheKey& key, const RecordedOutput& output);
  void EndInFlight(const CacheKey& key, uint64_t id);

  const Options options_;
  const std::unique_ptr<ResponseCacheMetrics> own_metrics_;  // null: they are somebody else's
  ResponseCacheMetrics& metrics_;
  const std::shared_ptr<Timer> timer_;  // null while requests cannot ask
  MemoryTier memory_;
  const std::unique_ptr<SecondLevel> second_;  // null: there is none
  base::Mutex mutex_;
  std::unordered_map<CacheKey, InFlight> in_flight_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t counted_evictions_ = 0;  // by the collector alone
  base::MetricCollector collector_;
};

}  // namespace hadal::response_cache
