// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/server_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/request/refusal.h"
#include "server/request/retry_spread.h"
#include "server/rpc/status_codec.h"
#include "server/service/load_report.h"
#include "server/service/trace_context.h"

namespace hadal::rpc {
namespace {

using request::MakeError;
using request::Reason;

// A reset and the client's own end of the stream look alike to a read that waits. What follows within this time tells.
constexpr absl::Duration kResetGrace = absl::Milliseconds(100);
// The client's reset at its deadline and our own clock meet at about the same time, and gRPC's libraries round the time
// that they announce up, by as much as a hundredth.
constexpr absl::Duration kDeadlineSlack = absl::Milliseconds(50);
constexpr double kDeadlineRounding = 0.01;
// The largest message of health and reflection: a name.
constexpr int64_t kMaxPublicBytes = 4096;
// Up to this size the last message goes out with the status, and the call is recorded as told. A larger one is written
// first, so that a client that does not take it gets that status.
constexpr size_t kMaxLastBytes = 16 << 10;

absl::Status TooManyStreams() {
  return MakeError(Reason::kConnectionLimit, "the connection has more streams than it may");
}

}  // namespace

ServerCall::ServerCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context,
                       std::string_view route, Access access)
    : environment_(environment), context_(context), access_(access) {
  metadata_.info.route = route;
}

grpc::ServerGenericBidiReactor* ServerCall::Start(std::shared_ptr<ServerCall> call) {
  ServerCall* const reactor = call.get();
  reactor->self_ = std::move(call);
  reactor->Begin();
  reactor->started_.Release();
  return reactor;
}

void ServerCall::Begin() {
  environment_->registry->Add(self_);
  connection_ = environment_->connections->Find(context_->peer());
  absl::Status status = CheckLimits();
  if (status.ok()) status = CheckRoute();
  const absl::Status opened =
      OpenCall(*context_, *environment_, connection_ == nullptr ? base::Peer{"unknown"} : connection_->peer(),
               access_ == Access::kKey, &metadata_);
  if (status.ok()) status = opened;
  if (status.ok()) status = CheckNotCompressed(context_);
  if (status.ok()) status = OnOpened();
  if (!status.ok()) return End(std::move(status));
  StartWaiting();
}

absl::Status ServerCall::CheckLimits() {
  // A client that keeps to the server's settings never gets here: its streams beyond the limit wait on its side.
  if (connection_ != nullptr && !connection_->BeginCall(environment_->max_connection_calls)) {
    if (connection_->Disconnect()) environment_->metrics->refusals.At(GrpcMetrics::kStreams).Increment();
    return TooManyStreams();
  }
  return absl::OkStatus();
}

void ServerCall::StartWaiting() {
  PendingCalls* const pending = access_ == Access::kPublic ? environment_->public_calls : environment_->pending_calls;
  PendingCalls::Slot slot = pending->TryTake();
  if (!slot.taken()) {
    environment_->metrics->refusals.At(GrpcMetrics::kPendingCalls).Increment();
    return End(request::MakeBusy(Reason::kConnectionLimit,
                                 absl::StrCat(pending->limit(), "/", pending->limit(), " calls wait for their message"),
                                 request::SpreadOut(absl::Seconds(1))));
  }
  {
    base::MutexLock lock(&mutex_);
    slot_ = std::move(slot);
    waiting_since_ = environment_->service->clock().Now();
  }
  StartRead(&message_);
}

bool ServerCall::StopWaitingLocked() {
  if (waiting_since_ == absl::InfiniteFuture()) return false;
  waiting_since_ = absl::InfiniteFuture();
  half_closed_ = absl::InfiniteFuture();
  // Public calls may stay open for as long as their client likes: they keep their slot.
  if (access_ != Access::kPublic) slot_ = {};
  return true;
}

void ServerCall::ReadNext() {
  {
    base::MutexLock lock(&mutex_);
    if (end_.has_value() || finished_) return;
    waiting_since_ = environment_->service->clock().Now();
  }
  StartRead(&message_);
}

void ServerCall::OnReadDone(bool ok) {
  const Reaction reaction(this);
  {
    base::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    if (!ok) {
      // Sweep ends the call, unless it turns out to have been reset.
      half_closed_ = environment_->service->clock().Now();
      return;
    }
    if (!StopWaitingLocked()) return;
  }
  absl::StatusOr<CallMessage> message = Lease(std::exchange(message_, {}));
  if (!message.ok()) return End(message.status());
  OnMessage(*std::move(message));
}

absl::StatusOr<CallMessage> ServerCall::Lease(grpc::ByteBuffer bytes) const {
  const auto size = static_cast<int64_t>(bytes.Length());
  if (access_ == Access::kPublic) {
    // Health answers also when no memory is left for bodies.
    if (size <= kMaxPublicBytes) return CallMessage{{}, std::move(bytes)};
    return MakeError(Reason::kBodyTooLarge,
                     absl::StrCat("the message has ", size, " bytes; this method takes at most ", kMaxPublicBytes));
  }
  const int64_t limit = environment_->limits.max_message_bytes;
  if (size > limit) {
    return MakeError(Reason::kBodyTooLarge, absl::StrCat("the message has ", size, " bytes; the limit is ", limit));
  }
  absl::StatusOr<service::BodyBudget::Lease> lease =
      environment_->service->bodies().Open(service::SenderOf(metadata_.info));
  if (!lease.ok()) return lease.status();
  if (absl::Status status = lease->Resize(size); !status.ok()) return status;
  lease->Arrived();
  return CallMessage{*std::move(lease), std::move(bytes)};
}

void ServerCall::OnHalfClose() {
  End(MakeError(Reason::kInvalidRequest, "the call was ended by its client before a message was sent"));
}

void ServerCall::Send(std::vector<grpc::ByteBuffer> messages, std::optional<absl::Status> end) {
  {
    base::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    for (grpc::ByteBuffer& message : messages) outbox_.push_back(std::move(message));
    if (end.has_value()) StopWaitingLocked();
    end_ = std::move(end);
  }
  Advance();
}

void ServerCall::End(absl::Status status) {
  {
    base::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    StopWaitingLocked();
    end_ = std::move(status);
  }
  Advance();
}

bool ServerCall::ready() const {
  base::MutexLock lock(&mutex_);
  return !writing_ && !end_.has_value();
}

void ServerCall::Advance() {
  const grpc::ByteBuffer* next = nullptr;
  std::optional<absl::Status> end;
  {
    base::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (outbox_.empty() && !end_.has_value()) return;
    if (!outbox_.empty()) {
      writing_ = true;
      writing_since_ = environment_->service->clock().Now();
      next = &outbox_.front();
    }
    if (end_.has_value() && (next == nullptr || (outbox_.size() == 1 && next->Length() <= kMaxLastBytes))) {
      finished_ = true;
      end = end_;
    }
  }
  // gRPC is called without the lock: it may run a reaction before it returns.
  if (end.has_value()) {
    FinishWith(*end, next);
  } else {
    StartWrite(next);
  }
}

void ServerCall::OnWriteDone(bool ok) {
  const Reaction reaction(this);
  if (!ok) Abort(CancelledStatus());  // the transport is gone; OnCancel comes too, but the order is not promised
  bool written = false;
  {
    base::MutexLock lock(&mutex_);
    writing_ = false;
    if (!outbox_.empty()) outbox_.pop_front();
    written = outbox_.empty() && !end_.has_value();
  }
  if (written) {
    OnWritten();
  } else {
    Advance();
  }
}

absl::Status ServerCall::CancelledStatus() const {
  if (connection_ != nullptr && connection_->disconnected()) return TooManyStreams();
  const absl::Duration slack = kDeadlineSlack + kDeadlineRounding * (info().deadline - info().arrival);
  if (environment_->service->clock().Now() >= info().deadline - slack) {
    return MakeError(Reason::kDeadlineExpired, "the call's deadline has passed");
  }
  return MakeError(Reason::kCancelled, "the client is gone");
}

void ServerCall::OnCancel() {
  const Reaction reaction(this);
  Abort(CancelledStatus());
}

// Whatever the call was to end with, its client does not get it.
void ServerCall::Abort(absl::Status status) {
  {
    base::MutexLock lock(&mutex_);
    if (aborted_ || finished_) return;
    aborted_ = true;
    StopWaitingLocked();
    end_ = std::move(status);
    // The head is gRPC's until its write is done.
    if (!outbox_.empty()) outbox_.erase(outbox_.begin() + (writing_ ? 1 : 0), outbox_.end());
  }
  OnAbort();
  Advance();
}

void ServerCall::Sweep(absl::Time now) {
  const CallLimits& limits = environment_->limits;
  bool late = false, half_closed = false, stalled = false, recorded = false;
  {
    base::MutexLock lock(&mutex_);
    if (done_ || aborted_) return;
    late = now - waiting_since_ > limits.message_timeout;
    half_closed = now - half_closed_ > kResetGrace;
    stalled = !late && !half_closed && writing_ && now - writing_since_ > limits.slow_reader_timeout;
    recorded = finished_;
    if (stalled) cancelling_ = true;
    if (stalled && recorded) aborted_ = true;
  }
  if (half_closed) {
    OnHalfClose();
  } else if (late) {
    environment_->metrics->refusals.At(GrpcMetrics::kMessageTimeout).Increment();
    End(MakeError(Reason::kRequestTimeout, absl::StrCat("the call's message did not arrive within ",
                                                        absl::FormatDuration(limits.message_timeout))));
  } else if (stalled) {
    if (recorded) {
      environment_->service->CountSlowReader();
    } else {
      Abort(MakeError(Reason::kSlowReader, "the client does not read"));
    }
    context_->TryCancel();
    base::MutexLock lock(&mutex_);
    cancelling_ = false;
    cancelled_.NotifyAll();
  }
}

void ServerCall::StopWaiting() {
  {
    base::MutexLock lock(&mutex_);
    // A public call has its slot until it ends.
    if (waiting_since_ == absl::InfiniteFuture() && !slot_.taken()) return;
  }
  End(environment_->service->EndedBy(Reason::kDraining));
}

void ServerCall::FinishWith(const absl::Status& status, const grpc::ByteBuffer* last) {
  const std::string& request_id = info().request_id;
  const grpc::Status wire = ToGrpcStatus(status, request_id, environment_->overload_code);
  OnEnd(status, static_cast<int>(wire.error_code()));
  context_->AddTrailingMetadata("x-request-id", request_id);
  for (const auto& [name, value] : metadata_.session) context_->AddTrailingMetadata(name, value);
  if (metadata_.load_report.has_value() || (environment_->load_reports && access_ == Access::kKey)) {
    const service::LoadReport report = environment_->service->GetLoadReport();
    context_->AddTrailingMetadata(std::string(service::kLoadReportTrailer), service::SerializeLoadReport(report));
    // gRPC's libraries keep that one for their balancing: who asked reads this one.
    if (metadata_.load_report.has_value()) {
      context_->AddTrailingMetadata(std::string(service::kLoadReportHeader),
                                    service::FormatLoadReport(report, *metadata_.load_report));
    }
  }
  if (std::string trace = service::TraceResponse(info().trace); !trace.empty()) {
    context_->AddTrailingMetadata("traceresponse", trace);
  }
  if (!status.ok()) {
    context_->AddTrailingMetadata("grpc-retry-pushback-ms", RetryPushback(status));
    const request::ErrorDetail detail = request::GetErrorDetail(status);
    if (detail.retry_after.has_value()) {
      context_->AddTrailingMetadata("x-hadal-promise", detail.promised ? "held" : "none");
    }
    if (detail.estimated_wait.has_value()) {
      const int64_t ms = absl::ToInt64Milliseconds(*detail.estimated_wait);
      context_->AddTrailingMetadata("x-hadal-estimated-wait-ms", std::to_string(ms));
    }
    if (!detail.ticket.empty()) context_->AddTrailingMetadata("x-hadal-ticket", detail.ticket);
  }
  settled_.Release();
  if (last == nullptr) {
    Finish(wire);
  } else {
    StartWriteAndFinish(last, grpc::WriteOptions(), wire);
  }
}

void ServerCall::AddTrailer(const char* key, std::string_view value) {
  context_->AddTrailingMetadata(key, std::string(value));
}

void ServerCall::OnEnd(const absl::Status& status, int code) {
  if (access_ == Access::kKey) environment_->service->Record(info(), {.status = status, .code = code});
}

void ServerCall::OnDone() {
  started_.Acquire();
  settled_.Acquire();
  {
    base::MutexLock lock(&mutex_);
    while (cancelling_) cancelled_.Wait(&mutex_);
    done_ = true;
    slot_ = {};
  }
  if (connection_ != nullptr) connection_->EndCall();
  environment_->registry->Remove(this);
  self_.reset();
}

}  // namespace hadal::rpc
