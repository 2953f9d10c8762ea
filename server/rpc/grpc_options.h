// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/base/metrics.h"
#include "server/service/front_options.h"

namespace hadal::rpc {

struct GrpcOptions {
  service::FrontOptions front;
  int port = -1;                                                    // -1: no separate port; 0 picks a free one
  bool tcp_fast_open = false;                                       // on that port, where the kernel has it
  absl::StatusCode overload_code = absl::StatusCode::kUnavailable;  // of refusals for capacity; or kResourceExhausted
  int executor_threads = 1;
  int max_connections = 1024;
  int max_streams = 1024;                              // calls of one connection at a time
  int max_pending_calls = 1024;                        // over all connections: whose message has not arrived
  absl::Duration message_timeout = absl::Seconds(30);  // for a call's message to arrive
  // Default clients ping every 10 to 30 s, also without calls; one that does so more often is cut off.
  absl::Duration min_ping_interval = absl::Seconds(10);
  absl::Duration max_idle = absl::Minutes(5);  // for a connection without calls; 0: no limit
  // Connections are renewed so that new replicas get traffic: the client is told to open another one, and calls that
  // have begun go on for the grace. 0: no limit.
  absl::Duration max_connection_age = absl::Minutes(10);
  absl::Duration connection_age_grace = absl::Hours(1);
  int64_t memory_bytes = int64_t{512} << 20;  // for what gRPC holds of connections, calls and messages
  bool load_reports = false;                  // the trailers of each call carry a load report, asked for or not
  base::MetricRegistry* metrics = nullptr;    // outlives the server; nullptr: not exported
  // Sees each connection to the port of its own first; true when it has taken it, to give back what is gRPC's by
  // GrpcServer::Adopt. Called on the listener's thread. Empty: all are gRPC's.
  std::function<bool(int fd)> screen;

  // `front` registers its own.
  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("grpc-port", &port, {0, 65535}, "a separate port for gRPC", "same as --port");
    flags->AddEnum(
        "overload-grpc-code", &overload_code,
        {{"UNAVAILABLE", absl::StatusCode::kUnavailable}, {"RESOURCE_EXHAUSTED", absl::StatusCode::kResourceExhausted}},
        "gRPC code of capacity refusals");
    flags->AddInt("grpc-max-connections", &max_connections, {1, 1 << 20}, "maximum open gRPC connections");
    flags->AddInt("grpc-max-streams", &max_streams, {1, 1 << 20}, "maximum concurrent calls of one gRPC connection");
    flags->AddInt("grpc-max-pending-calls", &max_pending_calls, {1, 1 << 20},
                  "maximum gRPC calls whose message has not arrived");
    flags->AddDuration("grpc-message-timeout", &message_timeout, "how long a gRPC call's message may take to arrive");
    flags->AddDuration("grpc-min-ping-interval", &min_ping_interval,
                       "how often a gRPC client may ping; one that does so more often is cut off");
    flags->AddDuration("grpc-max-idle", &max_idle, "how long a gRPC connection may be without calls");
    flags->AddDuration("grpc-max-connection-age", &max_connection_age,
                       "after how long a gRPC client is told to open another connection");
    flags->AddDuration("grpc-connection-age-grace", &connection_age_grace,
                       "how long calls of a connection of that age may go on");
    flags->AddBytes("grpc-memory", &memory_bytes, "memory for gRPC's connections, calls and messages in flight");
    flags->AddBool("grpc-load-reports", &load_reports,
                   "a load report with every gRPC call, as weighted_round_robin clients want it");
  }
};

}  // namespace hadal::rpc
