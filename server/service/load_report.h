// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/service/load.h"

namespace hadal::service {

// The load report for balancers in a response: the fields of xds.data.orca.v3.OrcaLoadReport (Open Request Cost
// Aggregation) that a server like this one knows.
struct LoadReport {
  // Share of the batch's places or of the KV blocks that is taken, whichever is larger, plus the share of the queue
  // that is full: above 1 requests wait. The request that brings the report counts as one that runs, so that it is
  // never 0, which gRPC's weighted_round_robin would pass over. At least 1 while the server takes no requests.
  double application_utilization = 0;
  double mem_utilization = 0;  // of the memory budget
  double rps_fractional = 0;   // requests a second that were served
  double eps = 0;              // requests a second that failed or were refused
  // As vLLM calls them, and kv_cache_utilization as Triton does.
  std::vector<std::pair<std::string_view, double>> named_metrics;
};

LoadReport MakeLoadReport(const Load& load, double served_per_second, double failed_per_second);

// How HTTP carries a report: what the request header endpoint-load-metrics-format asks for.
enum class LoadReportFormat : uint8_t { kText, kJson, kBinary };

// TEXT, JSON or BIN, in any case; nullopt for anything else.
std::optional<LoadReportFormat> ParseLoadReportFormat(std::string_view name);
// Value of the response header endpoint-load-metrics: the format's name, a space, and the report in that format.
std::string FormatLoadReport(const LoadReport& report, LoadReportFormat format);
// The protobuf message, for the gRPC trailer endpoint-load-metrics-bin.
std::string SerializeLoadReport(const LoadReport& report);

inline constexpr std::string_view kLoadReportFormatHeader = "endpoint-load-metrics-format";
inline constexpr std::string_view kLoadReportHeader = "endpoint-load-metrics";
inline constexpr std::string_view kLoadReportTrailer = "endpoint-load-metrics-bin";

}  // namespace hadal::service
