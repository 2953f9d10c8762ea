// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/streaming_call.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include "absl/strings/str_cat.h"
#include "hadal/v1/inference.pb.h"
#include "server/request/refusal.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/status_codec.h"

namespace hadal::rpc {
namespace {

using request::MakeError;
using request::Reason;

template <typename Message>
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, Message* message) {
  grpc::ByteBuffer copy(bytes);  // shares the slices
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader)) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("the message is not a valid ", message->GetTypeName()));
  }
  return absl::OkStatus();
}

grpc::ByteBuffer Serialize(const v1::GenerateResponse& message) {
  // One slice a message: responses are small, and a single slice is the cheapest to send.
  const size_t size = message.ByteSizeLong();
  grpc_slice slice = grpc_slice_malloc(size);
  message.SerializeWithCachedSizesToArray(GRPC_SLICE_START_PTR(slice));
  grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

}  // namespace

StreamingCall::StreamingCall(const CallEnvironment* environment, grpc::CallbackServerContext* context,
                             const grpc::ByteBuffer* message, std::string_view route)
    : environment_(environment),
      context_(context),
      message_(message),
      route_(route),
      notifier_(std::make_shared<request::Notifier>([this] { SchedulePump(); })) {}

void StreamingCall::Admit() {
  environment_->registry->Add(self_);
  if (absl::Status status = ReadMetadata(*context_, environment_->service->clock(), &metadata_); !status.ok()) {
    return End(status);
  }
  absl::StatusOr<service::Caller> caller =
      environment_->keys->Authenticate(metadata_.authorization, metadata_.priority);
  if (!caller.ok()) return End(caller.status());
  caller_ = *std::move(caller);

  admission::AdmissionRequest arrival;
  arrival.priority = caller_.priority;
  arrival.tenant = caller_.tenant;
  arrival.request_id = metadata_.request_id;
  arrival.body_bytes = static_cast<int64_t>(message_->Length());
  absl::StatusOr<admission::Ticket> ticket = environment_->service->Admit(arrival);
  if (!ticket.ok()) return End(ticket.status());

  // std::function wants a copyable job; the ticket is not.
  auto shared_ticket = std::make_shared<admission::Ticket>(*std::move(ticket));
  if (!environment_->service->workers().TryPost(
          [self = shared_from_this(), shared_ticket] { self->DecodeOnWorker(std::move(*shared_ticket)); })) {
    End(request::MakeBusy(Reason::kConnectionQueueFull, "all workers are taken", absl::Seconds(1)));
  }
}

absl::Status StreamingCall::ApplyMetadata(std::optional<request::Priority> wanted, service::CallOptions* options) {
  if (wanted.has_value() && !metadata_.priority.has_value()) {
    absl::StatusOr<service::Caller> caller = environment_->keys->Authenticate(metadata_.authorization, wanted);
    if (!caller.ok()) return caller.status();
    caller_ = *std::move(caller);
  }
  options->request_id = metadata_.request_id;
  options->tenant = caller_.tenant;
  options->priority = caller_.priority;
  options->arrival = metadata_.arrival;
  options->deadline = metadata_.deadline;
  return absl::OkStatus();
}

void StreamingCall::DecodeOnWorker(admission::Ticket ticket) {
  {
    base::MutexLock lock(&mutex_);
    if (cancelled_) ticket = admission::Ticket();
  }
  if (!ticket.holds_slot()) return End(MakeError(Reason::kCancelled, "the caller went away"));
  absl::StatusOr<std::unique_ptr<service::PreparedCall>> prepared = Decode();
  if (!prepared.ok()) return End(prepared.status());
  service::PendingGrammar* const grammar = (*prepared)->grammar();
  if (grammar == nullptr || grammar->ready()) return StartOnWorker(*std::move(prepared), std::move(ticket));
  // std::function wants copyable state.
  struct Waiting {
    std::unique_ptr<service::PreparedCall> call;
    admission::Ticket ticket;
  };
  auto waiting = std::make_shared<Waiting>(Waiting{*std::move(prepared), std::move(ticket)});
  grammar->OnReady([self = shared_from_this(), waiting] {
    auto start = [self, waiting] { self->StartOnWorker(std::move(waiting->call), std::move(waiting->ticket)); };
    if (self->environment_->service->workers().TryPost(std::move(start))) return;
    self->End(request::MakeBusy(Reason::kConnectionQueueFull, "all workers are taken", absl::Seconds(1)));
  });
}

void StreamingCall::StartOnWorker(std::unique_ptr<service::PreparedCall> prepared, admission::Ticket ticket) {
  {
    base::MutexLock lock(&mutex_);
    if (cancelled_) ticket = admission::Ticket();
  }
  if (!ticket.holds_slot()) return End(MakeError(Reason::kCancelled, "the caller went away"));
  absl::StatusOr<std::unique_ptr<service::ActiveCall>> call =
      environment_->service->Start(std::move(prepared), std::move(ticket), notifier_);
  if (!call.ok()) return End(call.status());
  {
    base::MutexLock lock(&mutex_);
    call_ = *std::move(call);
    if (cancelled_) call_->Cancel();
  }
  // What was notified before call_ was there has read nothing.
  SchedulePump();
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
    if (writing_ || end_.has_value() || call_ == nullptr) return;
    service::CallUpdate update = call_->Read();
    if (update.done) {
      end_ = update.status;
      usage_ = update.usage;
    }
    std::vector<v1::GenerateResponse> messages;
    EncodeUpdate(update, *call_, return_token_ids_, first_, &messages);
    if (!messages.empty()) first_ = false;
    for (const v1::GenerateResponse& message : messages) outbox_.push_back(Serialize(message));
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
  // gRPC is called without the lock: it may run a reaction before it returns. Until Finish there is no OnDone, so this
  // object is alive.
  if (next != nullptr) {
    StartWrite(next);
  } else {
    FinishWith(end);
  }
}

void StreamingCall::OnWriteDone(bool ok) {
  {
    base::MutexLock lock(&mutex_);
    writing_ = false;
    outbox_.pop_front();
    if (!ok) {
      // The transport is gone. OnCancel comes too, but the order is not promised.
      outbox_.clear();
      if (call_ != nullptr) call_->Cancel();
      end_ = MakeError(stalled_ ? Reason::kSlowReader : Reason::kCancelled, "the stream was closed before its end");
    }
    if (outbox_.empty() && !end_.has_value()) return SchedulePump();
  }
  Advance();
}

void StreamingCall::OnCancel() {
  base::MutexLock lock(&mutex_);
  cancelled_ = true;
  // The engine answers with CANCELLED, which Pump turns into Finish. Without a call the worker finishes.
  if (call_ != nullptr) call_->Cancel();
}

void StreamingCall::DropIfStalled(absl::Time since) {
  {
    base::MutexLock lock(&mutex_);
    if (!writing_ || stalled_ || writing_since_ > since) return;
    stalled_ = true;
    cancelling_ = true;
    if (call_ != nullptr) call_->Cancel();
  }
  // The context lives until OnDone, which comes after Finish, which waits for cancelling_.
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
  notifier_->Disconnect();
  context_->AddTrailingMetadata("x-request-id", metadata_.request_id);
  if (!status.ok()) context_->AddTrailingMetadata("grpc-retry-pushback-ms", RetryPushback(status));
  Record(status);
  Finish(ToGrpcStatus(status, metadata_.request_id));
}

void StreamingCall::Record(const absl::Status& status) {
  service::CallRecord record;
  record.protocol = "grpc";
  record.route = route_;
  record.outcome = service::OutcomeOf(status);
  record.reason = status.ok() ? Reason::kNone : request::GetErrorDetail(status).reason;
  record.priority = caller_.priority;
  record.grpc_code = status.ok() ? 0 : static_cast<int>(request::WireErrorFor(record.reason).code);
  record.request_id = metadata_.request_id;
  record.usage = usage_;
  record.duration = environment_->service->clock().Now() - metadata_.arrival;
  environment_->service->Record(record);
}

void StreamingCall::OnDone() {
  environment_->registry->Remove(this);
  self_.reset();
}

absl::StatusOr<std::unique_ptr<service::PreparedCall>> ChatStreamingCall::Decode() {
  v1::ChatRequest request;
  if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
  absl::StatusOr<service::ChatCall> call = DecodeChat(request);
  if (!call.ok()) return call.status();
  if (absl::Status status = ApplyMetadata(DecodePriority(request.priority()), &call->options); !status.ok())
    return status;
  return_token_ids_ = request.return_token_ids();
  return environment().service->Prepare(*std::move(call));
}

absl::StatusOr<std::unique_ptr<service::PreparedCall>> GenerateStreamingCall::Decode() {
  v1::GenerateRequest request;
  if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
  absl::StatusOr<service::GenerateCall> call = DecodeGenerate(request);
  if (!call.ok()) return call.status();
  if (absl::Status status = ApplyMetadata(DecodePriority(request.priority()), &call->options); !status.ok())
    return status;
  return_token_ids_ = request.return_token_ids();
  return environment().service->Prepare(*std::move(call));
}

}  // namespace hadal::rpc
