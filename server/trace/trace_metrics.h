// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::trace {

// What became of the spans of traced requests. Thread-safe; `registry` may be null, else it outlives this.
struct TraceMetrics {
  explicit TraceMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  enum Outcome : size_t { kExported, kDropped, kFailed };
  base::Family<base::Counter> spans{registry,
                                    {.name = "hadal_trace_spans_total",
                                     .help = "Spans of traced requests, by what became of them.",
                                     .labels = {"outcome"},
                                     .series = {{"exported"}, {"dropped"}, {"failed"}}}};
};

}  // namespace hadal::trace
