// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/streaming_call.h"

#include <utility>
#include <vector>

#include "hadal/v1/inference.pb.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/request_codec.h"

namespace hadal::rpc {

using service::CallPipeline;

absl::Status StreamingCall::OnOpened() {
  pipeline_ = CallPipeline::Create(environment().service, info(), [this] { SchedulePump(); });
  return pipeline_->CheckRoom(/*body_bytes=*/0);
}

void StreamingCall::OnMessage(CallMessage message) {
  const absl::Status status = pipeline_->Admit(static_cast<int64_t>(message.bytes.Length()));
  if (!status.ok()) return End(status);
  // Shared because the pipeline's function must be copyable; the pipeline destroys it once it has run.
  pipeline_->Submit([message = std::make_shared<const CallMessage>(std::move(message)), decode = decode_,
                     priority_in_metadata = has_priority()] { return decode(message->bytes, priority_in_metadata); });
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
  const CallPipeline::Progress progress = pipeline_->Read(
      [this, &responses, first = first_](size_t, const service::ActiveCall& call, service::CallUpdate&& update) {
        if (call.has_partial_grammar()) partial_grammar_ = true;
        if (call.degraded() != service::Rung::kNone) degraded_ = call.degraded();
        cache_ = call.cache();
        EncodeUpdate(update, call, first, &responses);
      });
  if (!responses.empty()) first_ = false;
  std::vector<grpc::ByteBuffer> messages;
  for (const v1::GenerateResponse& response : responses) messages.push_back(Serialize(response));
  if (progress == CallPipeline::Progress::kEnded) {
    Send(std::move(messages), pipeline_->status());
  } else if (!messages.empty()) {
    Send(std::move(messages));
  }
}

void StreamingCall::OnAbort() {
  if (pipeline_ != nullptr) pipeline_->Cancel();
}

void StreamingCall::OnEnd(const absl::Status& status, int code) {
  if (pipeline_ == nullptr) return ServerCall::OnEnd(status, code);
  if (partial_grammar_) AddTrailer("x-hadal-grammar", "partial");
  if (const service::Rung rung = degraded_; rung != service::Rung::kNone) {
    AddTrailer("x-hadal-degraded", service::RungName(rung));
  }
  if (const response_cache::CacheResult cache = cache_; cache != response_cache::CacheResult::kNone) {
    AddTrailer("x-hadal-cache", response_cache::CacheResultName(cache));
  }
  pipeline_->Finish(status, code);
}

}  // namespace hadal::rpc
