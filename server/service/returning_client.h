// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "server/admission/retry_planner.h"
#include "server/service/call_record.h"

namespace hadal::service {

// The headers or metadata that identify a refused client when it returns; empty if absent.
struct ReturnHeaders {
  std::string_view idempotency_key;  // idempotency-key
  std::string_view attempts;         // x-stainless-retry-count, grpc-previous-rpc-attempts: earlier attempts
  std::string_view client;           // x-hadal-client: "gateway"
  std::string_view ticket;           // x-hadal-ticket: of its last refusal
};

// Stores them in `info`. A count of attempts that is not a number is ignored.
void NoteReturnHeaders(const ReturnHeaders& headers, CallInfo* info);

// To whom the call's tickets belong: the tenant of its key, from whatever address it comes; 0 without keys.
uint64_t TicketOwner(const CallInfo& info);

// How admission identifies the caller: by the promise of its ticket, else by its idempotency key within its sender,
// else by sender, route and body length. A call that is refused before its body is seen (gRPC) has no length.
admission::RetryCaller RetryCallerOf(const CallInfo& info, int64_t body_bytes);

}  // namespace hadal::service
