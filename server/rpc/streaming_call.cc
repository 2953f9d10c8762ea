// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/streaming_call.h"

#include <utility>
#include <vector>

#include "hadal/v1/inference.pb.h"
#include "server/request/refusal.h"
#include "server/rpc/call_context.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/status_codec.h"

namespace hadal::rpc {
namespace {

using request::MakeError;
using request::Reason;
using service::CallPipeline;

grpc::ByteBuffer Serialize(const v1::GenerateResponse& message) {
  // One slice a message: responses are small, and a single slice is the cheapest to send.
  const size_t size = message.ByteSizeLong();
  grpc_slice slice = grpc_slice_malloc(size);
  message.SerializeWithCachedSizesToArray(GRPC_SLICE_START_PTR(slice));
  grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamingCall::Start(const CallEnvironment* environment,
                                                                 grpc::CallbackServerContext* context,
                                                                 const grpc::ByteBuffer* message,
                                                                 std::string_view route, DecodeMessage decode) {
  std::shared_ptr<StreamingCall> call(new StreamingCall(environment, context));
  call->self_ = call;
  environment->registry->Add(call);
  call->Admit(message, route, decode);
  return call.get();
}

void StreamingCall::Admit(const grpc::ByteBuffer* message, std::string_view route, DecodeMessage decode) {
  CallMetadata metadata;
  absl::Status status = OpenCall(*context_, *environment_, route, &metadata);
  request_id_ = metadata.info.request_id;
  pipeline_ = CallPipeline::Create(environment_->service, std::move(metadata.info), [this] { SchedulePump(); });
  if (status.ok()) status = pipeline_->Admit(static_cast<int64_t>(message->Length()));
  if (!status.ok()) return End(std::move(status));
  // The message is valid as long as this runs: the pipeline ends after it, and only then comes Finish.
  pipeline_->Submit([message, decode, priority_in_metadata = metadata.has_priority] {
    return decode(*message, priority_in_metadata);
  });
}

void StreamingCall::SchedulePump() {
  if (pump_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  environment_->executor->Post([self = shared_from_this()] { self->Pump(); });
}

void StreamingCall::Pump() {
  pump_scheduled_.exchange(false, std::memory_order_acq_rel);
  {
    base::MutexLock lock(&mutex_);
    // While a write is pending nothing is read: the token stream fills, and the engine pauses this request alone.
    if (writing_ || end_.has_value()) return;
    std::vector<v1::GenerateResponse> messages;
    const CallPipeline::Progress progress = pipeline_->Read(
        [&messages, first = first_](size_t, const service::ActiveCall& call, service::CallUpdate&& update) {
          EncodeUpdate(update, call, first, &messages);
        });
    if (!messages.empty()) first_ = false;
    for (const v1::GenerateResponse& message : messages) outbox_.push_back(Serialize(message));
    if (progress == CallPipeline::Progress::kEnded) end_ = pipeline_->status();
  }
  Advance();
}

void StreamingCall::Advance() {
  const grpc::ByteBuffer* next = nullptr;
  absl::Status end;
  {
    base::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (!outbox_.empty()) {
      writing_ = true;
      writing_since_ = environment_->service->clock().Now();
      next = &outbox_.front();
    } else if (end_.has_value() && !cancelling_) {
      finished_ = true;
      end = *end_;
    } else {
      return;
    }
  }
  // gRPC is called without the lock: it may run a reaction before it returns.
  if (next != nullptr) {
    StartWrite(next);
  } else {
    FinishWith(end);
  }
}

void StreamingCall::OnWriteDone(bool ok) {
  if (!ok) pipeline_->Cancel();
  bool read_on = false;
  {
    base::MutexLock lock(&mutex_);
    writing_ = false;
    outbox_.pop_front();
    if (!ok) {
      // The transport is gone. OnCancel comes too, but the order is not promised.
      outbox_.clear();
      end_ = MakeError(stalled_ ? Reason::kSlowReader : Reason::kCancelled, "the stream was closed before its end");
    }
    read_on = outbox_.empty() && !end_.has_value();
  }
  if (read_on) {
    SchedulePump();
  } else {
    Advance();
  }
}

// The pipeline ends with CANCELLED, which Pump turns into Finish.
void StreamingCall::OnCancel() { pipeline_->Cancel(); }

void StreamingCall::DropIfStalled(absl::Time since) {
  {
    base::MutexLock lock(&mutex_);
    if (!writing_ || stalled_ || writing_since_ > since) return;
    stalled_ = true;
    cancelling_ = true;
  }
  pipeline_->Cancel();
  context_->TryCancel();
  {
    base::MutexLock lock(&mutex_);
    cancelling_ = false;
  }
  Advance();
}

void StreamingCall::End(absl::Status status) {
  {
    base::MutexLock lock(&mutex_);
    end_ = std::move(status);
  }
  Advance();
}

void StreamingCall::FinishWith(const absl::Status& status) {
  const grpc::Status wire = ToGrpcStatus(status, request_id_);
  pipeline_->Finish(status, static_cast<int>(wire.error_code()));
  context_->AddTrailingMetadata("x-request-id", request_id_);
  if (!status.ok()) context_->AddTrailingMetadata("grpc-retry-pushback-ms", RetryPushback(status));
  Finish(wire);
}

void StreamingCall::OnDone() {
  environment_->registry->Remove(this);
  self_.reset();
}

}  // namespace hadal::rpc
