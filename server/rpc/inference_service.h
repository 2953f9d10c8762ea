// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include "server/rpc/call_environment.h"

namespace hadal::rpc {

// The methods of hadal.v1.Inference and hadal.v1.Batches, grpc.health.v1.Health and reflection, registered as one
// generic service: for a registered method gRPC reads the message before it reports the call, for a generic one it
// reports the call as soon as the headers have arrived. There is no difference on the wire. Thread-safe.
class InferenceService final : public grpc::CallbackGenericService {
 public:
  // `environment` is borrowed and outlives the server.
  explicit InferenceService(const CallEnvironment* environment) : environment_(environment) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;

 private:
  const CallEnvironment* const environment_;
};

}  // namespace hadal::rpc
