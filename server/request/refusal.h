// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace hadal::request {

// Machine-readable reason of every response that is not a success. The names go to clients, metrics and logs unchanged.
enum class Reason {
  kNone,
  kConnectionQueueFull,         // CONNECTION_QUEUE_FULL: every queue slot is taken
  kConnectionLimit,             // CONNECTION_LIMIT: too many connections, streams of one, or calls without a message
  kWorkerQueueFull,             // WORKER_QUEUE_FULL: too much waits to be parsed or tokenised
  kQueueTokensFull,             // QUEUE_TOKENS_FULL
  kGrammarQueueFull,            // GRAMMAR_QUEUE_FULL: too many schemas wait to be compiled
  kGpuMemoryExhausted,          // GPU_MEMORY_EXHAUSTED
  kBodyBudgetFull,              // BODY_BUDGET_FULL: bodies in flight, of all or of this sender
  kPreemptedInQueue,            // PREEMPTED_IN_QUEUE: the queue slot was owed to another class or tenant
  kWaitLimit,                   // WAIT_LIMIT: it would wait longer than its class may, or at all against its wish
  kDeadlineInfeasible,          // DEADLINE_INFEASIBLE: the caller's deadline cannot be met now
  kModelLoading,                // MODEL_LOADING
  kDraining,                    // DRAINING
  kDeviceFault,                 // DEVICE_FAULT
  kDeadlineExpired,             // DEADLINE_EXPIRED
  kRequestTimeout,              // REQUEST_TIMEOUT: the request did not arrive in time
  kContextLengthExceeded,       // CONTEXT_LENGTH_EXCEEDED
  kRequestNeverFits,            // REQUEST_NEVER_FITS
  kInvalidRequest,              // INVALID_REQUEST: malformed
  kOutOfRange,                  // OUT_OF_RANGE: a value outside its documented range
  kModelNotFound,               // MODEL_NOT_FOUND
  kRouteNotFound,               // ROUTE_NOT_FOUND
  kObjectNotFound,              // OBJECT_NOT_FOUND: no file or batch with this id, or not the caller's
  kMethodNotAllowed,            // METHOD_NOT_ALLOWED
  kRequestNotFound,             // REQUEST_NOT_FOUND: no running request of this caller has the id
  kNotThinking,                 // NOT_THINKING: there is no reasoning to end
  kUnauthenticated,             // UNAUTHENTICATED
  kPermissionDenied,            // PERMISSION_DENIED
  kTenantQuota,                 // TENANT_QUOTA
  kBodyTooLarge,                // BODY_TOO_LARGE
  kStorageFull,                 // STORAGE_FULL: no space for files and batches
  kStorageUnavailable,          // STORAGE_UNAVAILABLE: the store of files and batches cannot be reached
  kHeadersTooLarge,             // HEADERS_TOO_LARGE
  kUnsupportedMediaType,        // UNSUPPORTED_MEDIA_TYPE: a compressed body
  kUnsupported,                 // UNSUPPORTED: known but not offered
  kNotCached,                   // NOT_CACHED: it may only be answered from the response cache
  kSlowReader,                  // SLOW_READER
  kCancelled,                   // CANCELLED
  kInsufficientSystemResource,  // INSUFFICIENT_SYSTEM_RESOURCE: running, but ended by a drain's time-out
  kUpstreamFailed,              // UPSTREAM_FAILED: the server that answers in place of this one broke off
  kInternal,                    // INTERNAL: this request alone failed
};

std::string_view ReasonName(Reason reason);
inline constexpr int kNumReasons = static_cast<int>(Reason::kInternal) + 1;

// When a refused client should return.
struct RetryHint {
  absl::Duration after;                          // from now
  std::optional<absl::Duration> estimated_wait;  // as computed, without clamps and jitter; nullopt: unknown or too long
  bool promised = false;                         // the capacity it needs is held for it from then on
  bool should_retry = true;                      // false: a retry cannot succeed
  std::string ticket;                            // identifies the client when it returns; empty: none
};

// What a front end needs for an error response. Carried as payloads of an absl::Status, so that no layer needs another
// error type.
struct ErrorDetail {
  Reason reason = Reason::kNone;
  std::optional<absl::Duration> retry_after;  // set if and only if the reason passes with time
  // As in RetryHint; meaningful with retry_after.
  std::optional<absl::Duration> estimated_wait;
  bool promised = false;
  bool should_retry = true;
  std::string ticket;
  std::string param;  // the offending field of the request, or empty
};

// The text by which clients recognise a busy server; every capacity refusal's message contains it.
inline constexpr std::string_view kBusyText = "服务器繁忙请稍后重试";

// Status with code by the table of status_map.cc for `reason`, the message, and the detail attached as a payload.
absl::Status MakeError(Reason reason, std::string_view message, std::string_view param = {});
absl::Status MakeRefusal(Reason reason, std::string_view message, absl::Duration retry_after);
// MakeRefusal with the message "Server busy (服务器繁忙请稍后重试): DETAIL; retry in 2.4 s".
absl::Status MakeBusy(Reason reason, std::string_view detail, const RetryHint& hint);
absl::Status MakeBusy(Reason reason, std::string_view detail, absl::Duration retry_after);

// Reads the detail back; a status without one is mapped from its code (Cancelled -> kCancelled, ..., else kInternal).
ErrorDetail GetErrorDetail(const absl::Status& status);

// How a reason appears on the wire; status_map.cc has the one table.
struct WireError {
  absl::StatusCode code;        // equals the gRPC code number, before --overload-grpc-code is applied
  int http_status;              // before --overload-http-status is applied
  std::string_view error_type;  // OpenAI error object's "type"
  bool capacity;                // --overload-http-status and --overload-grpc-code apply; retry hint belongs to it
};
const WireError& WireErrorFor(Reason reason);

}  // namespace hadal::request
