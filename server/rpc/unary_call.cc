// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/unary_call.h"

#include <memory>
#include <vector>

#include "server/request/refusal.h"

namespace hadal::rpc {

void UnaryCall::OnMessage(CallMessage message) {
  if (runs_ == Runs::kAtOnce) return Reply(message.bytes);
  const auto lane = service::WorkerPool::LaneFor(static_cast<int64_t>(message.bytes.Length()));
  // Shared because the pool's jobs must be copyable.
  const bool posted = environment().service->workers().TryPost(
      [self = std::static_pointer_cast<UnaryCall>(shared_from_this()),
       message = std::make_shared<const CallMessage>(std::move(message))] { self->Reply(message->bytes); },
      lane);
  if (!posted) End(service::WorkersBusy());
}

void UnaryCall::Reply(const grpc::ByteBuffer& message) {
  if (!ready()) return;  // the client has gone meanwhile
  absl::StatusOr<grpc::ByteBuffer> response = work_(info().caller, message);
  if (!response.ok()) return End(response.status());
  std::vector<grpc::ByteBuffer> messages;
  messages.push_back(*std::move(response));
  Send(std::move(messages), absl::OkStatus());
}

UnknownCall::UnknownCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
    : ServerCall(environment, context, "unknown", Access::kKey) {}

absl::Status UnknownCall::CheckRoute() const {
  // The client's text stays out of the answer.
  return request::MakeError(request::Reason::kUnsupported, "the server has no such method");
}

}  // namespace hadal::rpc
