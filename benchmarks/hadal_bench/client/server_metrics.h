// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hadal::bench {

// What a hadal server counts about its own refusals and exports as Prometheus text. No client can know it: whether a
// refused request could have been served, and how long it would have waited.
struct ServerMetrics {
  struct Bucket {
    double bound = 0;   // as a share of the true wait; the last one is infinite
    int64_t count = 0;  // estimates that were off by at most that
  };
  int64_t followed = 0;        // hadal_retry_ghosts_total: refusals that the server followed until their turn came
  int64_t false_refusals = 0;  // hadal_false_refusals_total: of them, those that it could have served in time
  std::vector<Bucket> errors;  // hadal_retry_after_error_ratio: early and late estimates together, by bound
  int64_t tickets_taken = 0;   // hadal_retry_tickets_total{outcome="accepted"}
  int64_t estimates() const { return errors.empty() ? 0 : errors.back().count; }
  // The median error, linear within its bucket as in Prometheus' histogram_quantile; nothing without estimates.
  std::optional<double> MedianError() const;
};

// Nothing if the text has none of these metrics: the server is not hadal.
std::optional<ServerMetrics> ParseServerMetrics(std::string_view exposition);

// What was counted between two readings of one server. Nothing if a counter went back: the server was restarted.
std::optional<ServerMetrics> MetricsBetween(const ServerMetrics& before, const ServerMetrics& after);

}  // namespace hadal::bench
