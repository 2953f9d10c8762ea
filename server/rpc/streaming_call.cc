// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/streaming_call.h"

#include <utility>
#include <vector>

#include "hadal/v1/inference.pb.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/request_codec.h"

namespace hadal::rpc {

using service::CallPipeline;

void StreamingCall::OnMessage(grpc::ByteBuffer message) {
  std::shared_ptr<CallPipeline> pipeline =
      CallPipeline::Create(environment().service, info(), [this] { SchedulePump(); });
  {
    base::MutexLock lock(&pipeline_mutex_);
    if (ended_) return;
    pipeline_ = pipeline;
  }
  const absl::Status status = pipeline->Admit(static_cast<int64_t>(message.Length()));
  if (!status.ok()) return End(status);
  pipeline->Submit([message = std::move(message), decode = decode_, priority_in_metadata = has_priority()] {
    return decode(message, priority_in_metadata);
  });
}

void StreamingCall::SchedulePump() {
  if (pump_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  environment().executor->Post([self = std::static_pointer_cast<StreamingCall>(shared_from_this())] { self->Pump(); });
}

void StreamingCall::Pump() {
  pump_scheduled_.exchange(false, std::memory_order_acq_rel);
  base::MutexLock lock(&pump_mutex_);
  // While a write is pending nothing is read: the token stream fills, and the engine pauses this request alone.
  if (!ready()) return;
  std::vector<v1::GenerateResponse> responses;
  const std::shared_ptr<CallPipeline> pipeline = this->pipeline();
  const CallPipeline::Progress progress = pipeline->Read(
      [&responses, first = first_](size_t, const service::ActiveCall& call, service::CallUpdate&& update) {
        EncodeUpdate(update, call, first, &responses);
      });
  if (!responses.empty()) first_ = false;
  std::vector<grpc::ByteBuffer> messages;
  for (const v1::GenerateResponse& response : responses) messages.push_back(Serialize(response));
  if (!messages.empty()) Send(std::move(messages));
  if (progress == CallPipeline::Progress::kEnded) End(pipeline->status());
}

std::shared_ptr<CallPipeline> StreamingCall::pipeline() const {
  base::MutexLock lock(&pipeline_mutex_);
  return pipeline_;
}

void StreamingCall::OnAbort() {
  if (const auto pipeline = this->pipeline(); pipeline != nullptr) pipeline->Cancel();
}

void StreamingCall::OnEnd(const absl::Status& status, int code) {
  {
    base::MutexLock lock(&pipeline_mutex_);
    ended_ = true;
  }
  if (const auto pipeline = this->pipeline(); pipeline != nullptr) return pipeline->Finish(status, code);
  ServerCall::OnEnd(status, code);
}

}  // namespace hadal::rpc
