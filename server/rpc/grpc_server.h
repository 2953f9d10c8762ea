// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/network.h"
#include "server/batches/batch_service.h"
#include "server/rpc/grpc_options.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"
#include "server/upstream/upstreams.h"

namespace hadal::rpc {

// The gRPC front: the services hadal.v1.Inference and hadal.v1.Batches, grpc.health.v1.Health and reflection.
// Connections come from a separate port or, already accepted, from the HTTP listener (one port for both).
//
// A call's key is checked before its message is requested. All memory that a client can make the server hold is limited
// by GrpcOptions: connections, calls per connection, calls without a message and their duration, and the library's
// memory as a whole. Thread-safe.
class GrpcServer {
 public:
  // Borrows service and keys, and `batches` and `upstreams`, which may be null, until Shutdown has returned.
  // Unavailable when the port cannot be bound.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(GrpcOptions options, service::GenerateService* service,
                                                           const service::ApiKeys* keys,
                                                           batches::BatchService* batches = nullptr,
                                                           upstream::Upstreams* upstreams = nullptr);
  virtual ~GrpcServer() = default;

  // Takes over an accepted, non-blocking socket from which nothing has been read. `peer` is who is behind it.
  virtual void Adopt(int fd, base::Peer peer) = 0;
  // Bound port, -1 without one of its own.
  virtual int port() const = 0;
  // What grpc.health.v1 answers, for "" and for the service. Load never changes it.
  virtual void SetServing(bool serving) = 0;
  virtual int calls_in_progress() const = 0;
  // Waits until no call is in progress that an upstream may answer; false at `until`, a moment of Clock::Real() that
  // may be moved meanwhile, as ActiveCount::WaitZero.
  virtual bool WaitPassedOn(absl::FunctionRef<absl::Time()> until) = 0;
  virtual void LookAgain() = 0;
  // Sends GOAWAY, waits for calls until the time-out, cancels the rest. Idempotent.
  virtual void Shutdown(absl::Duration timeout) = 0;
};

}  // namespace hadal::rpc
