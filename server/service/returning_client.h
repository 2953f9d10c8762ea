// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "server/admission/retry_planner.h"
#include "server/service/call_record.h"

namespace hadal::service {

// The headers or metadata by which a refused client is recognised when it returns; empty where there is none.
struct ReturnHeaders {
  std::string_view idempotency_key;  // idempotency-key
  std::string_view attempts;         // x-stainless-retry-count, grpc-previous-rpc-attempts: earlier attempts
  std::string_view client;           // x-hadal-client: "gateway"
  std::string_view ticket;           // x-hadal-ticket: of its last refusal
};

// Notes in `info` what they say. A key of attempts that is not a number says nothing.
void NoteReturnHeaders(const ReturnHeaders& headers, CallInfo* info);

// By what admission recognises the caller: what its ticket was good for, else its idempotency key within its sender,
// else sender, route and body length. A call whose body has not been seen when it is refused (gRPC) has no length.
admission::RetryCaller RetryCallerOf(const CallInfo& info, int64_t body_bytes);

}  // namespace hadal::service
