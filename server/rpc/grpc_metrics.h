// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/base/metrics.h"

namespace hadal::rpc {

// What is counted of connections, and of calls that never became requests. Thread-safe; `registry` may be null, else it
// outlives this.
struct GrpcMetrics {
  explicit GrpcMetrics(base::MetricRegistry* registry) : registry(registry) {}

  base::MetricRegistry* const registry;

  base::Family<base::Gauge> connections{registry, {"hadal_grpc_connections", "Open gRPC connections."}};
  base::Family<base::Gauge> pending_calls{
      registry, {"hadal_grpc_pending_calls", "gRPC calls whose message has not arrived yet."}};

  enum Limit : size_t {
    kConnections,     // a connection was refused: there are too many, and all have calls
    kStreams,         // a connection was closed: its client opened more streams than it may
    kPendingCalls,    // a call was refused: too many wait for their message
    kMessageTimeout,  // a call was ended: its message did not come
  };
  base::Family<base::Counter> refusals{
      registry,
      {.name = "hadal_grpc_refusals_total",
       .help = "gRPC connections and calls that met a limit.",
       .labels = {"limit"},
       .series = {{"connections"}, {"streams"}, {"pending_calls"}, {"message_timeout"}}}};
};

}  // namespace hadal::rpc
