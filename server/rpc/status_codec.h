// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/status.h"

namespace hadal::rpc {

// The gRPC form of an error: code from the error table (capacity refusals get `overload_code`), and google.rpc.Status
// with ErrorInfo{reason, domain "hadal"} and, for refusals, RetryInfo in the details. `request_id` goes into
// ErrorInfo's metadata.
grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& request_id,
                          absl::StatusCode overload_code = absl::StatusCode::kUnavailable);

// Value of the trailer grpc-retry-pushback-ms: the retry hint in milliseconds, "-1" where a retry cannot help. Clients
// with a retry policy obey it exactly.
std::string RetryPushback(const absl::Status& status);

}  // namespace hadal::rpc
