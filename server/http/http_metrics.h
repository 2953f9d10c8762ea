// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "server/base/metrics.h"

namespace hadal::http {

// What a connection does, as metrics call it; see ConnectionTable::Phase.
inline constexpr std::string_view kConnectionPhases[] = {"silent", "idle", "head", "body", "busy", "closing"};

// The metrics of the listener. Thread-safe; `registry` may be null, else it outlives this.
struct HttpMetrics {
  explicit HttpMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Gauge> open_connections{registry,
                                             {.name = "hadal_open_connections",
                                              .help = "Open HTTP client connections.",
                                              .labels = {"protocol"},
                                              .series = {{"http"}}}};
  base::Family<base::Counter> evicted{registry,
                                      {.name = "hadal_connections_evicted_total",
                                       .help = "HTTP connections closed to make room for others, by what they did.",
                                       .labels = {"phase"},
                                       .series = base::SeriesOf(kConnectionPhases)}};
  enum Mismatch : size_t { kPlain, kTls };
  base::Family<base::Counter> mismatches{registry,
                                         {.name = "hadal_tls_mismatches_total",
                                          .help = "Connections in plain text to a port with TLS, and the reverse.",
                                          .labels = {"found"},
                                          .series = {{"plain"}, {"tls"}}}};
  base::Family<base::Counter> accept_failures{
      registry, {"hadal_accept_failures_total", "Connections that could not be accepted, as for lack of descriptors."}};
};

}  // namespace hadal::http
