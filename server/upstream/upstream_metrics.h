// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/metrics.h"

namespace hadal::upstream {

// How an attempt at a target ended. In the order of kOutcomes.
enum class Outcome : uint8_t {
  kOk,           // its whole answer was passed on
  kBusy,         // 429, 503 or 529: it has no room itself
  kError,        // another 5xx
  kRejected,     // any other status that is no success
  kMalformed,    // no HTTP, or neither JSON nor events
  kUnreachable,  // no connection, or no TLS
  kTimeout,      // no first byte in time, or none behind it
  kBroken,       // the connection ended before the answer did
  kExpired,      // the request's deadline, or the time that an answer may take
  kCancelled,    // the client went away, or does not read
};
inline constexpr std::array<std::string_view, 10> kOutcomes = {
    "ok", "busy", "error", "rejected", "malformed", "unreachable", "timeout", "broken", "expired", "cancelled"};
inline constexpr std::array<std::string_view, 3> kCircuitStates = {"closed", "open", "half_open"};

// The metrics of upstreams; a server without any has none of them. Thread-safe; `registry` may be null, else it
// outlives this.
struct UpstreamMetrics {
  UpstreamMetrics(base::MetricRegistry* registry, const std::vector<std::string>& targets)
      : requests(registry, {.name = "hadal_upstream_requests_total",
                            .help = "Attempts to have a request answered by an upstream, by how they ended.",
                            .labels = {"target", "outcome"},
                            .series = Each(targets, kOutcomes)}),
        state(registry, {.name = "hadal_upstream_circuit_state",
                         .help = "1 for the state that the circuit breaker of an upstream is in, else 0.",
                         .labels = {"target", "state"},
                         .series = Each(targets, kCircuitStates)}),
        in_flight(registry, {.name = "hadal_upstream_requests_in_flight",
                             .help = "Requests that an upstream is answering.",
                             .labels = {"target"},
                             .series = base::SeriesOf(targets)}),
        first_byte(registry, {.name = "hadal_upstream_first_byte_seconds",
                              .help = "From the begin of an attempt to the first byte of the upstream's answer.",
                              .labels = {"target"},
                              .series = base::SeriesOf(targets),
                              .buckets = base::kWaitBuckets}) {}

  base::Counter& RequestsOf(size_t target, Outcome outcome) {
    return requests.At(target * kOutcomes.size() + static_cast<size_t>(outcome));
  }
  base::Gauge& StateOf(size_t target, size_t state_index) {
    return state.At(target * kCircuitStates.size() + state_index);
  }

  base::Family<base::Counter> requests;
  base::Family<base::Gauge> state;
  base::Family<base::Gauge> in_flight;
  base::Family<base::Histogram> first_byte;

 private:
  template <typename Values>
  static std::vector<base::LabelValues> Each(const std::vector<std::string>& targets, const Values& values) {
    std::vector<base::LabelValues> series;
    for (const std::string& target : targets) {
      for (const std::string_view value : values) series.push_back({target, std::string(value)});
    }
    return series;
  }
};

}  // namespace hadal::upstream
