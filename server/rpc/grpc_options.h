// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/base/metrics.h"
#include "server/service/front_options.h"

namespace hadal::rpc {

struct GrpcOptions {
  service::FrontOptions front;
  int port = -1;  // -1: no separate port; 0 picks a free one
  int executor_threads = 1;
  int max_connections = 1024;
  int max_streams = 1024;                              // calls of one connection at a time
  int max_pending_calls = 1024;                        // over all connections: whose message has not arrived
  absl::Duration message_timeout = absl::Seconds(30);  // for a call's message to arrive
  int64_t memory_bytes = int64_t{512} << 20;           // for what gRPC holds of connections, calls and messages
  base::MetricRegistry* metrics = nullptr;             // outlives the server; nullptr: not exported

  // `front` registers its own.
  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("grpc-port", &port, {0, 65535}, "a separate port for gRPC", "same as --port");
    flags->AddInt("grpc-max-connections", &max_connections, {1, 1 << 20}, "maximum open gRPC connections");
    flags->AddInt("grpc-max-streams", &max_streams, {1, 1 << 20}, "maximum concurrent calls of one gRPC connection");
    flags->AddInt("grpc-max-pending-calls", &max_pending_calls, {1, 1 << 20},
                  "maximum gRPC calls whose message has not arrived");
    flags->AddDuration("grpc-message-timeout", &message_timeout, "how long a gRPC call's message may take to arrive");
    flags->AddBytes("grpc-memory", &memory_bytes, "memory for gRPC's connections, calls and messages in flight");
  }
};

}  // namespace hadal::rpc
