// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::kv_events {

// What is counted of published cache events. `registry` outlives this, or is null.
struct KvEventMetrics {
  explicit KvEventMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Event : size_t { kStored, kRemoved, kCleared };
  base::Family<base::Counter> events{registry,
                                     {.name = "hadal_kv_events_total",
                                      .help = "Blocks of the prefix cache published as stored or removed, and resets.",
                                      .labels = {"event"},
                                      .series = {{"stored"}, {"removed"}, {"cleared"}}}};
  base::Family<base::Counter> batches{registry, {"hadal_kv_event_batches_total", "Messages with cache events."}};
  base::Family<base::Counter> overflows{
      registry, {"hadal_kv_event_overflows_total", "Times that cache events came faster than they were published."}};
  base::Family<base::Counter> replays{
      registry, {"hadal_kv_event_replays_total", "Requests of subscribers for cache events that they missed."}};
};

}  // namespace hadal::kv_events
