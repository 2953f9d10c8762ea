// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::response_cache {

// What is counted of the response cache. Thread-safe; `registry` may be null, else it outlives this.
struct ResponseCacheMetrics {
  explicit ResponseCacheMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Lookup : size_t { kHitMemory, kHitSqlite, kHitRedis, kCoalesced, kMiss, kBypass };
  base::Family<base::Counter> lookups{
      registry,
      {.name = "hadal_response_cache_lookups_total",
       .help = "Requests that asked for the response cache, by what became of them.",
       .labels = {"result"},
       .series = {{"hit_memory"}, {"hit_sqlite"}, {"hit_redis"}, {"coalesced"}, {"miss"}, {"bypass"}}}};
  enum StoreError : size_t {
    kGetFailed,        // it was away, or answered with an error
    kTooLate,          // a request went on without its answer
    kCorrupt,          // what it had was damaged, or not ours
    kCircuitOpen,      // it was not asked
    kLookupQueueFull,  // the same
    kPutFailed,
    kWriteDropped,  // too much waited to be written, or it was not asked
  };
  base::Family<base::Counter> store_errors{
      registry,
      {.name = "hadal_response_cache_store_errors_total",
       .help = "What went wrong with the response cache's second level; each is a miss, or an answer not stored.",
       .labels = {"cause"},
       .series = {{"get_failed"},
                  {"too_late"},
                  {"corrupt"},
                  {"circuit_open"},
                  {"lookup_queue_full"},
                  {"put_failed"},
                  {"write_dropped"}}}};
  base::Family<base::Counter> store_writes{
      registry, {"hadal_response_cache_store_writes_total", "Answers written to the response cache's second level."}};
  base::Family<base::Gauge> store_circuit{
      registry,
      {.name = "hadal_response_cache_store_circuit_state",
       .help = "Whether the second level is asked: 0 yes (closed), 1 one call tries (half-open), 2 no (open).",
       .labels = {"operation"},
       .series = {{"get"}, {"put"}}}};
  base::Family<base::Counter> evictions{
      registry,
      {"hadal_response_cache_evictions_total", "Answers dropped from the response cache's memory for others."}};
  base::Family<base::Gauge> bytes{registry,
                                  {"hadal_response_cache_bytes", "Memory that answers in the response cache take."}};
  base::Family<base::Gauge> entries{registry,
                                    {"hadal_response_cache_entries", "Answers in the response cache's memory."}};
};

}  // namespace hadal::response_cache
