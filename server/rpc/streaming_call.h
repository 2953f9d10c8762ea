// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "server/base/sync.h"
#include "server/request/notifier.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_environment.h"

namespace hadal::rpc {

// One Chat or Generate call. Its life:
//   1. Start (gRPC thread): metadata, key, queue slot. A refusal ends here: the message is still bytes, nothing was
//   sent.
//   2. Decode (worker): parse, validate, render, tokenise. A grammar that is still to be compiled is waited for without
//   a
//      thread; then (worker): finalize, enqueue.
//   3. Pump (executor): whenever the engine has produced something and no write is pending, read it, encode, write.
//   4. Finish: exactly once, with the status and its trailers.
// A write that the client does not take stops reading from the token stream, so the engine pauses the request.
// Owns itself from Start until OnDone; jobs and callbacks hold shared references. Thread-safe.
class StreamingCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                      public std::enable_shared_from_this<StreamingCall> {
 public:
  // `message` is valid until OnDone; Start returns the reactor for gRPC.
  template <typename Call>
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const CallEnvironment* environment,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* message) {
    auto call = std::make_shared<Call>(environment, context, message);
    call->self_ = call;
    call->Admit();
    return call.get();
  }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Ends the call when a write has been pending since before `since`.
  void DropIfStalled(absl::Time since);

 protected:
  StreamingCall(const CallEnvironment* environment, grpc::CallbackServerContext* context,
                const grpc::ByteBuffer* message, std::string_view route);

  // Decodes the message and prepares the call; on a worker thread.
  virtual absl::StatusOr<std::unique_ptr<service::PreparedCall>> Decode() = 0;

  // Fills what the metadata says into the decoded options; PERMISSION_DENIED for a class above the key's.
  absl::Status ApplyMetadata(std::optional<request::Priority> wanted, service::CallOptions* options);

  const CallEnvironment& environment() const { return *environment_; }
  const grpc::ByteBuffer& message() const { return *message_; }
  bool return_token_ids_ = false;  // set by Decode

 private:
  void Admit();
  void DecodeOnWorker(admission::Ticket ticket);
  void StartOnWorker(std::unique_ptr<service::PreparedCall> prepared, admission::Ticket ticket);
  void SchedulePump();
  void Pump();
  // The one place that goes on with gRPC: starts the next write, or finishes when all is written and the end is known.
  void Advance();
  void End(absl::Status status);
  void FinishWith(const absl::Status& status);
  void Record(const absl::Status& status);

  const CallEnvironment* const environment_;
  grpc::CallbackServerContext* const context_;
  const grpc::ByteBuffer* const message_;
  const std::string_view route_;
  std::shared_ptr<StreamingCall> self_;
  CallMetadata metadata_;
  service::Caller caller_;
  service::Usage usage_;
  // Disconnected before Finish, so that the engine does not meet a call that gRPC has given back.
  const std::shared_ptr<request::Notifier> notifier_;
  std::atomic<bool> pump_scheduled_{false};

  base::Mutex mutex_;
  std::unique_ptr<service::ActiveCall> call_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> outbox_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time writing_since_ ABSL_GUARDED_BY(mutex_);
  bool first_ ABSL_GUARDED_BY(mutex_) = true;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;          // TryCancel uses the context: Finish waits
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;            // Finish was called
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // final status, sent when the outbox is empty
};

class ChatStreamingCall final : public StreamingCall {
 public:
  ChatStreamingCall(const CallEnvironment* environment, grpc::CallbackServerContext* context,
                    const grpc::ByteBuffer* message)
      : StreamingCall(environment, context, message, "Chat") {}

 private:
  absl::StatusOr<std::unique_ptr<service::PreparedCall>> Decode() override;
};

class GenerateStreamingCall final : public StreamingCall {
 public:
  GenerateStreamingCall(const CallEnvironment* environment, grpc::CallbackServerContext* context,
                        const grpc::ByteBuffer* message)
      : StreamingCall(environment, context, message, "Generate") {}

 private:
  absl::StatusOr<std::unique_ptr<service::PreparedCall>> Decode() override;
};

}  // namespace hadal::rpc
