// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/server_call.h"

namespace hadal::rpc {

// A call with one response that needs no queue slot.
class UnaryCall final : public ServerCall {
 public:
  // From the message's bytes to the response's. Runs once; what it captures outlives the server.
  using Work =
      std::function<absl::StatusOr<grpc::ByteBuffer>(const service::Caller& caller, const grpc::ByteBuffer& message)>;
  enum class Runs : uint8_t { kAtOnce, kOnWorker };

  UnaryCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context, std::string_view route,
            Access access, Runs runs, Work work)
      : ServerCall(environment, context, route, access), runs_(runs), work_(std::move(work)) {}

 private:
  void OnMessage(CallMessage message) override;
  void Reply(const grpc::ByteBuffer& message);

  const Runs runs_;
  const Work work_;
};

// A method that the server does not have.
class UnknownCall final : public ServerCall {
 public:
  UnknownCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context);

 private:
  absl::Status CheckRoute() const override;
  void OnMessage(CallMessage) override {}
};

}  // namespace hadal::rpc
