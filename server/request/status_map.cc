// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "server/request/refusal.h"

namespace hadal::request {
namespace {

struct Row {
  Reason reason;
  std::string_view name;
  WireError wire;
};

using Code = absl::StatusCode;

// The one table for both fronts. `capacity` rows follow --overload-http-status; loading, draining and a device fault
// stay 503 whatever it says.
constexpr std::array kTable = {
    Row{Reason::kNone, "NONE", {Code::kOk, 200, "", false}},
    Row{Reason::kConnectionQueueFull, "CONNECTION_QUEUE_FULL", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kConnectionLimit, "CONNECTION_LIMIT", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kWorkerQueueFull, "WORKER_QUEUE_FULL", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kQueueTokensFull, "QUEUE_TOKENS_FULL", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kGrammarQueueFull, "GRAMMAR_QUEUE_FULL", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kGpuMemoryExhausted, "GPU_MEMORY_EXHAUSTED", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kBodyBudgetFull, "BODY_BUDGET_FULL", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kPreemptedInQueue, "PREEMPTED_IN_QUEUE", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kWaitLimit, "WAIT_LIMIT", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kDeadlineInfeasible, "DEADLINE_INFEASIBLE", {Code::kUnavailable, 503, "overloaded_error", true}},
    Row{Reason::kModelLoading, "MODEL_LOADING", {Code::kUnavailable, 503, "overloaded_error", false}},
    Row{Reason::kDraining, "DRAINING", {Code::kUnavailable, 503, "overloaded_error", false}},
    Row{Reason::kDeviceFault, "DEVICE_FAULT", {Code::kUnavailable, 503, "overloaded_error", false}},
    Row{Reason::kDeadlineExpired, "DEADLINE_EXPIRED", {Code::kDeadlineExceeded, 504, "timeout_error", false}},
    Row{Reason::kRequestTimeout, "REQUEST_TIMEOUT", {Code::kDeadlineExceeded, 408, "timeout_error", false}},
    Row{Reason::kContextLengthExceeded,
        "CONTEXT_LENGTH_EXCEEDED",
        {Code::kInvalidArgument, 400, "invalid_request_error", false}},
    Row{Reason::kRequestNeverFits, "REQUEST_NEVER_FITS", {Code::kInvalidArgument, 400, "invalid_request_error", false}},
    Row{Reason::kInvalidRequest, "INVALID_REQUEST", {Code::kInvalidArgument, 400, "invalid_request_error", false}},
    Row{Reason::kOutOfRange, "OUT_OF_RANGE", {Code::kInvalidArgument, 422, "invalid_request_error", false}},
    Row{Reason::kModelNotFound, "MODEL_NOT_FOUND", {Code::kNotFound, 404, "invalid_request_error", false}},
    Row{Reason::kRouteNotFound, "ROUTE_NOT_FOUND", {Code::kNotFound, 404, "invalid_request_error", false}},
    Row{Reason::kObjectNotFound, "OBJECT_NOT_FOUND", {Code::kNotFound, 404, "invalid_request_error", false}},
    Row{Reason::kMethodNotAllowed, "METHOD_NOT_ALLOWED", {Code::kUnimplemented, 405, "invalid_request_error", false}},
    Row{Reason::kRequestNotFound, "REQUEST_NOT_FOUND", {Code::kNotFound, 404, "invalid_request_error", false}},
    Row{Reason::kNotThinking, "NOT_THINKING", {Code::kFailedPrecondition, 409, "invalid_request_error", false}},
    Row{Reason::kUnauthenticated, "UNAUTHENTICATED", {Code::kUnauthenticated, 401, "authentication_error", false}},
    Row{Reason::kPermissionDenied, "PERMISSION_DENIED", {Code::kPermissionDenied, 403, "permission_error", false}},
    Row{Reason::kTenantQuota, "TENANT_QUOTA", {Code::kResourceExhausted, 429, "rate_limit_error", false}},
    Row{Reason::kBodyTooLarge, "BODY_TOO_LARGE", {Code::kResourceExhausted, 413, "invalid_request_error", false}},
    Row{Reason::kStorageFull, "STORAGE_FULL", {Code::kResourceExhausted, 507, "server_error", false}},
    Row{Reason::kStorageUnavailable, "STORAGE_UNAVAILABLE", {Code::kUnavailable, 503, "server_error", false}},
    Row{Reason::kHeadersTooLarge, "HEADERS_TOO_LARGE", {Code::kResourceExhausted, 431, "invalid_request_error", false}},
    Row{Reason::kUnsupportedMediaType,
        "UNSUPPORTED_MEDIA_TYPE",
        {Code::kUnimplemented, 415, "invalid_request_error", false}},
    Row{Reason::kUnsupported, "UNSUPPORTED", {Code::kUnimplemented, 501, "invalid_request_error", false}},
    Row{Reason::kNotCached, "NOT_CACHED", {Code::kNotFound, 504, "invalid_request_error", false}},
    Row{Reason::kSlowReader, "SLOW_READER", {Code::kCancelled, 499, "cancelled_error", false}},
    Row{Reason::kCancelled, "CANCELLED", {Code::kCancelled, 499, "cancelled_error", false}},
    Row{Reason::kInsufficientSystemResource,
        "INSUFFICIENT_SYSTEM_RESOURCE",
        {Code::kUnavailable, 503, "overloaded_error", false}},
    Row{Reason::kUpstreamFailed, "UPSTREAM_FAILED", {Code::kUnavailable, 502, "server_error", false}},
    Row{Reason::kInternal, "INTERNAL", {Code::kInternal, 500, "server_error", false}},
};

constexpr bool TableIsInEnumOrder() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].reason) != i) return false;
  }
  return kTable.size() == static_cast<size_t>(Reason::kInternal) + 1;
}
static_assert(TableIsInEnumOrder());

const Row& RowFor(Reason reason) { return kTable[static_cast<size_t>(reason)]; }

}  // namespace

std::string_view ReasonName(Reason reason) { return RowFor(reason).name; }

const WireError& WireErrorFor(Reason reason) { return RowFor(reason).wire; }

}  // namespace hadal::request
