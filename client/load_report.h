// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "hadal/v1/inference.pb.h"

namespace hadal::client {

// How many requests a server has; one that is not ready, or drains, more than any other.
double RequestsOf(const v1::GetLoadResponse& load);
// The same from the load report in a call's trailers: "BIN " and the message xds.data.orca.v3.OrcaLoadReport in base64.
// nullopt when it is none, or does not count requests.
std::optional<double> RequestsOfReport(std::string_view value);

// What a server has that does not take requests, or does not say.
inline constexpr double kUnfit = 1e9;

// A call's metadata ask for the report in BIN; its trailers bring it. gRPC has a trailer of its own for it, but keeps
// that from the application.
inline constexpr char kLoadReportFormat[] = "endpoint-load-metrics-format";
inline constexpr char kLoadReportTrailer[] = "endpoint-load-metrics";

}  // namespace hadal::client
