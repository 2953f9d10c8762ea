// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::http {

// The metrics of the listener. Thread-safe; `registry` may be null, else it outlives this.
struct HttpMetrics {
  explicit HttpMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Gauge> open_connections{registry,
                                             {.name = "hadal_open_connections",
                                              .help = "Open HTTP client connections.",
                                              .labels = {"protocol"},
                                              .series = {{"http"}}}};
};

}  // namespace hadal::http
