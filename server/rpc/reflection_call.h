// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/rpc/server_call.h"

namespace hadal::rpc {

// grpc.reflection ServerReflectionInfo, v1 and v1alpha: the services and the descriptors of their messages, one
// response a request. A client that asks nothing for as long as a message may take is let go.
class ReflectionCall final : public ServerCall {
 public:
  ReflectionCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
      : ServerCall(environment, context, "ServerReflectionInfo", Access::kPublic) {}

 private:
  void OnMessage(CallMessage message) override;
  void OnWritten() override { ReadNext(); }
  void OnHalfClose() override { End(absl::OkStatus()); }
};

}  // namespace hadal::rpc
