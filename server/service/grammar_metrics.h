// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::service {

// What is counted of grammars. Thread-safe; `registry` may be null, else it outlives this.
struct GrammarMetrics {
  explicit GrammarMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Result : size_t {
    kHit,      // found compiled
    kMiss,     // compiled
    kJoined,   // waited for one that was being compiled
    kRefused,  // not supported
    kTooSlow,
    kBusy,
    kKnownRefusal,  // refused before, and not compiled again
  };
  base::Family<base::Counter> requests{
      registry,
      {.name = "hadal_grammar_requests_total",
       .help = "Grammars asked for, by how it went.",
       .labels = {"result"},
       .series = {{"hit"}, {"miss"}, {"joined"}, {"refused"}, {"too_slow"}, {"busy"}, {"known_refusal"}}}};
  base::Family<base::Gauge> cache_bytes{registry,
                                        {"hadal_grammar_cache_bytes", "Bytes of compiled grammars that are kept."}};
  base::Family<base::Histogram> compile_time{
      registry,
      {.name = "hadal_grammar_compile_seconds", .help = "Time to compile a grammar.", .buckets = base::kWaitBuckets}};
};

}  // namespace hadal::service
