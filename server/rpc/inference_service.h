// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include "server/rpc/call_environment.h"

namespace hadal::rpc {

// The methods of hadal.v1.Inference, grpc.health.v1.Health and reflection. They are registered as one generic service:
// gRPC reads the message of a registered method before it tells of the call, a generic one is told of as soon as its
// headers are there. On the wire both are the same. Thread-safe.
class InferenceService final : public grpc::CallbackGenericService {
 public:
  // `environment` is borrowed and outlives the server.
  explicit InferenceService(const CallEnvironment* environment) : environment_(environment) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;

 private:
  const CallEnvironment* const environment_;
};

}  // namespace hadal::rpc
