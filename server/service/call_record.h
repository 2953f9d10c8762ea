// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/request/token_stream.h"
#include "server/response_cache/cache_control.h"
#include "server/service/active_call.h"
#include "server/service/api_keys.h"
#include "server/service/call_metrics.h"
#include "server/service/text_stream.h"
#include "server/service/trace_context.h"

namespace hadal::service {

enum class Protocol : uint8_t { kHttp, kGrpc };

// What a front knows about a request from its headers.
struct CallInfo {
  Protocol protocol = Protocol::kHttp;
  std::string_view route;                               // a fixed route name, never the client's path
  std::string_view rpc_service = "hadal.v1.Inference";  // over gRPC; fixed as well
  std::string request_id;
  std::string network;                                 // that the client comes from (base::NetworkOf)
  TraceContext trace;                                  // that it belongs to
  Caller caller;                                       // in the class that the headers ask for; the body may change it
  absl::Time arrival;                                  // GenerateService::clock() time
  absl::Time deadline = absl::InfiniteFuture();        // of the whole answer
  absl::Time first_token_by = absl::InfiniteFuture();  // of the first token, or it is of no use
  absl::Time gives_up_at = absl::InfiniteFuture();     // when its client's library would, were nothing there
  bool may_wait = true;                                // false: x-hadal-queue: no
  std::string ticket;                                  // that it brought; empty: none
  uint64_t promise = 0;                                // what the ticket is good for (AdmissionController::OpenTicket)
  uint64_t idempotency_hash = 0;                       // of its idempotency key; 0: none
  int32_t attempts = -1;        // earlier ones at the same request, as the client counts them; -1: it does not say
  bool allow_degraded = true;   // false: x-hadal-allow-degraded: 0
  bool upstream_first = false;  // another server is asked before a fixed text answers
  response_cache::CacheControl cache;  // x-hadal-cache
};

// The party to which a request's use of shared resources is attributed: its key's tenant, else its network.
std::string SenderOf(const CallInfo& info);

// How a request ended.
struct CallOutcome {
  absl::Status status;
  int code = 0;                                      // HTTP status or gRPC code that the client was given
  Usage usage;                                       // of calls that were left in the middle: what was read of them
  std::string model;                                 // that ran it; empty: it ended before
  std::string served_by;                             // the upstream that answered; empty: this server
  std::vector<Finish> finishes;                      // of its choices, in the order in which they ended
  absl::Time first_update = absl::InfiniteFuture();  // when the front took the first of what it sends
  request::StreamTimes times;                        // of its calls together: the first to start, the last to end
  absl::Duration duration;                           // from the headers to the last byte
  // Of a request that was refused at the door: from when that could be decided to its answer. Else InfiniteDuration.
  absl::Duration refused_after = absl::InfiniteDuration();
};

// Counts one finished request, refused ones included, and writes a debug line about it: no prompt, no
// text. Thread-safe.
void RecordCall(const CallInfo& info, const CallOutcome& outcome, CallMetrics* metrics);

// Merges the times of one call into those of its request.
void MergeTimes(const request::StreamTimes& call, request::StreamTimes* request);

// The outcome label that belongs to a status: ok, shed, error, invalid or cancelled.
std::string_view OutcomeOf(const absl::Status& status);

}  // namespace hadal::service
