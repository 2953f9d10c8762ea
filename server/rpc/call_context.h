// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/network.h"
#include "server/rpc/call_environment.h"
#include "server/service/call_record.h"
#include "server/service/load_report.h"
#include "server/upstream/passage.h"

namespace hadal::rpc {

// A call's metadata, read before its message.
struct CallMetadata {
  service::CallInfo info;     // with the client's x-request-id when it is sane, else a new one
  bool has_priority = false;  // x-hadal-priority is there: the message's own class does not count
  std::optional<service::LoadReportFormat> load_report;  // endpoint-load-metrics-format asks for it
  // What another server is asked with, should this one refuse; nullopt: it is not to be asked. Without path and body.
  std::optional<upstream::PassedRequest> passed;
  std::vector<std::pair<std::string, std::string>> session;  // those of service::kSessionHeaders that are present
};

// Reads the metadata into `out`, except the route, and checks the key if one is needed. `out->info` can be used for the
// call's record even on an error. OUT_OF_RANGE for an unknown x-hadal-priority and for limits that
// cannot be read; UNAUTHENTICATED when `peer` lacks a certificate; else as ApiKeys::Authenticate.
absl::Status OpenCall(const grpc::CallbackServerContext& context, const CallEnvironment& environment,
                      const base::Peer& peer, bool needs_key, CallMetadata* out);

// UNSUPPORTED_MEDIA_TYPE for a call whose messages are compressed. The library has refused it by then; this gives the
// record its reason.
absl::Status CheckNotCompressed(grpc::CallbackServerContext* context);

// The time left until a gRPC deadline, infinite without one. Handles very long time-outs, for which the library's time
// points overflow into the past.
absl::Duration TimeLeft(gpr_timespec deadline);

}  // namespace hadal::rpc
